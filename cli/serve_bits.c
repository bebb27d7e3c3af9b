/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bits that come in and go out: what changed, in parts of so many runs each,
 * and bitmaps from elsewhere. Whatever a request says is looked at before
 * anything is done.
 */
#include <errno.h>
#include <string.h>

#include "cli/bitmap_file.h"
#include "cli/serve_call.h"
#include "control/server.h"

#define RUNS_A_PART 4096u

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
static json_t *import_runs(struct serve_call *c, const json_t *runs)
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
		return serve_refuse(&err, -EINVAL,
			    "granularity_bytes is a power of two from 512 to "
			    "2G");
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
	return serve_done(c, ret, &err);
}

json_t *serve_import(struct serve_call *c)
{
	const json_t *runs = json_object_get(c->request, "runs");
	const char *path = serve_text(c, "file");
	struct cbt_image bits;
	struct tide_error err;
	int ret;

	if (json_is_array(runs))
		return import_runs(c, runs);

	if (!path || *path != '/')
		return serve_refuse(&err, -EINVAL,
			    "import needs the whole path of a file in 'file'");
	ret = bitmap_file_read(path, tide_disk_size(c->d->disk), &bits, &err);
	if (ret)
		return control_error(&err);
	ret = cbt_bitmap_import(c->d->cbt, c->name, &bits, &err);
	cbt_image_fini(&bits);
	return serve_done(c, ret, &err);
}

/* What changed, in parts: {"changed": [...]} each. */
struct diff {
	struct serve_call *c;
	json_t *part; /* an array; NULL: no memory, or nobody listens */
	uint64_t at, start; /* bytes; of the run that is open */
	bool open, failed;
};

static void send_part(struct diff *d)
{
	json_t *object = json_pack("{s:o}", "changed", d->part);

	d->part = NULL;
	if (!object || !d->c->client->emit(d->c->client->opaque,
						    object))
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

json_t *serve_diff(struct serve_call *c)
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
		return serve_refuse(&err, -EINVAL,
			    "'offset' is a number of bytes inside of the disk");
	}
	d.at = from ? (uint64_t)json_integer_value(from) : 0;
	ret = cbt_info(c->d->cbt, c->name, CBT_UNCOUNTED, &info, &err);
	if (!ret)
		ret = cbt_changes(c->d->cbt, c->name, serve_text(c, "until"),
				  d.at, size - d.at, take_run, &d, &err);
	close_run(&d);
	if (!ret && d.part && json_array_size(d.part))
		send_part(&d);
	json_decref(d.part);
	if (ret)
		return control_error(&err);
	if (d.failed)
		return serve_refuse(&err, -EPIPE,
			    "the answer could not be sent");
	return json_pack("{s:b, s:s, s:I, s:I}", "done", 1, "disk", c->d->name,
			 "size_bytes", (json_int_t)size, "granularity_bytes",
			 (json_int_t)info.granularity_bytes);
}
