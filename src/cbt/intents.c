/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/intents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "cbt/tracker.h"
#include "disk/queue.h"

enum { IDLE, ACTIVE, RETIRING, STATE = 3, USED = 4 };

#define TICK_SECONDS 1

/* Who writes on from one region into the next finds the following named. */
#define AHEAD 8u

struct cbt_waiter {
	uint64_t first, last; /* regions */
	bool done;
	struct cbt_waiter *next;
};

/* Who waits, as the log's thread took them. */
struct taken {
	struct tide_io *ios;
	struct cbt_waiter *waiters;
};

/* The blocks [start, end) of a region. */
static struct cbt_run blocks_of(const struct cbt_intents *in, uint64_t region)
{
	uint32_t by = in->shift - in->c->now->shift;
	uint64_t bits = in->c->now->bits;
	struct cbt_run run = { region << by, (region + 1) << by };

	if (run.end > bits)
		run.end = bits;
	return run;
}

static bool is_durable(const struct cbt_intents *in, struct cbt_run run)
{
	for (uint64_t bit = run.start; bit < run.end; bit++)
		if (!(tide__load_relaxed(&in->durable[bit / 64]) >>
			      bit % 64 & 1))
			return false;
	return true;
}

/* The part of the write that lies in the region: are its blocks saved? */
static bool part_is_durable(const struct cbt_intents *in, uint64_t region,
			    uint64_t offset_bytes, uint64_t end_bytes)
{
	uint32_t shift = in->c->now->shift;
	struct cbt_run run = blocks_of(in, region);
	uint64_t first = offset_bytes >> shift;
	uint64_t end = ((end_bytes - 1) >> shift) + 1;

	if (first > run.start)
		run.start = first;
	if (end < run.end)
		run.end = end;
	return is_durable(in, run);
}

/* First use of a region that was named beforehand: and those after it? */
static void look_ahead(struct cbt_intents *in, uint64_t region)
{
	uint64_t ahead = region + AHEAD / 2;

	if (ahead >= in->regions || tide__load_relaxed(&in->state[ahead]))
		return;
	pthread_mutex_lock(&in->lock);
	in->ahead = region + 1;
	pthread_cond_signal(&in->work);
	pthread_mutex_unlock(&in->lock);
}

static bool region_ready(struct cbt_intents *in, uint64_t region)
{
	uint8_t *at = &in->state[region], state = tide__load_seqcst(at);

	while ((state & STATE) == RETIRING)
		if (tide__cas_seqcst(at, state, ACTIVE | USED))
			return true;
	if ((state & STATE) != ACTIVE)
		return false;
	if (!(state & USED))
		/* It may be retiring by now: then it is not any more. */
		while ((state & STATE) != IDLE)
			if (tide__cas_seqcst(at, state, ACTIVE | USED)) {
				look_ahead(in, region);
				return true;
			}
	return (state & STATE) == ACTIVE;
}

bool cbt_intents_ready(struct cbt_intents *in, uint64_t offset_bytes,
		       uint64_t length_bytes)
{
	uint64_t end = offset_bytes + length_bytes;

	if (!in->on || tide__load_relaxed(&in->lost))
		return true;
	/* With the fence of retire: our mark, or their state. */
	tide__fence_seqcst();
	for (uint64_t r = offset_bytes >> in->shift;
	     r <= (end - 1) >> in->shift; r++)
		if (!region_ready(in, r) &&
		    !part_is_durable(in, r, offset_bytes, end))
			return false;
	return true;
}

bool cbt_intents_park(struct cbt_intents *in, struct tide_io *io)
{
	if (!tide_io_park(io))
		return false;
	pthread_mutex_lock(&in->lock);
	io->scratch[0] = (uintptr_t)in->waiting;
	in->waiting = io;
	in->first_writes++;
	pthread_cond_signal(&in->work);
	pthread_mutex_unlock(&in->lock);
	return true;
}

void cbt_intents_wait(struct cbt_intents *in, uint64_t offset_bytes,
		      uint64_t length_bytes)
{
	struct cbt_waiter w = {
		.first = offset_bytes >> in->shift,
		.last = (offset_bytes + length_bytes - 1) >> in->shift,
	};

	pthread_mutex_lock(&in->lock);
	w.next = in->waiters;
	in->waiters = &w;
	in->first_writes++;
	pthread_cond_signal(&in->work);
	/* It is in a list of the thread's: no leaving before it says so. */
	while (!w.done)
		pthread_cond_wait(&in->moved, &in->lock);
	pthread_mutex_unlock(&in->lock);
}

/* --- the thread of the log ------------------------------------------- */

/* Regions that somebody waits for and that are not active, each once. */
static uint32_t want(struct cbt_intents *in, uint64_t first, uint64_t last,
		     uint64_t *wanted, uint32_t count)
{
	for (uint64_t r = first; r <= last && r < in->regions; r++) {
		bool known = (tide__load_seqcst(&in->state[r]) & STATE) != IDLE;

		for (uint32_t i = 0; i < count && !known; i++)
			known = wanted[i] == r;
		if (!known && count < in->most)
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
	uint64_t from[CBT_MOST_REGIONS + 1];
	uint32_t starts = 0, room = in->most / 2;

	for (uint32_t i = 0; i < count; i++)
		if (wanted[i] && (tide__load_relaxed(&in->state[wanted[i] - 1])
				  & STATE) == ACTIVE)
			from[starts++] = wanted[i] + 1;
	if (in->ahead)
		from[starts++] = in->ahead;
	in->ahead = 0;
	for (uint32_t i = 0; i < starts && in->active_count + count < room; i++)
		count = want(in, from[i], from[i] + AHEAD - 1, wanted, count);
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

/* Under the lock: regions that nobody used in this second, or any. */
static uint32_t choose(struct cbt_intents *in, uint64_t *victims,
		       uint32_t most, bool any)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < in->active_count && count < most; i++) {
		uint8_t *at = &in->state[in->active[i]];
		uint8_t state;

		state = tide__load_seqcst(at);

		if (!any && state & USED)
			continue;
		if ((state & STATE) == ACTIVE &&
		    tide__cas_seqcst(at, state, RETIRING))
			victims[count++] = in->active[i];
	}
	return count;
}

/* The marks of @region so far, into the saved image. */
static int save_region(struct cbt *c, uint64_t region)
{
	struct cbt_run all = blocks_of(&c->intents, region);
	const uint64_t *words = c->now->words;
	int ret = 0;

	for (uint64_t bit = all.start; bit < all.end && !ret; bit++) {
		uint64_t word = tide__load_seqcst(&words[bit / 64]);

		if (bit % 64 == 0 && !word)
			bit |= 63;
		else if (word >> bit % 64 & 1)
			ret = cbt_image_set(&c->catalog.saved, bit, bit + 1);
	}
	return ret;
}

/* What the store has of @region by now needs no intent any more. */
static void note_saved(struct cbt *c, uint64_t region)
{
	struct cbt_run all = blocks_of(&c->intents, region);

	for (uint64_t bit = all.start; bit < all.end; bit++) {
		struct cbt_page *page =
			c->catalog.saved.pages[bit / CBT_PAGE_BITS];
		uint64_t at = bit % CBT_PAGE_BITS;

		if (page && page->words[at / 64] >> at % 64 & 1)
			tide__or_seqcst(&c->intents.durable[bit / 64],
					UINT64_C(1) << bit % 64);
	}
}

/* Without the lock. 0: the victims' marks are in the store. */
static int save_victims(struct cbt_intents *in, const uint64_t *victims,
			uint32_t count)
{
	struct cbt *c = in->c;
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	/* With the fence of ready: their marks, or our state. */
	tide__fence_seqcst();
	for (uint32_t i = 0; i < count && !ret; i++)
		if (victims[i] < in->regions)
			ret = save_region(c, victims[i]);
	if (!ret)
		ret = cbt_commit(c, NULL);
	for (uint32_t i = 0; i < count && !ret; i++)
		if (victims[i] < in->regions)
			note_saved(c, victims[i]);
	pthread_mutex_unlock(&c->lock);
	return ret;
}

/* The others stay in the order in which they came. */
static void drop(struct cbt_intents *in, uint64_t region)
{
	for (uint32_t i = 0; i < in->active_count; i++) {
		if (in->active[i] != region)
			continue;
		in->active_count--;
		memmove(in->active + i, in->active + i + 1,
			(in->active_count - i) * sizeof(*in->active));
		return;
	}
}

/* Under the lock, which is let go meanwhile. */
static int retire(struct cbt_intents *in, uint32_t most, bool any)
{
	uint64_t victims[CBT_MOST_REGIONS];
	uint32_t count = choose(in, victims, most, any);
	int ret;

	if (!count)
		return 0;
	pthread_mutex_unlock(&in->lock);
	ret = save_victims(in, victims, count);
	pthread_mutex_lock(&in->lock);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *at = &in->state[victims[i]], state = RETIRING;

		if (victims[i] >= in->regions)
			continue; /* the disk shrank meanwhile */
		if (ret)
			tide__cas_seqcst(at, state, ACTIVE);
		else if (tide__cas_seqcst(at, state, IDLE))
			drop(in, victims[i]);
	}
	return ret;
}

/* Under the tracker's lock. From here on nobody waits for the log. */
static void say_lost(struct cbt *c, const char *why)
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
	say_lost(c, why);
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
	uint64_t regions[CBT_MOST_REGIONS];
	uint32_t n = in->active_count;
	int ret;

	memcpy(regions, in->active, n * sizeof(*regions));
	memcpy(regions + n, wanted, count * sizeof(*regions));
	in->sequence++;
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

/* Room for @count more; half of all at once, so that it is seldom. */
static uint32_t make_room(struct cbt_intents *in, uint32_t count)
{
	int ret = 0;

	for (int round = 0; round < 3 && !ret; round++) {
		if (in->active_count + count <= in->most)
			return count;
		ret = retire(in, in->most / 2 + 1, round > 0);
	}
	if (ret && in->active_count == in->most)
		give_up(in, ret);
	return in->most - in->active_count < count ?
		       in->most - in->active_count : count;
}

static void serve(struct cbt_intents *in)
{
	uint64_t wanted[CBT_MOST_REGIONS];
	struct taken taken;
	uint32_t asked = take_waiters(in, wanted, &taken), count;

	if (asked && !in->lost)
		asked = make_room(in, asked);
	count = in->lost ? 0 : want_ahead(in, wanted, asked);
	if (count)
		write_block(in, wanted, count, asked);
	let_go(in, &taken);
	/* Room for the next is made while nobody waits for it: the oldest. */
	if (count && !in->waiting && !in->waiters && !in->lost &&
	    in->active_count > in->most - in->most / 8)
		retire(in, in->most / 4, true);
}

/* A second is over: who is used in the next one says so again. */
static void forget_used(struct cbt_intents *in)
{
	for (uint32_t i = 0; i < in->active_count; i++) {
		uint8_t state = ACTIVE | USED;

		tide__cas_seqcst(&in->state[in->active[i]], state, ACTIVE);
	}
}

/* What nobody writes to any more is saved, and the log says so. */
static void tick(struct cbt_intents *in)
{
	uint32_t before = in->active_count;

	if (!in->lost && before && !retire(in, in->most, false) &&
	    in->active_count < before)
		write_block(in, NULL, 0, 0);
	forget_used(in);
}

static void *run(void *arg)
{
	struct cbt_intents *in = arg;
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

static void free_maps(struct cbt_intents *in)
{
	if (in->durable)
		munmap(in->durable, in->durable_words * 8);
	if (in->state)
		munmap(in->state, in->regions);
	in->durable = NULL;
	in->state = NULL;
}

static int make_maps(struct cbt_intents *in)
{
	uint64_t size = in->c->catalog.size_bytes;

	in->durable_words = in->c->now->bits / 64 + 1;
	in->regions = (size >> in->shift) + 1;
	in->durable = tide__map_sparse(in->durable_words * 8);
	in->state = tide__map_sparse(in->regions);
	if (in->durable && in->state)
		return 0;
	free_maps(in);
	return -ENOMEM;
}

/* All that the store has. */
static void load_durable(struct cbt_intents *in)
{
	const struct cbt_image *saved = &in->c->catalog.saved;

	for (uint64_t i = 0; i < in->durable_words; i++) {
		struct cbt_page *page = i / CBT_PAGE_WORDS < saved->page_count ?
			saved->pages[i / CBT_PAGE_WORDS] : NULL;

		if (page)
			in->durable[i] = page->words[i % CBT_PAGE_WORDS];
	}
}

void cbt_intents_forget(struct cbt_intents *in)
{
	if (in->on)
		for (uint64_t i = 0; i < in->durable_words; i++)
			if (in->durable[i])
				tide__store_relaxed(&in->durable[i], 0);
}

/* Under the lock: active regions stay so, but those past the end. */
static void keep_active(struct cbt_intents *in)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < in->active_count; i++) {
		if (in->active[i] >= in->regions)
			continue;
		in->state[in->active[i]] = ACTIVE | USED;
		in->active[count++] = in->active[i];
	}
	in->active_count = count;
}

void cbt_intents_resize(struct cbt_intents *in)
{
	struct cbt_intents old = *in;

	if (!in->on)
		return;
	pthread_mutex_lock(&in->lock);
	if (make_maps(in)) {
		/* The store hears of it with the commit of the cut. */
		say_lost(in->c, "no memory for the regions of another size");
		in->durable = old.durable;
		in->state = old.state;
		in->regions = old.regions;
		in->durable_words = old.durable_words;
	} else {
		keep_active(in);
		free_maps(&old);
	}
	pthread_mutex_unlock(&in->lock);
}

int cbt_intents_start(struct cbt_intents *in, struct cbt *c,
		      uint32_t region_shift, uint64_t bound_bytes,
		      struct tide_error *err)
{
	uint64_t most;
	pthread_condattr_t monotonic;
	int ret;

	in->c = c;
	/* A region is a block or more, whatever granularity comes. */
	in->shift = region_shift > c->catalog.usual_shift ?
			    region_shift : c->catalog.usual_shift;
	if (in->shift < c->catalog.shift)
		in->shift = c->catalog.shift;
	most = bound_bytes >> in->shift;
	in->most = most > CBT_MOST_REGIONS ? CBT_MOST_REGIONS : (uint32_t)most;
	if (in->most < 4)
		in->most = 4;
	ret = make_maps(in);
	if (ret)
		return cbt_no_memory(c, err);
	in->on = true;
	load_durable(in);
	pthread_mutex_init(&in->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&in->work, &monotonic);
	pthread_cond_init(&in->moved, NULL);
	pthread_condattr_destroy(&monotonic);
	ret = cbt_intents_write(&c->store, ++in->sequence, in->shift, NULL, 0);
	if (!ret)
		ret = -pthread_create(&in->thread, NULL, run, in);
	in->started = !ret;
	return ret ? tide_error_set(err, ret, "store", TIDE_NO_OFFSET,
				    "%s: the intent log: %s", c->store.path,
				    strerror(-ret)) : 0;
}

void cbt_intents_stop(struct cbt_intents *in)
{
	if (!in->on)
		return;
	pthread_mutex_lock(&in->lock);
	in->stop = true;
	pthread_cond_signal(&in->work);
	pthread_cond_broadcast(&in->moved);
	pthread_mutex_unlock(&in->lock);
	if (in->started)
		pthread_join(in->thread, NULL);
	pthread_cond_destroy(&in->work);
	pthread_cond_destroy(&in->moved);
	pthread_mutex_destroy(&in->lock);
	free_maps(in);
	in->on = false;
}
