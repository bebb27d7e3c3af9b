/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One round: the open epoch is sent to the sink, which then confirms it.
 *
 * One thread a lane takes pieces of up to 64 pages from the epoch until it is
 * empty; so the last round, too, uses every lane, however few pages it has. A
 * piece is rearmed under the lock before it is given out: from then on new
 * writes to it are seen by the next harvest. Then its pages are copied to a
 * buffer that stays in the core's cache, and the sink hashes and sends them
 * from there: the guest may write while we read, and a checksum over changing
 * memory would not be that of the bytes sent. The space is held
 * (slot_space.c) only during the copy.
 *
 * A page may go over one lane in this round and over another in the next. The
 * end of a round is a barrier that keeps them in order: each lane ends, and
 * nothing more is sent before the sink has committed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "rounds/engine.h"

#define REPORT_NS 100000000u

struct lane {
	struct tide__engine *e;
	unsigned int number;
	pthread_t thread;
	unsigned char *buffer;		/* TIDE__PIECE_BYTES */
	uint64_t zero_pages, ranges;	/* of the round */
};

static bool is_zero(const unsigned char *page)
{
	/* Most pages with data show it in the first bytes. */
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	return !first && !memcmp(page, page + 8, TIDE_PAGE_BYTES - 8);
}

void tide__round_pace(struct tide__engine *e, unsigned int lane, uint64_t bytes)
{
	uint64_t now, at;

	if (!e->options.bandwidth_bytes_per_s)
		return;
	pthread_mutex_lock(&e->lock);
	now = tide__now_ns();
	if (e->next_send_ns < now)
		e->next_send_ns = now;
	at = e->next_send_ns;
	e->next_send_ns += bytes * 1000000000u /
			   e->options.bandwidth_bytes_per_s;
	pthread_mutex_unlock(&e->lock);
	/* In slices, so that a failure elsewhere is noticed. */
	while ((now = tide__now_ns()) < at && !tide__load_relaxed(&e->stop) &&
	       !(e->options.cancel && tide__load_relaxed(e->options.cancel))) {
		uint64_t wait = at - now < 20000000u ? at - now : 20000000u;
		struct timespec ts = { 0, (long)wait };

		nanosleep(&ts, NULL);
		if (e->sink->ops->idle)
			e->sink->ops->idle(e->sink, lane);
	}
}

/* Send the piece in the buffer as runs of zero pages and runs of data. */
static int send_piece(struct lane *l, const struct tide__piece *piece,
		      struct tide_error *err)
{
	struct tide__sink *sink = l->e->sink;
	uint32_t count = (uint32_t)piece->count, i = 0;
	int ret = 0;

	while (i < count && !ret) {
		uint32_t from = i;
		const unsigned char *at = l->buffer + from * TIDE_PAGE_BYTES;
		bool zero = is_zero(at);

		do {
			i++;
		} while (i < count && is_zero(l->buffer + i *
					      TIDE_PAGE_BYTES) == zero);
		if (zero) {
			l->zero_pages += i - from;
			ret = sink->ops->zeros(sink, l->number,
					       piece->first + from, i - from,
					       err);
		} else {
			ret = sink->ops->data(sink, l->number,
					      piece->first + from, i - from, at,
					      err);
		}
	}
	return ret;
}

/* Next piece of the epoch; false when there is none. */
static bool take_piece(struct tide__engine *e, struct tide__piece *piece,
		       uint64_t *new_ranges)
{
	do {
		if (e->left.count)
			continue;
		if (!tide_epoch_next(e->epoch, &e->cursor, &e->left, 1))
			return false;
		++*new_ranges;
	} while (!e->space->ops->next(e->space, &e->left, piece));
	return true;
}

/*
 * Take a piece, rearm it and copy it. 1, or 0 when the round is
 * empty, or an error.
 */
static int next_piece(struct lane *l, struct tide__piece *piece,
		      struct tide_error *err)
{
	struct tide__engine *e = l->e;
	const struct tide__space_ops *ops = e->space->ops;
	int ret = 0;

	ops->hold(e->space);
	pthread_mutex_lock(&e->lock);
	if (!e->stop && !take_piece(e, piece, &l->ranges)) {
		e->draining = true;	/* the sink may answer from now on */
	} else if (!e->stop) {
		ret = ops->rearm(e->space, piece, err);
		ret = ret ? ret : 1;
		e->round.pages += piece->count;
	}
	pthread_mutex_unlock(&e->lock);
	if (ret > 0) {
		ret = ops->read(e->space, piece, l->buffer, err);
		ret = ret ? ret : 1;
	}
	ops->release(e->space);
	return ret;
}

static void finish(struct lane *l, int ret, const struct tide_error *err)
{
	struct tide__engine *e = l->e;

	pthread_mutex_lock(&e->lock);
	if (ret && !e->ret) {
		e->ret = ret;
		e->err = *err;
		tide__store_relaxed(&e->stop, true);
	}
	e->round.zero_pages += l->zero_pages;
	e->round.ranges += l->ranges;
	e->sending--;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	struct tide__sink *sink = l->e->sink;
	struct tide__piece piece;
	struct tide_error err;
	int ret;

	tide_error_clear(&err);
	while ((ret = next_piece(l, &piece, &err)) > 0) {
		ret = send_piece(l, &piece, &err);
		if (ret)
			break;
	}
	if (!ret)
		ret = sink->ops->end(sink, l->number, l->e->round.number, &err);
	finish(l, ret, &err);
	return NULL;
}

static void free_lanes(struct lane *l, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		free(l[i].buffer);
	free(l);
}

static struct lane *make_lanes(struct tide__engine *e)
{
	unsigned int count = e->sink->lanes;
	struct lane *l = calloc(count, sizeof(*l));

	for (unsigned int i = 0; l && i < count; i++) {
		l[i].e = e;
		l[i].number = i;
		l[i].buffer = malloc(TIDE__PIECE_BYTES);
		if (!l[i].buffer) {
			free_lanes(l, count);
			return NULL;
		}
	}
	return l;
}

static uint64_t all_bytes(const struct tide__engine *e)
{
	return e->sink->ops->bytes(e->sink);
}

static void fill(const struct tide__engine *e, struct tide_round *r,
		 uint64_t bytes_before)
{
	r->bytes = all_bytes(e) - bytes_before;
	r->elapsed_ns = tide__now_ns() - e->round_start_ns;
	r->bytes_per_s = (uint64_t)((double)r->bytes * 1e9 /
				    (double)(r->elapsed_ns + 1));
	r->throttle_percent = e->policy.throttle_percent;
}

static void report(struct tide__engine *e, uint64_t bytes_before)
{
	struct tide_round r;

	if (!e->ops->progress)
		return;
	pthread_mutex_lock(&e->lock);
	r = e->round;
	pthread_mutex_unlock(&e->lock);
	fill(e, &r, bytes_before);
	e->ops->progress(e->opaque, &r);
}

/* Wait for the lanes; meanwhile watch whether the sink ends it. */
static void wait_for_lanes(struct tide__engine *e, uint64_t bytes_before)
{
	uint64_t reported = tide__now_ns();

	pthread_mutex_lock(&e->lock);
	while (e->sending) {
		struct timespec ts;

		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec += 20000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		pthread_cond_timedwait(&e->changed, &e->lock, &ts);
		/* Once all is given out it may be done, too: its last word. */
		if (e->sending && !e->stop && !e->draining &&
		    e->sink->ops->has_ended &&
		    e->sink->ops->has_ended(e->sink)) {
			tide__store_relaxed(&e->stop, true);
			if (!e->ret)
				e->ret = tide_error_set(
				    &e->err, -ECONNABORTED, "round",
				    TIDE_NO_OFFSET, "the receiver ended round "
				    "%u before it was sent", e->round.number);
		}
		if (e->sending && tide__now_ns() - reported > REPORT_NS) {
			pthread_mutex_unlock(&e->lock);
			report(e, bytes_before);
			pthread_mutex_lock(&e->lock);
			reported = tide__now_ns();
		}
	}
	pthread_mutex_unlock(&e->lock);
}

static int run_lanes(struct tide__engine *e, uint64_t bytes_before,
		       struct tide_error *err)
{
	struct lane *l = make_lanes(e);
	unsigned int started;
	int ret = 0;

	if (!l)
		return tide_error_set(err, -ENOMEM, "round", TIDE_NO_OFFSET,
				      "no memory for the lanes");
	e->cursor = 0;
	e->left.count = 0;
	e->draining = false;
	e->sending = e->sink->lanes;
	for (started = 0; started < e->sink->lanes && !ret; started++)
		ret = -pthread_create(&l[started].thread, NULL, lane_main,
				      &l[started]);
	if (ret) {
		started--;
		pthread_mutex_lock(&e->lock);
		e->sending -= e->sink->lanes - started;
		tide__store_relaxed(&e->stop, true);
		e->ret = tide_error_set(&e->err, ret, "round", TIDE_NO_OFFSET,
					"cannot start a lane: %s",
					strerror(-ret));
		pthread_mutex_unlock(&e->lock);
	}
	wait_for_lanes(e, bytes_before);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(l[i].thread, NULL);
	free_lanes(l, e->sink->lanes);
	if (e->ret && err)
		*err = e->err;
	return e->ret;
}

int tide__round_send(struct tide__engine *e, struct tide_error *err)
{
	struct tide__sink *sink = e->sink;
	uint64_t before = all_bytes(e), sent_ns;
	int ret;

	e->round.pages = e->round.zero_pages = e->round.ranges = 0;
	e->round.pages_total = tide_epoch_count(e->epoch);
	ret = sink->ops->begin(sink, e->round.number, e->round.kind, err);
	if (!ret)
		ret = run_lanes(e, before, err);
	sent_ns = tide__now_ns();
	if (!ret)
		ret = sink->ops->commit(sink, e->round.number, err);
	if (ret)
		return ret;
	/* Only now is anything clean. */
	tide_epoch_commit(e->epoch);
	e->epoch = NULL;
	e->pages_sent += e->round.pages;
	tide__policy_learn(&e->policy, all_bytes(e) - before,
			   tide__now_ns() - e->round_start_ns,
			   tide__now_ns() - sent_ns);
	e->done = e->round;
	fill(e, &e->done, before);
	e->done.finished = true;
	return 0;
}
