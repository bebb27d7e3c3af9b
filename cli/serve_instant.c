/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/serve_instant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "control/server.h"
#include "nbd/proto.h"
#include "rbd/name.h"

#define PREFIX "qemu:dirty-bitmap:"
#define CONTROL "tidemark:control:"

/* Owned by its export, when it has one; under disks->instants_lock. */
struct serve_instant {
	struct serve_instant *next;
	char name[CBT_LONGEST_NAME + 1];
	char since[CBT_LONGEST_NAME + 1]; /* "": all of the disk */
	char why_full[256];
	bool whole;
	struct instant *instant; /* its disk closes it */
	struct nbd_export *export;
};

/* --- the layer ------------------------------------------------------------ */

int serve_instant_layer(struct serve_disk *d, struct tide_error *err)
{
	struct tide_disk *layer;
	int ret = instant_layer_create(d->disk, &layer, err);

	if (!ret)
		d->disk = d->layer = layer;
	return ret;
}

static int say_nothing(void *opaque, uint64_t offset_bytes,
		       uint64_t length_bytes, struct nbd_extents *into,
		       struct tide_error *err)
{
	(void)opaque;
	(void)offset_bytes;
	(void)err;
	nbd_extents_add(into, length_bytes, 0);
	return 0;
}

int serve_instant_tell(struct serve_disk *d, const char *control,
		       struct tide_error *err)
{
	const struct nbd_context c = { .extents = say_nothing };
	char name[NBD_LONGEST_STRING + 1], *real;
	const char *slash = strrchr(control, '/');
	char *folder = slash ? strndup(control, (size_t)(slash - control) + 1)
			     : strdup(".");

	/* Clients stand elsewhere: the whole path; the socket comes later. */
	real = folder ? realpath(folder, NULL) : NULL;
	snprintf(name, sizeof(name), CONTROL "%s/%s", real ? real : "",
		 slash ? slash + 1 : control);
	free(folder);
	if (!real)
		return tide_error_set(err, -errno, "control", TIDE_NO_OFFSET,
				      "%s: %s", control, strerror(errno));
	free(real);
	return nbd_contexts_add(d->export, name, &c, err);
}

/* --- one instant ---------------------------------------------------------- */

static struct serve_instant *find(const struct serve_disk *d, const char *name)
{
	struct serve_instant *s = d->instants;

	while (s && strcmp(s->name, name))
		s = s->next;
	return s;
}

static void close_view(void *opaque)
{
	tide_disk_close(instant_disk(opaque), NULL);
}

/* Clients that still read get errors; the last of them frees it. */
static void let_go(struct serve_disks *disks, struct serve_disk *d,
		   struct serve_instant *s, const char *why)
{
	struct serve_instant **at = &d->instants;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	instant_end(s->instant, why);
	if (s->export)
		nbd_exports_remove(disks->instants.exports, s->export);
	else
		close_view(s->instant);
	free(s);
}

static const char *folder_of(const struct serve_disks *disks,
			     const struct serve_disk *d, char to[512])
{
	const char *slash = strrchr(d->disk->path, '/');

	if (disks->instants.folder)
		return disks->instants.folder;
	snprintf(to, 512, "%.*s", slash ? (int)(slash - d->disk->path) + 1 : 1,
		 slash ? d->disk->path : ".");
	/* Of a block device: not in /dev; an image of Ceph is in no folder. */
	return strncmp(to, "/dev/", 5) && !ceph_is_name(to) ? to : "/var/tmp";
}

static int prepare(const struct serve_disks *disks, struct serve_disk *d,
		   const char *name, struct serve_instant **out,
		   struct tide_error *err)
{
	char folder[512];
	struct instant_options o = {
		.folder = folder_of(disks, d, folder),
		.bound_bytes = disks->instants.bound_bytes,
	};
	struct serve_instant *s = calloc(1, sizeof(*s));
	int ret = s ? instant_prepare(d->layer, &o, &s->instant, err) :
		      tide_error_set(err, -ENOMEM, "control", TIDE_NO_OFFSET,
				     "no memory for an instant");

	if (ret) {
		free(s);
		return ret;
	}
	snprintf(s->name, sizeof(s->name), "%s", name);
	*out = s;
	return 0;
}

/* --- what changed until it ------------------------------------------------ */

/* What a context of an instant's export carries. */
struct asked {
	struct cbt *cbt;
	char since[CBT_LONGEST_NAME + 1], until[CBT_LONGEST_NAME + 1];
};

static bool add_extent(void *opaque, uint64_t length_bytes, bool dirty)
{
	return nbd_extents_add(opaque, length_bytes,
			       dirty ? NBD_STATE_DIRTY : 0);
}

static int extents(void *opaque, uint64_t offset_bytes, uint64_t length_bytes,
		   struct nbd_extents *into, struct tide_error *err)
{
	struct asked *a = opaque;

	return cbt_changes(a->cbt, a->since, a->until, offset_bytes,
			   length_bytes, add_extent, into, err);
}

static int offer_since(struct serve_disk *d, struct serve_instant *s,
		       const char *since, struct tide_error *err)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct nbd_context c = { .extents = extents, .release = free,
				 .opaque = a };
	char name[sizeof(PREFIX) + CBT_LONGEST_NAME];
	int ret;

	if (!a)
		return tide_error_set(err, -ENOMEM, "control", TIDE_NO_OFFSET,
				      "no memory for a context");
	a->cbt = d->cbt;
	snprintf(a->since, sizeof(a->since), "%s", since);
	snprintf(a->until, sizeof(a->until), "%s", s->name);
	snprintf(name, sizeof(name), PREFIX "%s", since);
	ret = nbd_contexts_add(s->export, name, &c, err);
	if (ret)
		free(a);
	return ret;
}

struct narrowing {
	struct instant *instant;
	uint64_t at;
};

static bool pass_clean(void *opaque, uint64_t length_bytes, bool dirty)
{
	struct narrowing *n = opaque;

	if (!dirty)
		instant_pass(n->instant, n->at, length_bytes);
	n->at += length_bytes;
	return true;
}

/* Only what changed has to be kept. */
static int narrow(struct serve_disk *d, struct serve_instant *s,
		  struct tide_error *err)
{
	struct narrowing n = { .instant = s->instant };

	return cbt_changes(d->cbt, s->since, s->name, 0,
			   tide_disk_size(instant_disk(s->instant)),
			   pass_clean, &n, err);
}

/* Can it be said what changed since then? Else s->why_full. */
static void choose_since(struct serve_disk *d, struct serve_instant *s,
			 const json_t *request)
{
	const json_t *all = json_object_get(request, "since");
	const char *since = json_string_value(
		json_is_object(all) ? json_object_get(all, d->name) : all);
	struct cbt_info info;
	struct tide_error err;

	s->whole = json_is_true(json_object_get(request, "whole"));
	if (!since)
		return;
	if (cbt_info(d->cbt, since, CBT_UNCOUNTED, &info, &err))
		snprintf(s->why_full, sizeof(s->why_full), "%s", err.text);
	else if (info.word == CBT_SAYS_INCONSISTENT)
		snprintf(s->why_full, sizeof(s->why_full), "'%.60s' is "
			 "inconsistent: %.150s", since, info.reason);
	else if (info.kind != CBT_CHECKPOINT)
		snprintf(s->why_full, sizeof(s->why_full),
			 "'%.60s' is no checkpoint", since);
	else
		snprintf(s->since, sizeof(s->since), "%s", since);
}

static int serve_it(struct serve_disks *disks, struct serve_disk *d,
		    struct serve_instant *s, struct tide_error *err)
{
	char name[sizeof(d->name) + sizeof(s->name) + 1];
	int ret;

	if (!disks->instants.exports)
		return tide_error_set(err, -EOPNOTSUPP, "control",
				      TIDE_NO_OFFSET,
				      "an instant needs a server");
	snprintf(name, sizeof(name), "%s@%s", d->name, s->name);
	ret = nbd_exports_add_owned(disks->instants.exports, name,
				    instant_disk(s->instant), d->export,
				    close_view, s->instant, &s->export, err);
	if (!ret && *s->since)
		ret = offer_since(d, s, s->since, err);
	if (!ret && *s->since && !s->whole)
		ret = narrow(d, s, err);
	return ret;
}

/* --- begin ---------------------------------------------------------------- */

struct beginning {
	struct serve_disks *disks;
	struct serve_disk *const *named;
	struct cbt *trackers[256];
	struct serve_instant *made[256];
	size_t count, prepared;
	const char *name;
	const json_t *request;
};

/* No write of any of the disks is under way. */
static void start_all(void *opaque)
{
	struct beginning *b = opaque;

	for (size_t i = 0; i < b->count; i++)
		instant_start(b->made[i]->instant);
}

/* All of them have it, alive: a begin that is asked for again. */
static bool is_begun(const struct beginning *b)
{
	struct instant_state state;

	for (size_t i = 0; i < b->count; i++) {
		struct serve_instant *s = find(b->named[i], b->name);

		if (!s)
			return false;
		instant_state(s->instant, &state);
		if (state.dead)
			return false;
	}
	return true;
}

/* What is left of one that a kill, or a death, ended. */
static int clear_one(struct beginning *b, struct serve_disk *d,
		     struct tide_error *err)
{
	struct serve_instant *s = find(d, b->name);
	struct cbt_info info;

	if (s)
		let_go(b->disks, d, s, "it was begun anew");
	if (cbt_info(d->cbt, b->name, CBT_UNCOUNTED, &info, NULL) ||
	    !info.pending)
		return 0;
	return cbt_checkpoint_finish(d->cbt, b->name, false, err);
}

static int make_all(struct beginning *b, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < b->count && !ret; i++)
		ret = clear_one(b, b->named[i], err);
	for (; b->prepared < b->count && !ret; b->prepared += !ret)
		ret = prepare(b->disks, b->named[b->prepared], b->name,
			      &b->made[b->prepared], err);
	/* Before the moment: what is asked for is older than it. */
	for (size_t i = 0; i < b->prepared && !ret; i++)
		choose_since(b->named[i], b->made[i], b->request);
	if (!ret)
		ret = cbt_checkpoint_begin(b->trackers, b->count, b->name,
					   start_all, b, err);
	return ret;
}

/* Nothing was begun, or it is as if it had not been. */
static void unmake_all(struct beginning *b, bool begun)
{
	for (size_t i = 0; i < b->prepared; i++) {
		struct serve_disk *d = b->named[i];

		if (find(d, b->name) == b->made[i]) {
			let_go(b->disks, d, b->made[i], "begin failed");
		} else {
			tide_disk_close(instant_disk(b->made[i]->instant),
					NULL);
			free(b->made[i]);
		}
		if (begun)
			cbt_checkpoint_finish(d->cbt, b->name, false, NULL);
	}
}

static int serve_all(struct beginning *b, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < b->count; i++) {
		b->made[i]->next = b->named[i]->instants;
		b->named[i]->instants = b->made[i];
	}
	for (size_t i = 0; i < b->count && !ret; i++)
		ret = serve_it(b->disks, b->named[i], b->made[i], err);
	return ret;
}

static json_t *uuid_text(const uint8_t uuid[16])
{
	char text[33];

	tide__text_hex(text, uuid, 16);
	return json_string(text);
}

static json_t *answer_of(const struct serve_disk *d,
			 const struct serve_instant *s)
{
	struct cbt_status status;

	cbt_status(d->cbt, &status);
	return json_pack("{s:s, s:s, s:s*, s:s*, s:I, s:o}", "disk", d->name,
			 "export", s->export->name, "since",
			 *s->since ? s->since : NULL, "why_full",
			 *s->why_full ? s->why_full : NULL, "size_bytes",
			 (json_int_t)tide_disk_size(instant_disk(s->instant)),
			 "tracker", uuid_text(status.uuid));
}

static json_t *answers(const struct beginning *b)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < b->count; i++)
		if (json_array_append_new(list, answer_of(b->named[i],
				find(b->named[i], b->name)))) {
			json_decref(list);
			return NULL;
		}
	return list ? json_pack("{s:b, s:s, s:o}", "done", 1, "name", b->name,
				"disks", list) : NULL;
}

static json_t *begin(struct beginning *b)
{
	struct tide_error err;
	int ret;

	if (is_begun(b))
		return answers(b);
	ret = make_all(b, &err);
	if (ret) {
		unmake_all(b, false);
		return control_error(&err);
	}
	ret = serve_all(b, &err);
	if (ret) {
		unmake_all(b, true);
		return control_error(&err);
	}
	return answers(b);
}

json_t *serve_instant_begin(struct serve_disks *disks,
			    struct serve_disk *const *named, size_t count,
			    const char *name, const json_t *request)
{
	struct beginning *b = calloc(1, sizeof(*b));
	json_t *answer;

	if (!b)
		return NULL;
	b->disks = disks;
	b->named = named;
	b->count = count;
	b->name = name;
	b->request = request;
	for (size_t i = 0; i < count; i++)
		b->trackers[i] = named[i]->cbt;
	pthread_mutex_lock(&disks->instants_lock);
	answer = strlen(name) > CBT_LONGEST_NAME ?
			 control_refuse(EINVAL, "the name is too long") :
			 begin(b);
	pthread_mutex_unlock(&disks->instants_lock);
	free(b);
	return answer;
}

/* --- commit, abort, pass -------------------------------------------------- */

json_t *serve_instant_end(struct serve_disks *disks,
			  struct serve_disk *const *named, size_t count,
			  const char *name, bool keep)
{
	struct tide_error err;
	int ret = 0;

	pthread_mutex_lock(&disks->instants_lock);
	for (size_t i = 0; i < count && !ret; i++) {
		struct serve_instant *s = find(named[i], name);

		/*
		 * The store first: a kill in between leaves it to be repeated.
		 */
		ret = cbt_checkpoint_finish(named[i]->cbt, name, keep, &err);
		if (!ret && s)
			let_go(disks, named[i], s,
			       keep ? "it was committed" : "it was aborted");
	}
	pthread_mutex_unlock(&disks->instants_lock);
	return ret ? control_error(&err) : json_pack("{s:b}", "done", 1);
}

json_t *serve_instant_pass(struct serve_disks *disks, struct serve_disk *d,
			   const char *name, const json_t *below)
{
	struct serve_instant *s;

	if (!json_is_integer(below) || json_integer_value(below) < 0)
		return control_refuse(EINVAL, "'below' is a number of bytes");
	pthread_mutex_lock(&disks->instants_lock);
	s = find(d, name);
	if (s)
		instant_pass(s->instant, 0, (uint64_t)json_integer_value(below));
	pthread_mutex_unlock(&disks->instants_lock);
	return s ? json_pack("{s:b}", "done", 1) :
		   control_refuse(ENOENT, "there is no instant of that name");
}

json_t *serve_instant_descriptors(struct serve_disks *disks,
				  struct serve_disk *d, const char *name,
				  int fds[2])
{
	struct serve_instant *s;
	int ret = -ENOENT;

	pthread_mutex_lock(&disks->instants_lock);
	s = find(d, name);
	if (s)
		ret = instant_offer(s->instant, &fds[0], &fds[1]);
	pthread_mutex_unlock(&disks->instants_lock);
	if (!ret)
		return json_pack("{s:b}", "done", 1);
	return s ? control_refuse(-ret, "the disk is not one file that could "
				  "be read without the server") :
		   control_refuse(ENOENT, "there is no instant of that name");
}

static json_t *instant_json(const struct serve_instant *s)
{
	struct instant_state state;

	instant_state(s->instant, &state);
	return json_pack("{s:s, s:s, s:s*, s:s, s:s*, s:I, s:I, s:I, s:I}",
			 "name", s->name, "export",
			 s->export ? s->export->name : "", "since",
			 *s->since ? s->since : NULL, "state",
			 state.dead ? "dead" : "alive", "reason",
			 state.dead ? state.reason : NULL, "kept_bytes",
			 (json_int_t)state.kept_bytes, "most_kept_bytes",
			 (json_int_t)state.max_kept_bytes, "bound_bytes",
			 (json_int_t)state.bound_bytes, "copies",
			 (json_int_t)state.copies);
}

json_t *serve_instant_list(struct serve_disks *disks, struct serve_disk *d)
{
	json_t *list = json_array();

	pthread_mutex_lock(&disks->instants_lock);
	for (struct serve_instant *s = d->instants; list && s; s = s->next)
		if (json_array_append_new(list, instant_json(s))) {
			json_decref(list);
			list = NULL;
		}
	pthread_mutex_unlock(&disks->instants_lock);
	return list;
}

void serve_instant_fini(struct serve_disk *d)
{
	struct serve_instant *s;

	/* The views were closed with their exports. */
	while ((s = d->instants)) {
		d->instants = s->next;
		free(s);
	}
}
