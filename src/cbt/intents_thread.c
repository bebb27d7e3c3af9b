/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log's thread: writers wait until a block that names their regions is
 * durable. It never waits for the store's bits as long as there is room for
 * another region: making room is the saver's work, and it is asked for before
 * room is needed.
 */
#include "cbt/intents_inside.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "cbt/tracker.h"
#include "disk/queue.h"

#define TICK_SECONDS 1

/* Who waits, as the log's thread took them. */
struct taken {
	struct tide_io *ios;
	struct cbt_waiter *waiters;
};

/* Regions that somebody waits for and that are not active, each once. */
static uint32_t want(struct cbt_intents *in, uint64_t first, uint64_t last,
		     uint64_t *wanted, uint32_t count)
{
	for (uint64_t r = first; r <= last && r < in->regions; r++) {
		bool known = (tide__load_seqcst(&in->state[r]) & STATE) != IDLE;

		for (uint32_t i = 0; i < count && !known; i++)
			known = wanted[i] == r;
		if (!known && count < in->max)
			wanted[count++] = r;
	}
	return count;
}

/* Under the lock; the waiters are taken, and let go after the block. */
static uint32_t take_waiters(struct cbt_intents *in, uint64_t *wanted,
			     struct taken *t)
{
	uint32_t count = 0;

	*t = (struct taken){ in->waiting, in->waiters };
	in->waiting = NULL;
	in->waiters = NULL;
	for (struct tide_io *io = t->ios; io;
	     io = (struct tide_io *)(uintptr_t)io->scratch[0])
		count = want(in, io->offset_bytes >> in->shift,
			     (io->offset_bytes + io->length_bytes - 1) >>
				     in->shift, wanted, count);
	for (struct cbt_waiter *w = t->waiters; w; w = w->next)
		count = want(in, w->first, w->last, wanted, count);
	return count;
}

/* Those behind @wanted that go on from an active one, while there is room. */
static uint32_t want_ahead(struct cbt_intents *in, uint64_t *wanted,
			   uint32_t count)
{
	uint64_t from[CBT_MAX_REGIONS + 1];
	uint32_t starts = 0, room = in->max - in->max / 4;
	uint32_t ahead = cbt_intents_ahead(in);

	for (uint32_t i = 0; i < count; i++)
		if (wanted[i] && (tide__load_relaxed(&in->state[wanted[i] - 1])
				  & STATE) == ACTIVE)
			from[starts++] = wanted[i] + 1;
	if (in->ahead)
		from[starts++] = in->ahead;
	in->ahead = 0;
	for (uint32_t i = 0; i < starts && in->active_count + count < room; i++)
		count = want(in, from[i], from[i] + ahead - 1, wanted,
			     count);
	return count;
}

static void let_go(struct cbt_intents *in, const struct taken *t)
{
	struct tide_io *io = t->ios, *next;

	for (struct cbt_waiter *w = t->waiters; w; w = w->next)
		w->done = true;
	pthread_cond_broadcast(&in->moved);
	pthread_mutex_unlock(&in->lock);
	for (; io; io = next) {
		next = (struct tide_io *)(uintptr_t)io->scratch[0];
		tide_io_again(io);
	}
	pthread_mutex_lock(&in->lock);
}

void cbt_intents_say_lost(struct cbt *c, const char *why)
{
	tide__store_seqcst(&c->intents.lost, true);
	c->store.super.lost = true;
	snprintf(c->store.super.why, sizeof(c->store.super.why), "%s", why);
	snprintf(c->trouble, sizeof(c->trouble),
		 "%s: %s: a power cut would lose marks", c->store.path, why);
}

static void give_up(struct cbt_intents *in, int code)
{
	struct cbt *c = in->c;
	char why[128];

	snprintf(why, sizeof(why), "an intent could not be written: %s",
		 strerror(-code));
	pthread_mutex_unlock(&in->lock);
	pthread_mutex_lock(&c->lock);
	cbt_intents_say_lost(c, why);
	cbt_store_put_super(&c->store, true, NULL);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_lock(&in->lock);
}

/*
 * Under the lock, which is let go meanwhile. The block with @wanted added, of
 * which the first @asked are waited for.
 */
static void write_block(struct cbt_intents *in, const uint64_t *wanted,
			uint32_t count, uint32_t asked)
{
	uint64_t regions[CBT_MAX_REGIONS];
	uint32_t n = in->active_count;
	int ret;

	memcpy(regions, in->active, n * sizeof(*regions));
	if (count)
		memcpy(regions + n, wanted, count * sizeof(*regions));
	in->sequence++;
	in->dropped = false;
	pthread_mutex_unlock(&in->lock);
	ret = cbt_intents_write(&in->c->store, in->sequence, in->shift,
				regions, n + count);
	pthread_mutex_lock(&in->lock);
	in->blocks++;
	for (uint32_t i = 0; i < count && !ret; i++) {
		in->active[in->active_count++] = wanted[i];
		if (wanted[i] < in->regions)
			tide__store_seqcst(&in->state[wanted[i]],
					   i < asked ? ACTIVE | USED
						     : ACTIVE);
	}
	if (ret)
		give_up(in, ret);
}

/*
 * Under the lock, which is let go meanwhile: the saver has done what it could.
 */
static int await_saver(struct cbt_intents *in, uint32_t max)
{
	uint64_t batch = in->batches;

	cbt_intents_ask_saver(in, max);
	while (in->batches == batch && !in->stop)
		pthread_cond_wait(&in->room, &in->lock);
	return in->save_result;
}

/* Room for @count more, or as many as there is room for. */
static uint32_t make_room(struct cbt_intents *in, uint32_t count)
{
	int ret = 0;

	/* A batch may have begun before it was asked for so many. */
	for (int round = 0; round < 3 && !ret && !in->stop; round++) {
		if (in->active_count + count <= in->max)
			return count;
		ret = await_saver(in, in->max / 2 + 1);
	}
	if (ret && in->active_count == in->max)
		give_up(in, ret);
	return in->max - in->active_count < count ?
		       in->max - in->active_count : count;
}

static void serve(struct cbt_intents *in)
{
	uint64_t wanted[CBT_MAX_REGIONS];
	struct taken taken;
	uint32_t asked = take_waiters(in, wanted, &taken), count;

	if (asked && !in->lost)
		asked = make_room(in, asked);
	count = in->lost ? 0 : want_ahead(in, wanted, asked);
	if (count)
		write_block(in, wanted, count, asked);
	let_go(in, &taken);
	/* Half of it is room for those who come while the saver works. */
	if (!in->lost && in->active_count > in->max / 2)
		cbt_intents_ask_saver(in, in->max / 4);
}

/* What nobody writes to any more is saved, and the log says so. */
static void tick(struct cbt_intents *in)
{
	if (in->dropped && !in->lost)
		write_block(in, NULL, 0, 0);
	if (in->active_count && !in->lost) {
		in->save_idle = true;
		pthread_cond_signal(&in->save);
	}
}

void *cbt_intents_run(void *intents)
{
	struct cbt_intents *in = intents;
	struct timespec next;

	pthread_mutex_lock(&in->lock);
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (!in->stop) {
		struct timespec now;

		if (in->waiting || in->waiters || in->ahead)
			serve(in);
		else
			pthread_cond_timedwait(&in->work, &in->lock, &next);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec < next.tv_sec || in->stop)
			continue;
		tick(in);
		next.tv_sec = now.tv_sec + TICK_SECONDS;
	}
	let_go(in, &(struct taken){ in->waiting, in->waiters });
	pthread_mutex_unlock(&in->lock);
	return NULL;
}
