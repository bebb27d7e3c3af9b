/* SPDX-License-Identifier: BSD-2-Clause */
/* Who writes, and the beginning and the end of it. */
#include "cbt/intents_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "cbt/tracker.h"
#include "disk/queue.h"

uint32_t cbt_intents_ahead(const struct cbt_intents *in)
{
	uint64_t regions = CBT_AHEAD_BYTES >> in->shift;

	if (regions > in->max / 4)
		regions = in->max / 4;
	return regions ? (uint32_t)regions : 1;
}

struct cbt_run cbt_intents_blocks(const struct cbt_intents *in,
				  uint64_t region)
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
	struct cbt_run run = cbt_intents_blocks(in, region);
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
	uint64_t ahead = region + (cbt_intents_ahead(in) + 1) / 2;

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
		cbt_intents_say_lost(in->c, "no memory for the regions of another size");
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
	uint64_t max;
	pthread_condattr_t monotonic;
	int ret;

	in->c = c;
	/* A region is a block or more, whatever granularity comes. */
	in->shift = region_shift > c->catalog.usual_shift ?
			    region_shift : c->catalog.usual_shift;
	if (in->shift < c->catalog.shift)
		in->shift = c->catalog.shift;
	max = bound_bytes >> in->shift;
	in->max = max > CBT_MAX_REGIONS ? CBT_MAX_REGIONS : (uint32_t)max;
	if (in->max < 4)
		in->max = 4;
	ret = make_maps(in);
	if (ret)
		return cbt_no_memory(c, err);
	in->on = true;
	load_durable(in);
	pthread_mutex_init(&in->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&in->work, &monotonic);
	pthread_cond_init(&in->save, NULL);
	pthread_cond_init(&in->room, NULL);
	pthread_cond_init(&in->moved, NULL);
	pthread_condattr_destroy(&monotonic);
	ret = cbt_intents_write(&c->store, ++in->sequence, in->shift, NULL, 0);
	if (!ret)
		ret = -pthread_create(&in->thread, NULL, cbt_intents_run, in);
	in->started = !ret;
	if (!ret)
		ret = -pthread_create(&in->saver, NULL, cbt_intents_saver, in);
	in->saving = !ret;
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
	pthread_cond_signal(&in->save);
	pthread_cond_broadcast(&in->moved);
	pthread_cond_broadcast(&in->room);
	pthread_mutex_unlock(&in->lock);
	if (in->started)
		pthread_join(in->thread, NULL);
	if (in->saving)
		pthread_join(in->saver, NULL);
	pthread_cond_destroy(&in->save);
	pthread_cond_destroy(&in->room);
	pthread_cond_destroy(&in->work);
	pthread_cond_destroy(&in->moved);
	pthread_mutex_destroy(&in->lock);
	free_maps(in);
	in->on = false;
}
