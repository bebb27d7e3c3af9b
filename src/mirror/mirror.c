/* SPDX-License-Identifier: BSD-2-Clause */
#include "mirror/mirror.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "control/ask.h"
#include "transfer/hook.h"
#include "base/clock.h"
#include "mirror/bitmaps.h"
#include "mirror/copy.h"
#include "mirror/flusher.h"
#include "mirror/release.h"

#define SWITCH_MS 10000
/* The speed of so few bytes says nothing. */
#define TELLING_BYTES (UINT64_C(4) << 20)
/* Rounds in a row that leave no less than before. */
#define FRUITLESS 3u

struct run {
	const struct mirror_options *o;
	struct mirror_result *result;
	struct tide_error *err;
	struct nbd_client *target;
	struct nbd_client *source; /* of the next copy; NULL: not open */
	struct nbd_client *side; /* a connection to the target, to flush by */
	struct rate rate, no_rate;
	char *disk, *control; /* of the source; malloc'd */
	char *target_disk, *target_control;
	struct mirror_end from, to;
	char prefix[64]; /* of our checkpoints' names */
	char since[80]; /* the checkpoint that is copied from; "": none yet */
	uint64_t round_ns; /* when it was made */
	uint64_t bytes_per_s; /* copied; 0: not known yet */
};

static int ask(const struct run *r, json_t *request, json_t **answer)
{
	return control_ask(r->from.control, request, answer, r->err);
}

static int look(struct run *r)
{
	const struct mirror_options *o = r->o;
	int ret = nbd_client_look(o->source, &r->disk, &r->control, r->err);

	if (!ret)
		ret = nbd_client_look(o->target, &r->target_disk,
				      &r->target_control, r->err);
	if (ret)
		return ret;
	r->from.disk = r->disk;
	r->from.control = o->source_control ? o->source_control : r->control;
	r->to.disk = r->target_disk;
	r->to.control = o->target_control ? o->target_control
					  : r->target_control;
	if (*r->from.control)
		return 0;
	return tide_error_set(r->err, -ENOTSUP, "mirror", TIDE_NO_OFFSET,
			      "%.200s does not say where its control socket "
			      "is: only a tidemark server that has one knows "
			      "what changes", o->source);
}

/* As large as the source at least, and able to take what it is to take. */
static int open_target(struct run *r)
{
	const struct nbd_client_options o = {
		.connections = r->o->jobs, .write = true,
	};
	const struct nbd_client_options side = { .connections = 1,
						 .write = true };
	uint64_t size = nbd_client_size(r->source);
	int ret = nbd_client_open(r->o->target, &o, &r->target, r->err);

	if (ret)
		return ret;
	if (nbd_client_size(r->target) != size)
		return tide_error_set(r->err, -ENOSPC, "mirror",
				      TIDE_NO_OFFSET, "the source has %" PRIu64
				      " bytes, the target %" PRIu64
				      ": they have to be equal", size,
				      nbd_client_size(r->target));
	/* Another server may have no place for it, and would let us wait. */
	if (nbd_client_connections(r->target) > 1)
		ret = nbd_client_open(r->o->target, &side, &r->side, r->err);
	if (ret || r->o->no_bitmaps)
		return ret;
	ret = mirror_bitmaps_count(&r->from, r->prefix, r->err);
	if (ret > 0 && !*r->to.control)
		return tide_error_set(r->err, -ENOTSUP, "mirror",
				      TIDE_NO_OFFSET, "the source has %d "
				      "bitmaps and checkpoints, and the target "
				      "no control socket to take them: leave "
				      "them behind (--no-bitmaps), or name it",
				      ret);
	return ret < 0 ? ret : 0;
}

static void drop_checkpoint(struct run *r, const char *name)
{
	if (*name)
		control_ask(r->from.control, json_pack(
			"{s:s, s:s, s:s}", "command", "checkpoint-delete",
			"disk", r->from.disk, "name", name), NULL, NULL);
}

/* Also those of which an answer was lost. */
static void drop_all(struct run *r)
{
	json_t *answer = NULL, *list, *point;
	size_t i;

	if (!r->from.control || !*r->from.control)
		return;
	control_ask(r->from.control, json_pack("{s:s, s:s}", "command",
		   "checkpoint-list", "disk", r->from.disk), &answer, NULL);
	list = json_object_get(answer, "checkpoints");
	json_array_foreach(list, i, point) {
		const char *name = json_string_value(
			json_object_get(point, "name"));

		if (name && !strncmp(name, r->prefix, strlen(r->prefix)))
			drop_checkpoint(r, name);
	}
	json_decref(answer);
}

/* The next round copies from here on. */
static int mark_time(struct run *r, uint32_t number, char name[80])
{
	snprintf(name, 80, "%s%u", r->prefix, number);
	return ask(r, json_pack("{s:s, s:s, s:s}", "command",
				"checkpoint-create", "disk", r->from.disk,
				"name", name), NULL);
}

static int dirty_since(struct run *r, const char *name, uint64_t *bytes)
{
	json_t *answer = NULL;
	int ret = ask(r, json_pack("{s:s, s:s, s:s}", "command", "bitmap-info",
				   "disk", r->from.disk, "name", name),
		      &answer);

	if (!ret)
		*bytes = (uint64_t)json_integer_value(
			json_object_get(answer, "dirty_bytes"));
	json_decref(answer);
	return ret;
}

static uint64_t per_second(uint64_t bytes, uint64_t ns)
{
	return ns ? (uint64_t)((double)bytes * 1e9 / (double)ns) : 0;
}

/* Before the stop, too: connections take their time. */
static int open_source(struct run *r)
{
	return mirror_copy_open(r->o->source, *r->since ? r->since : NULL,
				r->o->jobs, &r->source, r->err);
}

static void close_source(struct run *r)
{
	if (r->source)
		nbd_client_close(r->source);
	r->source = NULL;
}

static int copy(struct run *r, bool stop, struct mirror_round *round)
{
	const struct mirror_copy c = {
		.source = r->source, .target = r->target, .jobs = r->o->jobs,
		.rate = stop ? &r->no_rate : &r->rate,
		.stop = stop ? NULL : r->o->stop,
	};
	uint64_t begun = tide__now_ns();
	int ret = mirror_copy_run(&c, &round->copied_bytes, r->err);

	close_source(r);
	round->stop = stop;
	round->elapsed_ns = tide__now_ns() - begun;
	r->result->copied_bytes += round->copied_bytes;
	if (round->copied_bytes >= TELLING_BYTES || !r->bytes_per_s)
		r->bytes_per_s = per_second(round->copied_bytes,
					    round->elapsed_ns);
	return ret;
}

/* One round: a checkpoint, what was dirty before it, and what is by now. */
static int one_round(struct run *r, struct mirror_round *round)
{
	char name[80];
	int ret = mark_time(r, round->number, name);
	uint64_t begun = tide__now_ns();

	if (ret)
		return ret;
	ret = copy(r, false, round);
	drop_checkpoint(r, r->since);
	memcpy(r->since, name, sizeof(name));
	if (!ret)
		ret = open_source(r);
	if (!ret)
		ret = dirty_since(r, name, &round->left_bytes);
	if (ret)
		return ret;
	if (r->bytes_per_s)
		round->predicted_ns = (uint64_t)((double)round->left_bytes *
						 1e9 / (double)r->bytes_per_s);
	r->result->write_bytes_per_s = per_second(round->left_bytes,
						  tide__now_ns() - begun);
	r->result->copy_bytes_per_s = r->bytes_per_s;
	return 0;
}

static void tell(struct run *r, const struct mirror_round *round)
{
	r->result->rounds++;
	if (r->o->round)
		r->o->round(r->o->opaque, round);
}

static int does_not_converge(struct run *r, const struct mirror_round *last)
{
	return tide_error_set(r->err, -ELOOP, "mirror", TIDE_NO_OFFSET,
			      "it does not converge: after %u rounds %" PRIu64
			      " bytes are left, which would take %" PRIu64
			      " ms; writes dirty %" PRIu64 " KiB/s, copies go "
			      "at %" PRIu64 " KiB/s", last->number + 1,
			      last->left_bytes, last->predicted_ns / 1000000,
			      r->result->write_bytes_per_s >> 10,
			      r->result->copy_bytes_per_s >> 10);
}

/*
 * Until what is left fits into the downtime. The target's flush of all of it
 * comes before the stop, and a round for what changed meanwhile: at the stop
 * there is little left to flush.
 */
static int go_round(struct run *r)
{
	uint64_t min = UINT64_MAX;
	uint32_t fruitless = 0;
	bool flushed = false;

	for (uint32_t n = 0;; n++) {
		struct mirror_round round = { .number = n };
		int ret = one_round(r, &round);

		if (ret)
			return ret;
		tell(r, &round);
		if (round.predicted_ns <= r->o->downtime_ns) {
			if (flushed || n + 1 >= r->o->max_rounds)
				return 0;
			ret = nbd_client_flush(r->target, r->err);
			if (ret)
				return ret;
			flushed = true;
			continue;
		}
		fruitless = round.left_bytes < min - min / 16 ?
				    0 : fruitless + 1;
		if (round.left_bytes < min)
			min = round.left_bytes;
		if (n + 1 >= r->o->max_rounds || fruitless > FRUITLESS)
			return does_not_converge(r, &round);
	}
}

static int hold(struct run *r)
{
	return ask(r, json_pack("{s:s, s:s, s:I}", "command", "hold", "disk",
				r->from.disk, "limit_ms",
				(json_int_t)r->o->hold_ms), NULL);
}

/* The bitmaps, while the target makes durable what it has. */
static int send_bitmaps(struct run *r)
{
	struct flusher flusher = { 0 };
	int ret = 0, flushed;

	flusher_start(&flusher, r->target);
	if (!r->o->no_bitmaps && *r->to.control)
		ret = mirror_bitmaps_send(&r->from, &r->to, r->prefix,
					  &r->result->bitmaps, r->err);
	flushed = flusher_end(&flusher, ret ? NULL : r->err);
	return ret ? ret : flushed;
}

/* Nobody writes. All that is left, and who knows of it. */
static int copy_last(struct run *r)
{
	struct mirror_round round = { .number = r->result->rounds };
	int ret = copy(r, true, &round);

	if (!ret)
		ret = send_bitmaps(r);
	if (!ret)
		ret = hook_run(r->o->switch_command, SWITCH_MS,
			       r->err);
	if (!ret)
		tell(r, &round);
	return ret;
}

static int leave(struct run *r)
{
	switch (mirror_release(&r->from, r->o->target, r->since, r->err)) {
	case MIRROR_MOVED:
		return 0;
	case MIRROR_STAYS:
		return -ESTALE;
	default:
		return -EOWNERDEAD;
	}
}

static int stop_phase(struct run *r)
{
	uint64_t begun = tide__now_ns();
	int ret = hold(r);

	/* Its answer may be lost; but who holds it already goes on. */
	if (ret && ret != -EBUSY)
		mirror_let_go(&r->from);
	if (ret)
		return ret;
	ret = copy_last(r);
	if (ret)
		mirror_let_go(&r->from);
	else
		ret = leave(r);
	r->result->held_ns = tide__now_ns() - begun;
	/* Who may own the disk keeps what belongs to it. */
	if (ret && ret != -EOWNERDEAD && r->result->bitmaps)
		mirror_bitmaps_take_back(&r->from, &r->to, r->prefix);
	return ret;
}

/*
 * What the last rounds brought is flushed meanwhile, by another connection: a
 * hint, so that its errors are of no matter; the flush that counts comes after.
 */
static int stop(struct run *r)
{
	struct flusher early = { 0 };
	int ret;

	if (r->side)
		flusher_start(&early, r->side);
	ret = stop_phase(r);
	flusher_end(&early, NULL);
	return ret;
}

static int name_rounds(struct run *r)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return tide_error_set(r->err, -EIO, "mirror", TIDE_NO_OFFSET,
				      "the kernel has no random bytes");
	snprintf(r->prefix, sizeof(r->prefix), "mirror-%08x-", random);
	return 0;
}

int mirror_run(const struct mirror_options *options,
	       struct mirror_result *result, struct tide_error *err)
{
	struct run r = { .o = options, .result = result, .err = err };
	uint64_t begun = tide__now_ns();
	int ret;

	memset(result, 0, sizeof(*result));
	rate_init(&r.rate, options->bytes_per_s, options->stop);
	rate_init(&r.no_rate, 0, NULL);
	ret = name_rounds(&r);
	if (!ret)
		ret = look(&r);
	if (!ret)
		ret = open_source(&r);
	if (!ret)
		ret = open_target(&r);
	if (!ret)
		ret = go_round(&r);
	if (!ret)
		ret = stop(&r);
	/* It tells whoever asks later. */
	if (ret != -EOWNERDEAD)
		drop_all(&r);
	close_source(&r);
	if (r.side)
		nbd_client_close(r.side);
	if (r.target)
		nbd_client_close(r.target);
	rate_fini(&r.rate);
	rate_fini(&r.no_rate);
	free(r.disk);
	free(r.control);
	free(r.target_disk);
	free(r.target_control);
	result->elapsed_ns = tide__now_ns() - begun;
	return ret;
}
