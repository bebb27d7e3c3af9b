/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The "record" request of the control socket: harvest and cut the guest's
 * writes every so often, and keep each round as a bitmap
 * (docs/format-trace.md).
 *
 * The guest runs on. For as long as it is recorded its state is "recording",
 * and a migration is refused: a set has one taker.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/vm/daemon.h"
#include "tidemark/scan.h"
#include "cli/trace/file.h"

#define MAX_ROUNDS 10000
#define SLICE_NS 50000000u

struct record {
	struct daemon *d;
	const struct control_lines *client;
	const char *folder;
	uint64_t *words;
	uint64_t pages, written;
	json_t *rounds;
};

/* In pieces: false once the client has hung up, as it does at the end. */
static bool sleep_until(const struct control_lines *client, uint64_t ns)
{
	uint64_t now;

	while ((now = tide__now_ns()) < ns) {
		uint64_t left = ns - now < SLICE_NS ? ns - now : SLICE_NS;
		struct timespec pause = { .tv_nsec = (long)left };

		if (control_client_gone(client))
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int write_round(struct record *r, uint32_t n, struct tide_error *err)
{
	char path[4096], name[32];
	size_t bytes = (r->pages + 7) / 8;
	FILE *file;
	bool bad;

	trace_round_name(name, n);
	snprintf(path, sizeof(path), "%s/%s", r->folder, name);
	file = fopen(path, "wbx"); /* never over another */
	bad = !file || fwrite(r->words, 1, bytes, file) != bytes;
	if (file && fclose(file))
		bad = true;
	if (bad)
		return tide_error_set(err, -errno, "trace", TIDE_NO_OFFSET,
				      "%s: %s", path, strerror(errno));
	return 0;
}

/* Harvest, cut, rearm what was found, and keep it as a bitmap. */
static int one_round(struct record *r, uint32_t n, bool keep, uint64_t start,
		     struct tide_error *err)
{
	struct tide_source *source = vm_source(r->d->vm);
	struct tide_range range[256];
	struct tide_epoch *epoch;
	uint64_t cursor = 0, t0 = tide__now_ns(), pages;
	size_t got;
	int ret = tide_source_harvest(source, vm_set(r->d->vm), err);

	if (ret == 0)
		ret = tide_set_cut(vm_set(r->d->vm), &epoch, err);
	if (ret < 0)
		return ret;
	memset(r->words, 0, (r->pages + 63) / 64 * 8);
	while (ret == 0 && (got = tide_epoch_next(epoch, &cursor, range, 256)))
		for (size_t i = 0; ret == 0 && i < got; i++) {
			tide_bitmap_fill(r->words, range[i].first,
					 range[i].count);
			ret = tide_source_rearm(source, range[i].first,
						range[i].count, err);
		}
	pages = tide_epoch_count(epoch);
	tide_epoch_commit(epoch);
	if (ret < 0 || !keep)
		return ret;
	r->written += pages;
	json_array_append_new(r->rounds, json_pack(
	    "{s:I, s:I, s:I}", "t_end_us",
	    (json_int_t)((t0 - start) / 1000), "written", (json_int_t)pages,
	    "scan_us", (json_int_t)((tide__now_ns() - t0) / 1000)));
	return write_round(r, n, err);
}

static int all_rounds(struct record *r, uint32_t rounds, uint64_t interval_ns,
		      struct tide_error *err)
{
	uint64_t start;
	int ret = vm_track_start(r->d->vm, err);

	/* What was dirty before does not count: it is everything, at first. */
	start = tide__now_ns();
	if (ret == 0)
		ret = one_round(r, 0, false, start, err);
	start = tide__now_ns();
	for (uint32_t i = 0; ret == 0 && i < rounds; i++) {
		if (!sleep_until(r->client, start + (i + 1) * interval_ns))
			ret = tide_error_set(err, -ECANCELED, "trace",
					     TIDE_NO_OFFSET, "round %u: the "
					     "client hung up, or this VM is to "
					     "end", i);
		else
			ret = one_round(r, i, true, start, err);
	}
	vm_track_stop(r->d->vm, NULL);
	/* A later migration starts from "everything is dirty" by itself. */
	return ret;
}

static int write_manifest(struct record *r, uint64_t interval_ns,
			  struct tide_error *err)
{
	const struct vm_config *c = vm_get_config(r->d->vm);
	json_t *m = json_pack(
	    "{s:s, s:s, s:I, s:I, s:i, s:I, s:s, s:i, s:O}", "workload",
	    vm_pattern_name(c->pattern), "description",
	    "the reference VMM's guest", "pages", (json_int_t)r->pages,
	    "ram_bytes", (json_int_t)c->memory_bytes, "page_size",
	    (int)TIDE_PAGE_BYTES,
	    "interval_us", (json_int_t)(interval_ns / 1000), "source",
	    tide_source_kind_name(c->source), "vcpus", (int)c->vcpus,
	    "per_round", r->rounds);
	int ret = m ? trace_write_manifest(r->folder, m, err) : -ENOMEM;

	json_decref(m);
	return ret;
}

json_t *daemon_record(const struct control_request *asked)
{
	const json_t *request = asked->object;
	struct daemon *d = asked->opaque;
	json_int_t rounds = json_integer_value(json_object_get(request,
							       "rounds"));
	json_int_t ms = json_integer_value(json_object_get(request,
							   "interval_ms"));
	struct record r = { .d = d, .client = asked->lines };
	struct tide_error err;
	json_t *reply;
	int ret = 0;

	r.folder = json_string_value(json_object_get(request, "folder"));
	tide_error_clear(&err);
	if (!r.folder || rounds < 1 || rounds > MAX_ROUNDS || ms < 1 ||
	    ms > 3600000)
		ret = tide_error_set(&err, -EINVAL, "trace", TIDE_NO_OFFSET,
				     "record takes a folder, 1 to %d rounds "
				     "and 1 to 3600000 interval_ms",
				     MAX_ROUNDS);
	else if (!daemon_claim(d, DAEMON_RECORDING, &err))
		ret = err.code;
	if (ret < 0)
		return control_error(&err);
	ret = trace_clear(r.folder,
			  json_is_true(json_object_get(request, "force")),
			  &err);
	r.pages = tide_slots_top_bytes(vm_slots(d->vm)) / TIDE_PAGE_BYTES;
	r.words = calloc((r.pages + 63) / 64, sizeof(*r.words));
	r.rounds = json_array();
	if (ret == 0 && (!r.words || !r.rounds))
		ret = tide_error_set(&err, -ENOMEM, "trace", TIDE_NO_OFFSET,
				     "no memory to record");
	if (ret == 0)
		ret = all_rounds(&r, (uint32_t)rounds, (uint64_t)ms * 1000000,
				 &err);
	if (ret == 0)
		ret = write_manifest(&r, (uint64_t)ms * 1000000, &err);
	daemon_set_state(d, DAEMON_RUNNING, NULL);
	reply = ret < 0 ? control_error(&err) :
			  json_pack("{s:I, s:I}", "rounds", rounds, "pages",
				    (json_int_t)r.written);
	json_decref(r.rounds);
	free(r.words);
	return reply;
}
