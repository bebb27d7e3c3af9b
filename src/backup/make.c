/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/make.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "backup/recover.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "control/ask.h"
#include "transfer/hook.h"

#define WRITER "tidemark " TIDEMARK_VERSION
/*
 * How often a server is told how far we are: what it keeps meanwhile is little.
 */
#define TELL_NS UINT64_C(200000000)

struct disk {
	const char *uri;
	char *name, *control; /* export; the server's control socket, or "" */
	struct backup_folder folder;
	bool open;
	bool frozen; /* the server holds an instant */
	char export[512]; /* to read from; "": the URI's own */
	char dirty[BACKUP_NAME + 64]; /* context; "": all is dirty */
	struct backup_made *made;
};

struct making {
	const struct backup_make_options *o;
	struct disk disks[BACKUP_MAX_DISKS];
	size_t count;
	const char *control; /* of all of them; NULL: a foreign server */
	char checkpoint[BACKUP_NAME];
	struct rate rate;
	bool begun;
	json_t *answer; /* to the begin */
};

static void say(const struct making *m, const char *text)
{
	if (m->o->say)
		m->o->say(m->o->opaque, text);
}

/* --- before the moment ---------------------------------------------------- */

static int open_folder(struct making *m, struct disk *d, struct tide_error *err)
{
	const char *slash = strrchr(d->name, '/');
	char path[512];

	if (m->count == 1)
		snprintf(path, sizeof(path), "%s", m->o->dest);
	else
		snprintf(path, sizeof(path), "%s/%s", m->o->dest,
			 slash ? slash + 1 : d->name);
	if (m->count > 1 && mkdir(m->o->dest, 0700) && errno != EEXIST)
		return tide_error_set(err, -errno, "backup", TIDE_NO_OFFSET,
				      "%s: %s", m->o->dest, strerror(errno));
	snprintf(d->made->folder, sizeof(d->made->folder), "%s", path);
	snprintf(d->made->disk, sizeof(d->made->disk), "%.120s", d->name);
	if (folder_open(path, true, &d->folder, err))
		return err->code;
	d->open = true;
	return 0;
}

/* Is the server on this host, so that its other socket is here, too? */
static bool is_local(const char *uri)
{
	const char *end = strstr(uri, "://");
	const char *unix_socket = strstr(uri, "+unix");

	return end && unix_socket && unix_socket < end;
}

/* One control socket for all, or none. */
static int choose_control(struct making *m, struct tide_error *err)
{
	for (size_t i = 0; i < m->count && !m->o->control; i++)
		if (*m->disks[i].control && !is_local(m->disks[i].uri)) {
			*m->disks[i].control = 0;
			say(m, "the server's checkpoints are asked for over its "
			    "control socket, which is on its host: give one that "
			    "leads there with --control; now the disk is read as "
			    "it is");
		}
	m->control = m->o->control ? m->o->control :
		     *m->disks[0].control ? m->disks[0].control : NULL;
	for (size_t i = 1; i < m->count && !m->o->control; i++)
		if (strcmp(m->disks[i].control, m->disks[0].control))
			return tide_error_set(err, -EINVAL, "backup",
				TIDE_NO_OFFSET, "disks of one backup are of "
				"one server, so that it is one moment: %s and "
				"%s are not", m->o->uris[0], m->o->uris[i]);
	if (m->control && m->o->bitmap)
		return tide_error_set(err, -EINVAL, "backup", TIDE_NO_OFFSET,
				      "--bitmap is for servers without "
				      "checkpoints; %s has them",
				      m->o->uris[0]);
	return 0;
}

static int look(struct making *m, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < m->count && !ret; i++) {
		struct disk *d = &m->disks[i];

		ret = nbd_client_look(d->uri, &d->name, &d->control, err);
	}
	if (!ret)
		ret = choose_control(m, err);
	for (size_t i = 0; i < m->count && !ret; i++) {
		ret = open_folder(m, &m->disks[i], err);
		if (!ret)
			ret = backup_recover(&m->disks[i].folder, m->control,
					     err);
	}
	return ret;
}

static int name_checkpoint(struct making *m, struct tide_error *err)
{
	struct chunk_digest random;
	char text[CHUNK_HEX];

	if (getrandom(random.bytes, sizeof(random.bytes), 0) !=
	    sizeof(random.bytes))
		return tide_error_set(err, -EIO, "backup", TIDE_NO_OFFSET,
				      "the kernel gives no random bytes");
	chunk_digest_text(&random, text);
	snprintf(m->checkpoint, sizeof(m->checkpoint), "backup-%.16s", text);
	return 0;
}

static json_t *pending_of(const struct making *m, const struct disk *d)
{
	const struct backup_point *newest = folder_newest(&d->folder);

	return json_pack("{s:s, s:s, s:s, s:s, s:I}", "does", "backup", "disk",
			 d->name, "checkpoint", m->control ? m->checkpoint : "",
			 "previous", newest ? newest->checkpoint : "",
			 "number", (json_int_t)d->folder.next);
}

static int write_pending(struct making *m, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < m->count && !ret; i++)
		ret = folder_set_pending(&m->disks[i].folder,
					 pending_of(m, &m->disks[i]), err);
	return ret;
}

/* --- the moment ----------------------------------------------------------- */

static json_t *begin_request(const struct making *m)
{
	json_t *disks = json_array(), *since = json_object();

	for (size_t i = 0; i < m->count; i++) {
		const struct disk *d = &m->disks[i];
		const struct backup_point *p = folder_newest(&d->folder);

		json_array_append_new(disks, json_string(d->name));
		if (p && *p->checkpoint && !m->o->full)
			json_object_set_new(since, d->name,
					    json_string(p->checkpoint));
	}
	return json_pack("{s:s, s:s, s:o, s:o}", "command", "checkpoint-begin",
			 "name", m->checkpoint, "disks", disks, "since",
			 since);
}

static const char *why_full(const struct making *m, const struct disk *d,
			    const json_t *answer)
{
	const struct backup_point *p = folder_newest(&d->folder);
	const char *why = recover_text(answer, "why_full");

	if (m->o->full)
		return "it was asked for";
	if (!p)
		return "it is the first";
	if (!*p->checkpoint)
		return "the last point has no checkpoint to ask from";
	return *why ? why : "the server does not know what changed";
}

/* What the server says of one disk of the begin. */
static int take_answer(struct making *m, struct disk *d, const json_t *answer,
		       struct tide_error *err)
{
	const struct backup_point *p = folder_newest(&d->folder);
	const char *since = recover_text(answer, "since");

	snprintf(d->export, sizeof(d->export), "%s", recover_text(answer, "export"));
	snprintf(d->made->point.disk, sizeof(d->made->point.disk), "%s",
		 recover_text(answer, "tracker"));
	if (!*d->export)
		return tide_error_set(err, -EPROTO, "backup", TIDE_NO_OFFSET,
				      "the server began, and does not name what "
				      "to read");
	d->frozen = true;
	/* The same tracker, or it is another disk under an old name. */
	if (p && *since && !m->o->full &&
	    !strcmp(p->disk, d->made->point.disk))
		snprintf(d->dirty, sizeof(d->dirty), "qemu:dirty-bitmap:%s",
			 since);
	else
		snprintf(d->made->why_full, sizeof(d->made->why_full), "%s",
			 p && *since && !m->o->full ?
				 "the disk is another one than before" :
				 why_full(m, d, answer));
	return 0;
}

static int take_answers(struct making *m, const json_t *answer,
			struct tide_error *err)
{
	const json_t *list = json_object_get(answer, "disks");
	int ret = 0;

	for (size_t i = 0; i < m->count && !ret; i++)
		ret = take_answer(m, &m->disks[i], json_array_get(list, i),
				  err);
	return ret;
}

static int ask_begin(void *making, struct tide_error *err)
{
	struct making *m = making;

	m->begun = true;
	return control_ask(m->control, begin_request(m), &m->answer, err);
}

static int begin(struct making *m, struct tide_error *err)
{
	const struct backup_make_options *o = m->o;
	struct tide_error after;
	int ret = hook_run(o->pre, o->hook_ms, err), thawed;

	if (ret)
		return ret;
	ret = o->moment ? o->moment(o->moment_opaque, ask_begin, m, err)
			: ask_begin(m, err);
	/* What the first command froze is let go in any case. */
	thawed = hook_run(o->post, o->hook_ms, &after);
	if (!ret && thawed) {
		ret = thawed;
		*err = after;
	}
	if (!ret)
		ret = take_answers(m, m->answer, err);
	json_decref(m->answer);
	return ret;
}

/* A stranger: as it is, and what its bitmap says. */
static int take_stranger(struct making *m, struct tide_error *err)
{
	const char *bitmap = m->o->bitmap;
	struct disk *d = &m->disks[0];
	const struct backup_point *p = folder_newest(&d->folder);
	bool full = !bitmap || m->o->full || !p;

	if (m->o->moment)
		return tide_error_set(err, -ENOTSUP, "backup", TIDE_NO_OFFSET,
				      "one moment with others needs a server "
				      "with checkpoints; %s has none", d->uri);
	if (m->count > 1)
		return tide_error_set(err, -EINVAL, "backup", TIDE_NO_OFFSET,
				      "several disks at once need a server with "
				      "checkpoints; %s has none", d->uri);
	if (m->o->pre || m->o->post)
		say(m, "the server has no checkpoints: the hooks are run "
		    "around all of the copy");
	if (!full)
		snprintf(d->dirty, sizeof(d->dirty), "qemu:dirty-bitmap:%.100s",
			 bitmap);
	else
		snprintf(d->made->why_full, sizeof(d->made->why_full), "%s",
			 m->o->full ? "it was asked for" :
			 !p ? "it is the first" :
			      "the server has no checkpoints, and no --bitmap "
			      "was named");
	return hook_run(m->o->pre, m->o->hook_ms, err);
}

/* --- the copy ------------------------------------------------------------- */

struct passing {
	struct making *m;
	struct disk *d;
	uint64_t told_ns;
};

/* What was copied need not be kept for us any more. */
static void passed(void *opaque, uint64_t below_bytes)
{
	struct passing *p = opaque;

	uint64_t now = tide__now_ns();

	if (!p->d->frozen || now < p->told_ns + TELL_NS)
		return;
	p->told_ns = now;
	/* If it is not heard, the server keeps more than it needs. */
	control_ask(p->m->control, json_pack(
		"{s:s, s:s, s:s, s:I}", "command", "checkpoint-passed", "disk",
		p->d->name, "name", p->m->checkpoint, "below",
		(json_int_t)below_bytes), NULL, NULL);
}

/* The pump has one opaque for both of its callbacks. */
static void passed_and_shown(void *opaque, const char *disk, uint64_t at,
			     uint64_t size)
{
	struct passing *p = opaque;

	passed(p, at);
	if (p->m->o->progress)
		p->m->o->progress(p->m->o->opaque, disk, at, size);
}

/* The one of @list whose name it is. */
static const json_t *named(const json_t *list, const char *name)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (!strcmp(recover_text(o, "name"), name))
			return o;
	return NULL;
}

/* An error of NBD is a number: the server knows more of an instant's death. */
static void explain(const struct making *m, const struct disk *d,
		    struct tide_error *err)
{
	const json_t *disk, *instant;
	json_t *answer = NULL;

	if (!d->frozen || control_ask(m->control, json_pack("{s:s}", "command",
							    "status"), &answer,
				     NULL))
		return;
	disk = named(json_object_get(answer, "disks"), d->name);
	instant = named(json_object_get(disk, "instants"), m->checkpoint);
	if (*recover_text(instant, "reason"))
		tide_error_set(err, err->code, "backup", TIDE_NO_OFFSET,
			       "%.60s: its instant died at the server: %.150s",
			       d->name, recover_text(instant, "reason"));
	json_decref(answer);
}

/*
 * On the server's host its disk can be read without it. NULL where it cannot,
 * for whatever reason: nothing is lost but time.
 */
static struct instant_peek *peek_at(const struct making *m,
				    const struct disk *d,
				    const struct nbd_client *source)
{
	struct instant_peek *peek = NULL;
	int fds[2];

	if (!d->frozen || m->o->over_nbd ||
	    control_ask_fds(m->control, json_pack("{s:s, s:s, s:s}", "command",
			"checkpoint-descriptors", "disk", d->name, "name",
			m->checkpoint), fds, NULL))
		return NULL;
	instant_peek_open(fds[0], fds[1], nbd_client_size(source), &peek,
			  NULL);
	return peek;
}

static int copy_disk(struct making *m, struct disk *d, struct tide_error *err)
{
	struct nbd_client_options so = {
		.export = *d->export ? d->export : NULL,
		.dirty = *d->dirty ? d->dirty : NULL,
		.connections = m->o->jobs,
	};
	struct passing p = { m, d, tide__now_ns() };
	struct backup_copy c = {
		.folder = &d->folder,
		.parent = *d->dirty ? folder_newest(&d->folder) : NULL,
		.disk = d->name, .compression = m->o->compression,
		.jobs = m->o->jobs, .rate = &m->rate,
		.peeked_bytes = &d->made->peeked_bytes,
		.progress = passed_and_shown, .opaque = &p, .stop = m->o->stop,
	};
	struct backup_point *point = &d->made->point;
	uint64_t start = tide__now_ns();
	struct instant_peek *peek;
	int ret = nbd_client_open(d->uri, &so, &c.source, err);

	if (ret)
		return ret;
	c.peek = peek = peek_at(m, d, c.source);
	point->number = d->folder.next;
	point->created_s = (uint64_t)time(NULL);
	point->instant = d->frozen;
	snprintf(point->writer, sizeof(point->writer), "%s", WRITER);
	snprintf(point->checkpoint, sizeof(point->checkpoint), "%s",
		 d->frozen ? m->checkpoint : "");
	ret = backup_copy_run(&c, point, err);
	instant_peek_close(peek);
	nbd_client_close(c.source);
	d->made->elapsed_ns = tide__now_ns() - start;
	return ret;
}

/* Nothing of it is left, here and at the server. */
static void undo(struct making *m)
{
	for (size_t i = 0; i < m->count; i++) {
		struct disk *d = &m->disks[i];

		if (!d->open)
			continue;
		folder_sweep(&d->folder, NULL);
		/* Who was not heard is told by the next run: it stays. */
		if (!m->begun ||
		    !recover_call_off(m->control, d->name, m->checkpoint, NULL))
			folder_set_pending(&d->folder, NULL, NULL);
	}
}

/* --- afterwards ----------------------------------------------------------- */

static int commit(struct making *m, struct tide_error *err)
{
	struct tide_error why;
	int ret = 0;

	for (size_t i = 0; i < m->count && !ret; i++) {
		struct backup_folder *f = &m->disks[i].folder;
		json_t *pending = NULL;

		ret = folder_pending(f, &pending, &why);
		if (!ret && m->control)
			ret = recover_finish(pending, m->control, &why);
		if (!ret)
			ret = folder_set_pending(f, NULL, &why);
		json_decref(pending);
	}
	return ret ? tide_error_set(err, -ESTALE, "backup", TIDE_NO_OFFSET,
				    "the point is whole, but the server was not "
				    "told (%.120s); the next run does that",
				    why.text) : 0;
}

static int copy_all(struct making *m, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < m->count && !ret; i++) {
		ret = copy_disk(m, &m->disks[i], err);
		if (ret)
			explain(m, &m->disks[i], err);
	}
	if (!m->control && !ret)
		ret = hook_run(m->o->post, m->o->hook_ms, err);
	else if (!m->control)
		hook_run(m->o->post, m->o->hook_ms, NULL);
	return ret;
}

static int run(struct making *m, struct tide_error *err)
{
	int ret = look(m, err);

	if (!ret)
		ret = name_checkpoint(m, err);
	if (ret)
		return ret;
	ret = write_pending(m, err);
	if (!ret)
		ret = m->control ? begin(m, err) : take_stranger(m, err);
	if (!ret)
		ret = copy_all(m, err);
	if (ret) {
		undo(m);
		return ret;
	}
	/* From here on nothing is removed: a manifest may name it. */
	for (size_t i = 0; i < m->count && !ret; i++)
		ret = folder_add(&m->disks[i].folder,
				 &m->disks[i].made->point, err);
	return ret ? ret : commit(m, err);
}

int backup_make(const struct backup_make_options *o, struct backup_made *made,
		struct tide_error *err)
{
	struct tide_error own;
	struct making *m;
	int ret;

	err = err ? err : &own;
	if (!o->count || o->count > BACKUP_MAX_DISKS)
		return tide_error_set(err, -EINVAL, "backup", TIDE_NO_OFFSET,
				      "1 to %u disks at once",
				      BACKUP_MAX_DISKS);
	m = calloc(1, sizeof(*m));
	if (!m)
		return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
				      "no memory to begin");
	memset(made, 0, o->count * sizeof(*made));
	m->o = o;
	m->count = o->count;
	rate_init(&m->rate, o->bytes_per_s, o->stop);
	for (size_t i = 0; i < m->count; i++) {
		m->disks[i].uri = o->uris[i];
		m->disks[i].made = &made[i];
	}
	ret = run(m, err);
	for (size_t i = 0; i < m->count; i++) {
		if (m->disks[i].open)
			folder_close(&m->disks[i].folder);
		free(m->disks[i].name);
		free(m->disks[i].control);
	}
	rate_fini(&m->rate);
	free(m);
	return ret;
}
