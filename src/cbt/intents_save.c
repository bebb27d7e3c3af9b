/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The saver: before the log stops naming a region, the region's marks are
 * saved, which takes two syncs of the store. That is why it is a thread of its
 * own: meanwhile the log goes on naming the regions that writers wait for.
 */
#include "cbt/intents_inside.h"

#include <string.h>

#include "base/atomic.h"
#include "cbt/tracker.h"

/* Under the lock: regions that nobody used in this second, or any. */
static uint32_t choose(struct cbt_intents *in, uint64_t *victims,
		       uint32_t max, bool any)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < in->active_count && count < max; i++) {
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

/* The bits of one word that are a run's. */
static uint64_t mask_of(struct cbt_run run, uint64_t word)
{
	uint64_t mask = ~UINT64_C(0);

	if (run.start > word * 64)
		mask <<= run.start - word * 64;
	if (run.end < (word + 1) * 64)
		mask &= ~UINT64_C(0) >> ((word + 1) * 64 - run.end);
	return mask;
}

/* The marks of @region so far, into the saved image. */
static int save_region(struct cbt *c, uint64_t region)
{
	struct cbt_run run = cbt_intents_blocks(&c->intents, region);
	int ret = 0;

	for (uint64_t word = run.start / 64; word * 64 < run.end && !ret;
	     word++) {
		uint64_t bits = tide__load_seqcst(&c->now->words[word]);

		ret = cbt_image_or_word(&c->catalog.saved, word,
					bits & mask_of(run, word));
	}
	return ret;
}

/* What the store has of @region by now needs no intent any more. */
static void note_saved(struct cbt *c, uint64_t region)
{
	struct cbt_run run = cbt_intents_blocks(&c->intents, region);

	for (uint64_t word = run.start / 64; word * 64 < run.end; word++) {
		struct cbt_page *page =
			c->catalog.saved.pages[word / CBT_PAGE_WORDS];

		if (page)
			tide__or_seqcst(&c->intents.durable[word],
					page->words[word % CBT_PAGE_WORDS] &
						mask_of(run, word));
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
		in->dropped = true;
		memmove(in->active + i, in->active + i + 1,
			(in->active_count - i) * sizeof(*in->active));
		return;
	}
}

/* A second is over: who is used in the next one says so again. */
static void forget_used(struct cbt_intents *in)
{
	for (uint32_t i = 0; i < in->active_count; i++) {
		uint8_t state = ACTIVE | USED;

		tide__cas_seqcst(&in->state[in->active[i]], state, ACTIVE);
	}
}

/* Under the lock, which is let go meanwhile. */
static int retire(struct cbt_intents *in, const uint64_t *victims,
		  uint32_t count)
{
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

void cbt_intents_ask_saver(struct cbt_intents *in, uint32_t max)
{
	if (max > in->save_max)
		in->save_max = max;
	pthread_cond_signal(&in->save);
}

static void retire_idle(struct cbt_intents *in)
{
	uint64_t victims[CBT_MAX_REGIONS];
	uint32_t count = choose(in, victims, in->max, false);

	in->save_idle = false;
	forget_used(in);
	retire(in, victims, count);
}

static void retire_oldest(struct cbt_intents *in)
{
	uint64_t victims[CBT_MAX_REGIONS];
	uint32_t count = choose(in, victims, in->save_max, true);

	in->save_max = 0;
	in->save_result = retire(in, victims, count);
	in->batches++;
	pthread_cond_broadcast(&in->room);
}

void *cbt_intents_saver(void *intents)
{
	struct cbt_intents *in = intents;

	pthread_mutex_lock(&in->lock);
	while (!in->stop) {
		if (in->save_max)
			retire_oldest(in);
		else if (in->save_idle)
			retire_idle(in);
		else
			pthread_cond_wait(&in->save, &in->lock);
	}
	pthread_mutex_unlock(&in->lock);
	return NULL;
}
