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
#include "cli/bitmap_file.h"
#include "cli/options.h"
#include "cli/serve_hold.h"
#include "cli/serve_instant.h"
#include "cli/serve_track.h"
#include "control/server.h"

#define MOST_DISKS 256
#define RUNS_A_PART 4096u

struct call {
	struct serve_disks *disks;
	const json_t *request;
	serve_emit *emit;
	void *opaque;
	struct serve_disk *d; /* the first of those that are named */
	struct cbt *trackers[MOST_DISKS];
	struct serve_disk *named[MOST_DISKS];
	size_t count;
	bool any; /* also of disks that are not tracked: trackers are NULL */
	const char *name; /* of the point; NULL: not given */
};

static const char *text(const struct call *c, const char *key)
{
	return json_string_value(json_object_get(c->request, key));
}

static json_t *refuse(struct tide_error *err, int code, const char *why)
{
	tide_error_set(err, code, "control", TIDE_NO_OFFSET, "%s", why);
	return control_error(err);
}

static json_t *done(const struct call *c, int ret, struct tide_error *err)
{
	if (ret)
		return control_error(err);
	for (size_t i = 0; i < c->count; i++)
		serve_offer(c->named[i]);
	return json_pack("{s:b}", "done", 1);
}

static const char hex[] = "0123456789abcdef";

static json_t *uuid_json(const uint8_t uuid[16])
{
	char out[37], *at = out;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = hex[uuid[i] >> 4];
		*at++ = hex[uuid[i] & 15];
	}
	*at = 0;
	return json_string(out);
}

static json_t *point_json(const struct cbt_info *i)
{
	return json_pack(
		"{s:s, s:s, s:s, s:s*, s:b, s:I, s:I, s:I, s:o, s:o}", "name",
		i->name, "kind",
		i->kind == CBT_CHECKPOINT ? "checkpoint" : "bitmap", "state",
		cbt_word(i->word), "reason", *i->reason ? i->reason : NULL,
		"pending", i->pending,
		"granularity_bytes", (json_int_t)i->granularity_bytes,
		"dirty_bytes", (json_int_t)i->dirty_bytes, "created",
		(json_int_t)i->created_s, "uuid", uuid_json(i->uuid), "parent",
		uuid_json(i->parent));
}

/* The points of one kind, or of both (0); NULL: no memory. */
static json_t *points_json(struct serve_disk *d, int kind)
{
	json_t *array = json_array();
	struct cbt_info *list;
	size_t count;

	if (!array || cbt_list(d->cbt, CBT_COUNTED, &list, &count)) {
		json_decref(array);
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		if ((!kind || (int)list[i].kind == kind) &&
		    json_array_append_new(array, point_json(&list[i]))) {
			json_decref(array);
			array = NULL;
			break;
		}
	free(list);
	return array;
}

static json_t *tracking_json(struct serve_disk *d)
{
	struct cbt_status s;

	if (!d->cbt)
		return json_pack("{s:s, s:s}", "state", "off", "reason",
				 d->untracked);
	cbt_status(d->cbt, &s);
	return json_pack(
		"{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
		" s:I, s:b, s:s*, s:s*}",
		"state", s.lost ? "failing" : *s.trouble ? "failing" : "on",
		"durability",
		s.durability == CBT_POWER ? "power" : "process", "store",
		s.store_path, "uuid", uuid_json(s.uuid), "granularity_bytes",
		(json_int_t)s.granularity_bytes, "epoch", (json_int_t)s.epoch,
		"dirty_bytes", (json_int_t)s.live_bytes, "safety_bytes",
		(json_int_t)s.safety_bytes, "active_regions",
		(json_int_t)s.active_regions, "region_bytes",
		(json_int_t)s.region_bytes, "intent_blocks",
		(json_int_t)s.intents, "first_writes",
		(json_int_t)s.first_writes, "commits", (json_int_t)s.commits,
		"power_loss_would_lose", s.lost, "trouble",
		*s.trouble ? s.trouble : NULL, "note",
		*cbt_note(d->cbt) ? cbt_note(d->cbt) : NULL);
}

static json_t *disk_json(struct serve_disks *disks, struct serve_disk *d)
{
	json_t *points = d->cbt ? points_json(d, 0) : json_array();

	return json_pack("{s:s, s:s, s:I, s:b, s:o, s:o, s:o}", "name", d->name,
			 "path", d->disk->path, "size_bytes",
			 (json_int_t)tide_disk_size(d->disk), "read_only",
			 !d->disk->writable, "tracking", tracking_json(d),
			 "points", points, "instants",
			 serve_instant_list(disks, d));
}

static json_t *do_status(struct call *c)
{
	json_t *array = json_array();

	for (int i = 0; array && i < c->disks->count; i++)
		if (json_array_append_new(array,
					  disk_json(c->disks,
						    &c->disks->list[i]))) {
			json_decref(array);
			array = NULL;
		}
	return array ? json_pack("{s:o}", "disks", array) : NULL;
}

/* "size_bytes": the new size; without: what the file below has by now. */
static json_t *do_resize(struct call *c)
{
	const json_t *size = json_object_get(c->request, "size_bytes");
	const json_t *shrink = json_object_get(c->request, "shrink");
	uint64_t old = tide_disk_size(c->d->disk);
	json_int_t bytes = json_integer_value(size);
	struct tide_error err;
	int ret;

	if ((size && (!json_is_integer(size) || bytes < 0)) ||
	    (shrink && !json_is_boolean(shrink)))
		return refuse(&err, -EINVAL, "size_bytes is a number of bytes, "
			      "shrink is true or false");
	if (size && (uint64_t)bytes < old && !json_is_true(shrink))
		return refuse(&err, -EINVAL, "that is less than the disk has: "
			      "what lies behind would be lost; say so by "
			      "'shrink': true");
	ret = size ? tide_disk_resize(c->d->disk, (uint64_t)bytes, &err)
		   : tide_disk_notice(c->d->disk, &err);
	if (ret)
		return control_error(&err);
	return json_pack("{s:b, s:I, s:I}", "done", 1, "size_bytes",
			 (json_int_t)tide_disk_size(c->d->disk),
			 "old_size_bytes", (json_int_t)old);
}

static json_t *do_stop(struct call *c)
{
	tide__store_seqcst(&c->disks->stop, true);
	return json_pack("{s:b}", "stopping", 1);
}

static json_t *do_list(struct call *c, int kind, const char *key)
{
	json_t *points = points_json(c->d, kind);

	return points ? json_pack("{s:s, s:o}", "disk", c->d->name, key,
				  points) : NULL;
}

static json_t *do_checkpoints(struct call *c)
{
	return do_list(c, CBT_CHECKPOINT, "checkpoints");
}

static json_t *do_bitmaps(struct call *c)
{
	return do_list(c, CBT_BITMAP, "bitmaps");
}

static json_t *do_info(struct call *c)
{
	struct cbt_info info;
	struct tide_error err;
	json_t *answer;
	int ret = cbt_info(c->d->cbt, c->name, CBT_COUNTED, &info, &err);

	if (ret)
		return control_error(&err);
	answer = point_json(&info);
	if (answer && (json_object_set_new(answer, "tracking",
					   tracking_json(c->d)) ||
		       json_object_set_new(answer, "size_bytes", json_integer(
				(json_int_t)tide_disk_size(c->d->disk))))) {
		json_decref(answer);
		return NULL;
	}
	return answer;
}

static json_t *do_create(struct call *c)
{
	struct tide_error err;

	return done(c, cbt_checkpoint_create(c->trackers, c->count, c->name,
					     false, &err), &err);
}

static json_t *do_delete(struct call *c)
{
	struct tide_error err;

	return done(c, cbt_checkpoint_delete(c->d->cbt, c->name, &err), &err);
}

static json_t *do_add(struct call *c)
{
	const json_t *granularity =
		json_object_get(c->request, "granularity_bytes");
	const json_t *disabled = json_object_get(c->request, "disabled");
	json_int_t bytes = json_integer_value(granularity);
	struct tide_error err;

	if ((granularity && (!json_is_integer(granularity) || bytes < 0)) ||
	    (disabled && !json_is_boolean(disabled)))
		return refuse(&err, -EINVAL, "granularity_bytes is a number, "
			      "disabled is true or false");
	return done(c, cbt_bitmap_add(c->d->cbt, c->name,
				      granularity ? (uint64_t)bytes : 65536,
				      !json_is_true(disabled), &err), &err);
}

static json_t *do_remove(struct call *c)
{
	struct tide_error err;

	return done(c, cbt_bitmap_remove(c->d->cbt, c->name, &err), &err);
}

static json_t *do_clear(struct call *c)
{
	struct tide_error err;

	return done(c, cbt_bitmap_clear(c->d->cbt, c->name, &err), &err);
}

static json_t *do_enable(struct call *c)
{
	struct tide_error err;

	return done(c, cbt_bitmap_enable(c->d->cbt, c->name, true, &err),
		    &err);
}

static json_t *do_disable(struct call *c)
{
	struct tide_error err;

	return done(c, cbt_bitmap_enable(c->d->cbt, c->name, false, &err),
		    &err);
}

static json_t *do_rename(struct call *c)
{
	const char *to = text(c, "to");
	struct tide_error err;

	if (!to)
		return refuse(&err, -EINVAL, "rename needs a new name in 'to'");
	return done(c, cbt_rename(c->d->cbt, c->name, to, &err), &err);
}

static struct serve_disk *find_disk(const struct serve_disks *disks,
				    const char *name)
{
	for (int i = 0; name && i < disks->count; i++)
		if (!strcmp(disks->list[i].name, name))
			return &disks->list[i];
	return NULL;
}

static json_t *do_merge(struct call *c)
{
	const char *from = text(c, "from"), *other = text(c, "from_disk");
	struct serve_disk *d = other ? find_disk(c->disks, other) : c->d;
	struct tide_error err;

	if (!from || !d || !d->cbt)
		return refuse(&err, -EINVAL, "merge needs a bitmap in 'from', "
			      "of a tracked disk in 'from_disk'");
	return done(c, cbt_bitmap_merge(c->d->cbt, c->name, d->cbt, from,
					&err), &err);
}

/* One of "runs": [byte_offset, size_bytes]. */
static int take_pair(const json_t *pair, uint64_t size,
		     struct cbt_image *bits)
{
	json_int_t at = json_integer_value(json_array_get(pair, 0));
	json_int_t length = json_integer_value(json_array_get(pair, 1));

	if (json_array_size(pair) != 2 || at < 0 || length < 1 ||
	    (uint64_t)at > size || (uint64_t)length > size - (uint64_t)at)
		return -EINVAL;
	return cbt_image_set(bits, (uint64_t)at >> bits->shift,
			     cbt_bits_of((uint64_t)at + (uint64_t)length,
					 bits->shift));
}

/* A new bitmap, or, with "more", further bits of one that is there. */
static json_t *import_runs(struct call *c, const json_t *runs)
{
	json_int_t bytes = json_integer_value(
		json_object_get(c->request, "granularity_bytes"));
	bool more = json_is_true(json_object_get(c->request, "more"));
	uint64_t size = tide_disk_size(c->d->disk);
	struct cbt_image bits;
	struct tide_error err;
	json_t *pair;
	size_t i;
	int ret = 0;

	if (bytes < 512 || bytes > INT64_C(1) << 31 || bytes & (bytes - 1))
		return refuse(&err, -EINVAL, "granularity_bytes is a power of "
			      "two from 512 to 2G");
	if (cbt_image_init(&bits, cbt_bits_of(size, (uint32_t)
			   __builtin_ctzll((uint64_t)bytes)),
			   (uint32_t)__builtin_ctzll((uint64_t)bytes)))
		return NULL;
	json_array_foreach(runs, i, pair)
		if (!ret)
			ret = take_pair(pair, size, &bits);
	if (ret)
		tide_error_set(&err, ret, "control", TIDE_NO_OFFSET,
			       "runs are [byte_offset, size_bytes] inside of "
			       "the disk");
	else
		ret = more ? cbt_bitmap_add_bits(c->d->cbt, c->name, &bits,
						 &err) :
			     cbt_bitmap_import(c->d->cbt, c->name, &bits,
					       &err);
	cbt_image_fini(&bits);
	return done(c, ret, &err);
}

static json_t *do_import(struct call *c)
{
	const json_t *runs = json_object_get(c->request, "runs");
	const char *path = text(c, "file");
	struct cbt_image bits;
	struct tide_error err;
	int ret;

	if (json_is_array(runs))
		return import_runs(c, runs);

	if (!path || *path != '/')
		return refuse(&err, -EINVAL, "import needs the whole path of a "
			      "file in 'file'");
	ret = bitmap_file_read(path, tide_disk_size(c->d->disk), &bits, &err);
	if (ret)
		return control_error(&err);
	ret = cbt_bitmap_import(c->d->cbt, c->name, &bits, &err);
	cbt_image_fini(&bits);
	return done(c, ret, &err);
}

/* What changed, in parts: {"changed": [...]} each. */
struct diff {
	struct call *c;
	json_t *part; /* an array; NULL: no memory, or nobody listens */
	uint64_t at, start; /* bytes; of the run that is open */
	bool open, failed;
};

static void send_part(struct diff *d)
{
	json_t *object = json_pack("{s:o}", "changed", d->part);

	d->part = NULL;
	if (!object || !d->c->emit(d->c->opaque, object))
		d->failed = true;
	json_decref(object);
	if (!d->failed)
		d->part = json_array();
	if (!d->part)
		d->failed = true;
}

static void close_run(struct diff *d)
{
	json_t *run;

	if (!d->open)
		return;
	d->open = false;
	run = json_pack("{s:I, s:I}", "byte_offset", (json_int_t)d->start,
			"size_bytes", (json_int_t)(d->at - d->start));
	if (!d->part || json_array_append_new(d->part, run))
		d->failed = true;
	else if (json_array_size(d->part) == RUNS_A_PART)
		send_part(d);
}

/* Neighbours come together: windows end where the disk does not. */
static bool take_run(void *opaque, uint64_t length_bytes, bool dirty)
{
	struct diff *d = opaque;

	if (dirty && !d->open) {
		d->open = true;
		d->start = d->at;
	} else if (!dirty) {
		close_run(d);
	}
	d->at += length_bytes;
	return !d->failed;
}

static json_t *do_diff(struct call *c)
{
	json_t *from = json_object_get(c->request, "offset");
	uint64_t size = tide_disk_size(c->d->disk);
	struct diff d = { .c = c, .part = json_array() };
	struct cbt_info info;
	struct tide_error err;
	int ret;

	if (from && (!json_is_integer(from) || json_integer_value(from) < 0 ||
		     (uint64_t)json_integer_value(from) > size)) {
		json_decref(d.part);
		return refuse(&err, -EINVAL, "'offset' is a number of bytes "
			      "inside of the disk");
	}
	d.at = from ? (uint64_t)json_integer_value(from) : 0;
	ret = cbt_info(c->d->cbt, c->name, CBT_UNCOUNTED, &info, &err);
	if (!ret)
		ret = cbt_changes(c->d->cbt, c->name, text(c, "until"), d.at,
				  size - d.at, take_run, &d, &err);
	close_run(&d);
	if (!ret && d.part && json_array_size(d.part))
		send_part(&d);
	json_decref(d.part);
	if (ret)
		return control_error(&err);
	if (d.failed)
		return refuse(&err, -EPIPE, "the answer could not be sent");
	return json_pack("{s:b, s:s, s:I, s:I}", "done", 1, "disk", c->d->name,
			 "size_bytes", (json_int_t)size, "granularity_bytes",
			 (json_int_t)info.granularity_bytes);
}

static json_t *do_begin(struct call *c)
{
	json_t *answer = serve_instant_begin(c->disks, c->named, c->count,
					     c->name, c->request);

	for (size_t i = 0; i < c->count; i++)
		serve_offer(c->named[i]);
	return answer;
}

static json_t *end_instant(struct call *c, bool keep)
{
	json_t *answer = serve_instant_end(c->disks, c->named, c->count,
					   c->name, keep);

	for (size_t i = 0; i < c->count; i++)
		serve_offer(c->named[i]);
	return answer;
}

static json_t *do_commit(struct call *c)
{
	return end_instant(c, true);
}

static json_t *do_abort(struct call *c)
{
	return end_instant(c, false);
}

static json_t *do_passed(struct call *c)
{
	return serve_instant_pass(c->disks, c->d, c->name,
				  json_object_get(c->request, "below"));
}

/* ANY_DISK: one, tracked or not. */
enum { NO_DISK, ANY_DISK, ONE_DISK, DISKS };

static json_t *do_hold(struct call *c)
{
	return serve_hold(c->d, c->request);
}

static json_t *do_release(struct call *c)
{
	return serve_release(c->disks, c->d, c->request);
}

static const struct verb {
	const char *name;
	int disks;
	bool point; /* it needs a name */
	json_t *(*run)(struct call *c);
} verbs[] = {
	{ "status", NO_DISK, false, do_status },
	{ "stop", NO_DISK, false, do_stop },
	{ "resize", ANY_DISK, false, do_resize },
	{ "checkpoint-create", DISKS, true, do_create },
	{ "checkpoint-begin", DISKS, true, do_begin },
	{ "checkpoint-commit", DISKS, true, do_commit },
	{ "checkpoint-abort", DISKS, true, do_abort },
	{ "checkpoint-passed", ONE_DISK, true, do_passed },
	{ "checkpoint-delete", ONE_DISK, true, do_delete },
	{ "checkpoint-list", ONE_DISK, false, do_checkpoints },
	{ "bitmap-add", ONE_DISK, true, do_add },
	{ "bitmap-remove", ONE_DISK, true, do_remove },
	{ "bitmap-clear", ONE_DISK, true, do_clear },
	{ "bitmap-enable", ONE_DISK, true, do_enable },
	{ "bitmap-disable", ONE_DISK, true, do_disable },
	{ "bitmap-rename", ONE_DISK, true, do_rename },
	{ "bitmap-merge", ONE_DISK, true, do_merge },
	{ "bitmap-import", ONE_DISK, true, do_import },
	{ "bitmap-list", ONE_DISK, false, do_bitmaps },
	{ "bitmap-info", ONE_DISK, true, do_info },
	{ "diff", ONE_DISK, true, do_diff },
	{ "hold", ONE_DISK, false, do_hold },
	{ "release", ONE_DISK, false, do_release },
};

#define VERBS (sizeof(verbs) / sizeof(*verbs))

const char *serve_verb_name(size_t i)
{
	return i < VERBS ? verbs[i].name : NULL;
}

static int add_named(struct call *c, const char *name, struct tide_error *err)
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
static int name_disks(struct call *c, bool several, struct tide_error *err)
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
	    json_array_size(list) > MOST_DISKS)
		return tide_error_set(err, -EINVAL, "control", TIDE_NO_OFFSET,
				      "'disks' is a list of names");
	json_array_foreach(list, i, name)
		if (!ret)
			ret = add_named(c, json_string_value(name), err);
	return ret;
}

static json_t *run_verb(struct call *c, const struct verb *v)
{
	struct tide_error err;

	c->any = v->disks == ANY_DISK;
	if (v->disks != NO_DISK && name_disks(c, v->disks == DISKS, &err))
		return control_error(&err);
	c->name = text(c, "name");
	if (v->point && !c->name)
		return refuse(&err, -EINVAL, "the request needs a 'name'");
	return v->run(c);
}

json_t *serve_verb(struct serve_disks *disks, const json_t *request,
		   serve_emit *emit, void *opaque)
{
	struct call c = { .disks = disks, .request = request, .emit = emit,
			  .opaque = opaque };
	const char *command = text(&c, "command");

	for (size_t i = 0; command && i < VERBS; i++)
		if (!strcmp(verbs[i].name, command))
			return run_verb(&c, &verbs[i]);
	return control_refuse(EINVAL, "the request has no command that is "
			      "known here");
}
