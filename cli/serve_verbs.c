/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verbs on checkpoints and bitmaps: a table of names, each a function from
 * a request to an answer. Whatever a request says is looked at before anything
 * is done. docs/control-socket.md is the contract.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "cli/serve_call.h"
#include "cli/serve_hold.h"
#include "cli/serve_instant.h"
#include "control/server.h"

const char *serve_text(const struct serve_call *c, const char *key)
{
	return json_string_value(json_object_get(c->request, key));
}

json_t *serve_refuse(struct tide_error *err, int code, const char *why)
{
	tide_error_set(err, code, "control", TIDE_NO_OFFSET, "%s", why);
	return control_error(err);
}

json_t *serve_done(const struct serve_call *c, int ret, struct tide_error *err)
{
	if (ret)
		return control_error(err);
	for (size_t i = 0; i < c->count; i++)
		serve_offer(c->named[i]);
	return json_pack("{s:b}", "done", 1);
}

/* "size_bytes": the new size; without: what the file below has by now. */
static json_t *do_resize(struct serve_call *c)
{
	const json_t *size = json_object_get(c->request, "size_bytes");
	const json_t *shrink = json_object_get(c->request, "shrink");
	uint64_t old = tide_disk_size(c->d->disk);
	json_int_t bytes = json_integer_value(size);
	struct tide_error err;
	int ret;

	if ((size && (!json_is_integer(size) || bytes < 0)) ||
	    (shrink && !json_is_boolean(shrink)))
		return serve_refuse(&err, -EINVAL,
			    "size_bytes is a number of bytes, shrink is true "
			    "or false");
	if (size && (uint64_t)bytes < old && !json_is_true(shrink))
		return serve_refuse(&err, -EINVAL,
			    "that is less than the disk has: what lies "
			    "behind would be lost; say so by 'shrink': true");
	ret = size ? tide_disk_resize(c->d->disk, (uint64_t)bytes, &err)
		   : tide_disk_notice(c->d->disk, &err);
	if (ret)
		return control_error(&err);
	return json_pack("{s:b, s:I, s:I}", "done", 1, "size_bytes",
			 (json_int_t)tide_disk_size(c->d->disk),
			 "old_size_bytes", (json_int_t)old);
}

static json_t *do_stop(struct serve_call *c)
{
	tide__store_seqcst(&c->disks->stop, true);
	return json_pack("{s:b}", "stopping", 1);
}

static json_t *do_create(struct serve_call *c)
{
	struct tide_error err;

	return serve_done(c, cbt_checkpoint_create(c->trackers, c->count,
						   c->name, false, &err), &err);
}

static json_t *do_delete(struct serve_call *c)
{
	struct tide_error err;

	return serve_done(c, cbt_checkpoint_delete(c->d->cbt, c->name, &err),
			  &err);
}

static json_t *do_add(struct serve_call *c)
{
	const json_t *granularity =
		json_object_get(c->request, "granularity_bytes");
	const json_t *disabled = json_object_get(c->request, "disabled");
	json_int_t bytes = json_integer_value(granularity);
	struct tide_error err;

	if ((granularity && (!json_is_integer(granularity) || bytes < 0)) ||
	    (disabled && !json_is_boolean(disabled)))
		return serve_refuse(&err, -EINVAL,
			    "granularity_bytes is a number, disabled is true "
			    "or false");
	return serve_done(c, cbt_bitmap_add(c->d->cbt, c->name,
					    granularity ? (uint64_t)bytes : 65536,
					    !json_is_true(disabled), &err),
			  &err);
}

static json_t *do_remove(struct serve_call *c)
{
	struct tide_error err;

	return serve_done(c, cbt_bitmap_remove(c->d->cbt, c->name, &err), &err);
}

static json_t *do_clear(struct serve_call *c)
{
	struct tide_error err;

	return serve_done(c, cbt_bitmap_clear(c->d->cbt, c->name, &err), &err);
}

static json_t *do_enable(struct serve_call *c)
{
	struct tide_error err;

	return serve_done(c, cbt_bitmap_enable(c->d->cbt, c->name, true, &err),
			  &err);
}

static json_t *do_disable(struct serve_call *c)
{
	struct tide_error err;

	return serve_done(c, cbt_bitmap_enable(c->d->cbt, c->name, false, &err),
			  &err);
}

static json_t *do_rename(struct serve_call *c)
{
	const char *to = serve_text(c, "to");
	struct tide_error err;

	if (!to)
		return serve_refuse(&err, -EINVAL,
			    "rename needs a new name in 'to'");
	return serve_done(c, cbt_rename(c->d->cbt, c->name, to, &err), &err);
}

static struct serve_disk *find_disk(const struct serve_disks *disks,
				    const char *name)
{
	for (int i = 0; name && i < disks->count; i++)
		if (!strcmp(disks->list[i].name, name))
			return &disks->list[i];
	return NULL;
}

static json_t *do_merge(struct serve_call *c)
{
	const char *from = serve_text(c, "from");
	const char *other = serve_text(c, "from_disk");
	struct serve_disk *d = other ? find_disk(c->disks, other) : c->d;
	struct tide_error err;

	if (!from || !d || !d->cbt)
		return serve_refuse(&err, -EINVAL,
			    "merge needs a bitmap in 'from', of a tracked "
			    "disk in 'from_disk'");
	return serve_done(c, cbt_bitmap_merge(c->d->cbt, c->name, d->cbt, from,
					      &err), &err);
}

static json_t *do_begin(struct serve_call *c)
{
	json_t *answer = serve_instant_begin(c->disks, c->named, c->count,
					     c->name, c->request);

	for (size_t i = 0; i < c->count; i++)
		serve_offer(c->named[i]);
	return answer;
}

static json_t *end_instant(struct serve_call *c, bool keep)
{
	json_t *answer = serve_instant_end(c->disks, c->named, c->count,
					   c->name, keep);

	for (size_t i = 0; i < c->count; i++)
		serve_offer(c->named[i]);
	return answer;
}

static json_t *do_commit(struct serve_call *c)
{
	return end_instant(c, true);
}

static json_t *do_abort(struct serve_call *c)
{
	return end_instant(c, false);
}

static json_t *do_passed(struct serve_call *c)
{
	return serve_instant_pass(c->disks, c->d, c->name,
				  json_object_get(c->request, "below"));
}

static json_t *do_descriptors(struct serve_call *c)
{
	int fds[2];
	json_t *answer;

	if (!c->client->attach)
		return control_refuse(EOPNOTSUPP,
				      "descriptors need a socket");
	answer = serve_instant_descriptors(c->disks, c->d, c->name, fds);
	for (size_t i = 0; i < 2 && !json_object_get(answer, "error"); i++)
		c->client->attach(c->client->opaque, fds[i]);
	return answer;
}

/* ANY_DISK: one, tracked or not. */
enum { NO_DISK, ANY_DISK, ONE_DISK, DISKS };

static json_t *do_hold(struct serve_call *c)
{
	return serve_hold(c->d, c->request);
}

static json_t *do_release(struct serve_call *c)
{
	return serve_release(c->disks, c->d, c->request);
}

static const struct verb {
	const char *name;
	int disks;
	bool point; /* it needs a name */
	json_t *(*run)(struct serve_call *c);
} verbs[] = {
	{ "status", NO_DISK, false, serve_show_status },
	{ "stop", NO_DISK, false, do_stop },
	{ "resize", ANY_DISK, false, do_resize },
	{ "checkpoint-create", DISKS, true, do_create },
	{ "checkpoint-begin", DISKS, true, do_begin },
	{ "checkpoint-commit", DISKS, true, do_commit },
	{ "checkpoint-abort", DISKS, true, do_abort },
	{ "checkpoint-passed", ONE_DISK, true, do_passed },
	{ "checkpoint-descriptors", ONE_DISK, true, do_descriptors },
	{ "checkpoint-delete", ONE_DISK, true, do_delete },
	{ "checkpoint-list", ONE_DISK, false, serve_show_checkpoints },
	{ "bitmap-add", ONE_DISK, true, do_add },
	{ "bitmap-remove", ONE_DISK, true, do_remove },
	{ "bitmap-clear", ONE_DISK, true, do_clear },
	{ "bitmap-enable", ONE_DISK, true, do_enable },
	{ "bitmap-disable", ONE_DISK, true, do_disable },
	{ "bitmap-rename", ONE_DISK, true, do_rename },
	{ "bitmap-merge", ONE_DISK, true, do_merge },
	{ "bitmap-import", ONE_DISK, true, serve_import },
	{ "bitmap-list", ONE_DISK, false, serve_show_bitmaps },
	{ "bitmap-info", ONE_DISK, true, serve_show_info },
	{ "diff", ONE_DISK, true, serve_diff },
	{ "hold", ONE_DISK, false, do_hold },
	{ "release", ONE_DISK, false, do_release },
};

#define VERBS (sizeof(verbs) / sizeof(*verbs))

const char *serve_verb_name(size_t i)
{
	return i < VERBS ? verbs[i].name : NULL;
}

static int add_named(struct serve_call *c, const char *name,
		     struct tide_error *err)
{
	struct serve_disk *d = find_disk(c->disks, name);

	for (size_t i = 0; d && i < c->count; i++)
		if (c->named[i] == d)
			return tide_error_set(err, -EINVAL, "control",
					      TIDE_NO_OFFSET, "the disk "
					      "'%.200s' is named twice", name);
	if (!d)
		return tide_error_set(err, -ENOENT, "control", TIDE_NO_OFFSET,
				      "there is no disk '%.200s' here",
				      name ? name : "");
	if (!d->cbt && !c->any)
		return tide_error_set(err, -EOPNOTSUPP, "control",
				      TIDE_NO_OFFSET,
				      "'%.200s' is not tracked: %s", d->name,
				      d->untracked);
	c->named[c->count] = d;
	c->trackers[c->count++] = d->cbt;
	c->d = c->named[0];
	return 0;
}

/* "disk": a name; or "disks": several; a single disk need not be named. */
static int name_disks(struct serve_call *c, bool several,
		      struct tide_error *err)
{
	const json_t *list = json_object_get(c->request, "disks");
	const json_t *one = json_object_get(c->request, "disk");
	size_t i;
	json_t *name;
	int ret = 0;

	if (!list && !one && c->disks->count == 1)
		return add_named(c, c->disks->list[0].name, err);
	if (!list || !several)
		return add_named(c, json_string_value(one), err);
	if (!json_is_array(list) || !json_array_size(list) ||
	    json_array_size(list) > SERVE_MAX_DISKS)
		return tide_error_set(err, -EINVAL, "control", TIDE_NO_OFFSET,
				      "'disks' is a list of names");
	json_array_foreach(list, i, name)
		if (!ret)
			ret = add_named(c, json_string_value(name), err);
	return ret;
}

static json_t *run_verb(struct serve_call *c, const struct verb *v)
{
	struct tide_error err;

	c->any = v->disks == ANY_DISK;
	if (v->disks != NO_DISK && name_disks(c, v->disks == DISKS, &err))
		return control_error(&err);
	c->name = serve_text(c, "name");
	if (v->point && !c->name)
		return serve_refuse(&err, -EINVAL,
			    "the request needs a 'name'");
	return v->run(c);
}

json_t *serve_verb(struct serve_disks *disks, const json_t *request,
		   const struct serve_client *client)
{
	struct serve_call c = { .disks = disks, .request = request,
				.client = client };
	const char *command = serve_text(&c, "command");

	for (size_t i = 0; command && i < VERBS; i++)
		if (!strcmp(verbs[i].name, command))
			return run_verb(&c, &verbs[i]);
	return control_refuse(EINVAL, "the request has no command that is "
			      "known here");
}
