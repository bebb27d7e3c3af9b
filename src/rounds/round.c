/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One round: the open epoch over all channels, then the receiver's word.
 *
 * One thread per channel takes units of up to 64 pages from the epoch until it
 * is empty; so the last round, too, uses every channel, however few pages it
 * has. A unit is rearmed under the lock before it is given out: from then on
 * new writes to it are seen by the next harvest. Then its pages are copied to a
 * buffer that stays in the core's cache, and hashed and sent from there: the
 * guest may write while we read, and a checksum over memory that changes would
 * not be that of the bytes sent. Only while it is copied is the slot's memory
 * held (slots.c).
 *
 * A page may travel on one channel in this round and on another in the next;
 * that they arrive in order is ensured by the end of the round: each channel
 * sends ROUND_END, and nobody sends on before the receiver has answered to all.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "rounds/precopy.h"

#define UNIT_BYTES (TIDE__UNIT_PAGES * 4096u)
#define REPORT_NS 100000000u

struct sender {
	struct attempt *a;
	struct tide__channel *channel;
	pthread_t thread;
	unsigned char *buffer;		/* UNIT_BYTES */
	unsigned char *packed;		/* zstd's output, if asked for */
	ZSTD_CCtx *zstd;
	uint64_t pages, zero_pages, ranges;	/* of the round */
};

static bool is_zero(const unsigned char *page)
{
	/* Most pages with data show it in the first bytes. */
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	return !first && !memcmp(page, page + 8, 4096 - 8);
}

/* Sleep until the bandwidth limit lets @bytes go. */
static void keep_pace(struct sender *s, uint64_t bytes)
{
	struct attempt *a = s->a;
	uint64_t now, at;

	if (!a->options.bandwidth_bytes_per_s)
		return;
	pthread_mutex_lock(&a->lock);
	now = tide__now_ns();
	if (a->next_send_ns < now)
		a->next_send_ns = now;
	at = a->next_send_ns;
	a->next_send_ns += bytes * 1000000000u /
			   a->options.bandwidth_bytes_per_s;
	pthread_mutex_unlock(&a->lock);
	/* In slices, so that a failure elsewhere is noticed. */
	while ((now = tide__now_ns()) < at && !tide__load_relaxed(&a->stop) &&
	       !(a->options.cancel && tide__load_relaxed(a->options.cancel))) {
		uint64_t wait = at - now < 20000000u ? at - now : 20000000u;
		struct timespec ts = { 0, (long)wait };

		nanosleep(&ts, NULL);
		tide__channel_keep_alive(s->channel);
	}
}

static int send_data(struct sender *s, uint64_t first, uint32_t pages,
		     const unsigned char *data, struct tide_error *err)
{
	struct tide__frame frame = { .type = TIDE__FRAME_PAGES,
				     .first = first, .pages = pages };
	size_t len = pages * 4096u;

	if (s->zstd) {
		size_t n = ZSTD_compressCCtx(s->zstd, s->packed,
					     ZSTD_compressBound(UNIT_BYTES),
					     data, len,
					     s->a->options.zstd_level);

		if (!ZSTD_isError(n) && n < len) {
			frame.flags = TIDE__FRAME_ZSTD;
			data = s->packed;
			len = n;
		}
	}
	keep_pace(s, len + TIDE__FRAME_BYTES);
	return tide__channel_send(s->channel, &frame, data, len, err);
}

/* Send the unit in the buffer as runs of zero pages and runs of data. */
static int send_unit(struct sender *s, const struct tide_range *unit,
		     struct tide_error *err)
{
	uint32_t count = (uint32_t)unit->count, i = 0;
	int rc = 0;

	while (i < count && !rc) {
		uint32_t from = i;
		unsigned char *at = s->buffer + from * 4096u;

		if (is_zero(at)) {
			do {
				i++;
			} while (i < count && is_zero(s->buffer + i * 4096u));
			s->zero_pages += i - from;
			rc = tide__channel_say(s->channel, TIDE__FRAME_ZERO,
					       unit->first + from, i - from,
					       NULL, err);
			continue;
		}
		do {
			i++;
		} while (i < count && !is_zero(s->buffer + i * 4096u));
		rc = send_data(s, unit->first + from, i - from, at, err);
	}
	s->pages += count;
	return rc;
}

static void skip(struct attempt *a, uint64_t count)
{
	tide__slots_skipped(a, a->left.first, count);
	a->left.first += count;
	a->left.count -= count;
}

/* Next unit of the epoch inside one slot; false when there is none. */
static bool take_range(struct attempt *a, struct tide_range *unit,
		       struct tide_slot *slot, uint64_t *new_ranges)
{
	uint64_t gpa, room;

	for (;;) {
		if (!a->left.count) {
			if (!tide_epoch_next(a->epoch, &a->cursor, &a->left, 1))
				return false;
			++*new_ranges;
		}
		gpa = a->left.first * 4096;
		/* Marks outside every slot are too wide, not wrong: skipped. */
		if (!tide_slots_next(a->slots, gpa, slot) ||
		    slot->gpa_bytes >= gpa + a->left.count * 4096) {
			skip(a, a->left.count);
			continue;
		}
		if (slot->gpa_bytes > gpa) {
			skip(a, (slot->gpa_bytes - gpa) / 4096);
			continue;
		}
		room = (slot->len_bytes - (gpa - slot->gpa_bytes)) / 4096;
		if (tide__slots_sendable(a, slot))
			break;
		skip(a, a->left.count < room ? a->left.count : room);
	}
	unit->first = a->left.first;
	unit->count = a->left.count < room ? a->left.count : room;
	if (unit->count > TIDE__UNIT_PAGES)
		unit->count = TIDE__UNIT_PAGES;
	a->left.first += unit->count;
	a->left.count -= unit->count;
	return true;
}

/*
 * Pages that the guest may be writing: what is torn is marked, and sent again.
 * No copy is free of that race by the letter, so the sanitizer is shown one by
 * words, which is.
 */
static void copy_guest(unsigned char *to, const unsigned char *from,
		       size_t bytes)
{
#ifdef __SANITIZE_THREAD__
	for (size_t i = 0; i < bytes; i += 8) {
		/* Pairs with nothing. */
		uint64_t word = tide__load_relaxed((const uint64_t *)(from + i));

		memcpy(to + i, &word, 8);
	}
#else
	memcpy(to, from, bytes);
#endif
}

/* 1 with a unit in the buffer, 0 when the epoch is empty, or an error. */
static int next_unit(struct sender *s, struct tide_range *unit,
		     struct tide_error *err)
{
	struct attempt *a = s->a;
	struct tide_slot slot;
	int rc = 0;

	if (a->ops->hold)
		a->ops->hold(a->opaque);
	pthread_mutex_lock(&a->lock);
	if (!a->stop && !take_range(a, unit, &slot, &s->ranges))
		a->draining = true;	/* the ack may come from now on */
	else if (!a->stop) {
		rc = 1;
		if (a->ops->rearm && a->ops->rearm(a->opaque, unit->first,
						   unit->count, err))
			rc = err->code ? err->code : -EIO;
		a->round.pages += unit->count;
	}
	pthread_mutex_unlock(&a->lock);
	if (rc > 0)
		copy_guest(s->buffer, (const unsigned char *)slot.host +
					  (unit->first * 4096 - slot.gpa_bytes),
			   unit->count * 4096);
	if (a->ops->release)
		a->ops->release(a->opaque);
	return rc;
}

static void finish(struct sender *s, int rc, const struct tide_error *err)
{
	struct attempt *a = s->a;

	pthread_mutex_lock(&a->lock);
	if (rc && !a->rc) {
		a->rc = rc;
		a->err = *err;
		tide__store_relaxed(&a->stop, true);
	}
	a->round.zero_pages += s->zero_pages;
	a->round.ranges += s->ranges;
	a->sending--;
	pthread_cond_broadcast(&a->changed);
	pthread_mutex_unlock(&a->lock);
}

static void *send_loop(void *arg)
{
	struct sender *s = arg;
	struct tide_range unit;
	struct tide_error err;
	int rc;

	tide_error_clear(&err);
	while ((rc = next_unit(s, &unit, &err)) > 0) {
		rc = send_unit(s, &unit, &err);
		if (rc)
			break;
	}
	if (!rc)
		rc = tide__channel_say(s->channel, TIDE__FRAME_ROUND_END,
				       s->a->round.number, 0, NULL, &err);
	finish(s, rc, &err);
	return NULL;
}

static void free_senders(struct sender *s, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		free(s[i].buffer);
		free(s[i].packed);
		ZSTD_freeCCtx(s[i].zstd);
	}
	free(s);
}

static struct sender *make_senders(struct attempt *a)
{
	struct sender *s = calloc(a->channels, sizeof(*s));
	bool zstd = a->options.zstd_level != 0;

	for (unsigned int i = 0; s && i < a->channels; i++) {
		s[i].a = a;
		s[i].channel = &a->channel[i];
		s[i].buffer = malloc(UNIT_BYTES);
		if (zstd) {
			s[i].packed = malloc(ZSTD_compressBound(UNIT_BYTES));
			s[i].zstd = ZSTD_createCCtx();
		}
		if (!s[i].buffer || (zstd && (!s[i].packed || !s[i].zstd))) {
			free_senders(s, a->channels);
			return NULL;
		}
	}
	return s;
}

static uint64_t all_bytes(const struct attempt *a)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < a->channels; i++)
		bytes += tide__load_relaxed(&a->channel[i].bytes_sent);
	return bytes;
}

static void fill(const struct attempt *a, struct tide_round *r,
		 uint64_t bytes_before)
{
	r->bytes = all_bytes(a) - bytes_before;
	r->elapsed_ns = tide__now_ns() - a->round_start_ns;
	r->bytes_per_s = (uint64_t)((double)r->bytes * 1e9 /
				    (double)(r->elapsed_ns + 1));
	r->throttle_percent = a->throttle_percent;
}

static void report(struct attempt *a, uint64_t bytes_before)
{
	struct tide_round r;

	if (!a->ops->progress)
		return;
	pthread_mutex_lock(&a->lock);
	r = a->round;
	pthread_mutex_unlock(&a->lock);
	fill(a, &r, bytes_before);
	a->ops->progress(a->opaque, &r);
}

/* Wait for the senders; meanwhile watch for a word of the receiver's. */
static void wait_for_senders(struct attempt *a, uint64_t bytes_before)
{
	uint64_t reported = tide__now_ns();

	pthread_mutex_lock(&a->lock);
	while (a->sending) {
		struct timespec ts;

		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec += 20000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		pthread_cond_timedwait(&a->changed, &a->lock, &ts);
		/*
		 * The receiver speaks inside a round only to end it: the ack
		 * comes after ROUND_END, which is not sent before draining.
		 */
		if (a->sending && !a->stop && !a->draining &&
		    tide__channel_has_input(&a->channel[0])) {
			tide__store_relaxed(&a->stop, true);
			if (!a->rc)
				a->rc = tide_error_set(
				    &a->err, -ECONNABORTED, "round",
				    TIDE_NO_OFFSET, "the receiver ended round "
				    "%u before it was sent", a->round.number);
		}
		if (a->sending && tide__now_ns() - reported > REPORT_NS) {
			pthread_mutex_unlock(&a->lock);
			report(a, bytes_before);
			pthread_mutex_lock(&a->lock);
			reported = tide__now_ns();
		}
	}
	pthread_mutex_unlock(&a->lock);
}

static int run_senders(struct attempt *a, uint64_t bytes_before,
		       struct tide_error *err)
{
	struct sender *s = make_senders(a);
	unsigned int started;
	int rc = 0;

	if (!s)
		return tide_error_set(err, -ENOMEM, "round", TIDE_NO_OFFSET,
				      "no memory for the senders");
	a->cursor = 0;
	a->left.count = 0;
	a->draining = false;
	a->sending = a->channels;
	for (started = 0; started < a->channels && !rc; started++)
		rc = -pthread_create(&s[started].thread, NULL, send_loop,
				     &s[started]);
	if (rc) {
		started--;
		pthread_mutex_lock(&a->lock);
		a->sending -= a->channels - started;
		tide__store_relaxed(&a->stop, true);
		a->rc = tide_error_set(&a->err, rc, "round", TIDE_NO_OFFSET,
				       "cannot start a sender: %s",
				       strerror(-rc));
		pthread_mutex_unlock(&a->lock);
	}
	wait_for_senders(a, bytes_before);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(s[i].thread, NULL);
	free_senders(s, a->channels);
	if (a->rc && err)
		*err = a->err;
	return a->rc;
}

static int await_ack(struct attempt *a, struct tide_error *err)
{
	struct tide__frame f;
	int rc = tide__expect(a, TIDE__FRAME_ROUND_ACK, &f, err);

	if (!rc && f.first != a->round.number)
		rc = tide_error_set(err, -EPROTO, "round", TIDE_NO_OFFSET,
				    "the receiver acknowledged round %" PRIu64
				    " instead of %u", f.first,
				    a->round.number);
	return rc;
}

int tide__round_send(struct attempt *a, struct tide_error *err)
{
	uint64_t before = all_bytes(a);
	int rc;

	a->round.pages = a->round.zero_pages = a->round.ranges = 0;
	a->round.pages_total = tide_epoch_count(a->epoch);
	rc = tide__channel_say(&a->channel[0], TIDE__FRAME_ROUND,
			       a->round.number, (uint32_t)a->round.kind, NULL,
			       err);
	if (!rc)
		rc = run_senders(a, before, err);
	if (!rc)
		rc = await_ack(a, err);
	if (rc)
		return rc;
	/* Only now is anything clean. */
	tide_epoch_commit(a->epoch);
	a->epoch = NULL;
	a->pages_sent += a->round.pages;
	/* Small rounds say little about the wire. */
	if (all_bytes(a) - before > (1u << 20) || !a->wire_bytes_per_s)
		a->wire_bytes_per_s =
		    (uint64_t)((double)(all_bytes(a) - before) * 1e9 /
			       (double)(tide__now_ns() - a->round_start_ns +
					1)) + 1;
	a->done = a->round;
	fill(a, &a->done, before);
	a->done.finished = true;
	return 0;
}

void tide__round_report(struct attempt *a)
{
	if (a->ops->progress)
		a->ops->progress(a->opaque, &a->done);
}
