/* SPDX-License-Identifier: BSD-2-Clause */
/* Marking, the store behind it, what is reported of both, and closing. */
#include "cbt/tracker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "disk/disk.h"

/* Most writes hit blocks that are marked already: look before the lock. */
static void mark_word(uint64_t *word, uint64_t mask)
{
	if (~tide__load_relaxed(word) & mask)
		tide__or_seqcst(word, mask);
}

void cbt_mark(struct cbt *c, uint64_t offset_bytes, uint64_t length_bytes)
{
	struct cbt_area *a = c->now;
	uint64_t start = offset_bytes >> a->shift;
	uint64_t end = ((offset_bytes + length_bytes - 1) >> a->shift) + 1;

	if (end > a->bits)
		end = a->bits;
	while (start < end) {
		uint64_t word = start / 64, stop = (word + 1) * 64;
		uint64_t mask = ~UINT64_C(0) << start % 64;

		if (stop > end)
			mask &= ~UINT64_C(0) >> (stop - end);
		mark_word(&a->words[word], mask);
		start = stop;
	}
}

int cbt_no_memory(const struct cbt *c, struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "tracker", TIDE_NO_OFFSET,
			      "%s: no memory for its changes", c->disk_path);
}

int cbt_commit(struct cbt *c, struct tide_error *err)
{
	struct tide_error own;
	int ret = cbt_store_commit(&c->store, &c->catalog,
				   c->durability == CBT_POWER, &own);

	if (ret) {
		snprintf(c->trouble, sizeof(c->trouble), "%s", own.text);
		return tide_error_set(err, ret, "store", TIDE_NO_OFFSET, "%s",
				      own.text);
	}
	c->commits++;
	c->unsaved_cut = false;
	if (!c->intents.lost)
		c->trouble[0] = 0;
	return 0;
}

const char *cbt_note(const struct cbt *c)
{
	return c->note;
}

static uint64_t live_count(const struct cbt *c)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < (c->now->bits + 63) / 64; i++)
		count += (unsigned int)__builtin_popcountll(
			tide__load_relaxed(&c->now->words[i]));
	return count;
}

static uint64_t active_regions(struct cbt_intents *in)
{
	uint64_t count;

	if (!in->on)
		return 0;
	pthread_mutex_lock(&in->lock);
	count = in->active_count;
	pthread_mutex_unlock(&in->lock);
	return count;
}

void cbt_status(struct cbt *c, struct cbt_status *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&c->lock);
	snprintf(out->store_path, sizeof(out->store_path), "%s",
		 c->store.path);
	memcpy(out->uuid, c->store.super.uuid, 16);
	out->durability = c->durability;
	out->size_bytes = c->catalog.size_bytes;
	out->granularity_bytes = UINT64_C(1) << c->catalog.shift;
	out->epoch = c->catalog.epoch;
	out->deltas = c->catalog.delta_count;
	out->points = c->catalog.point_count;
	out->live_bytes = live_count(c) << c->catalog.shift;
	out->safety_bytes = c->catalog.safety_blocks << c->catalog.usual_shift;
	out->active_regions = active_regions(&c->intents);
	out->region_bytes = c->intents.on ? UINT64_C(1) << c->intents.shift
					  : 0;
	out->intents = c->intents.blocks;
	out->first_writes = c->intents.first_writes;
	out->commits = c->commits;
	snprintf(out->trouble, sizeof(out->trouble), "%s",
		 *c->trouble ? c->trouble : c->where);
	out->lost = c->intents.lost;
	pthread_mutex_unlock(&c->lock);
}

void cbt_sample(struct cbt *c)
{
	struct cbt_identity sampled = { 0 };

	cbt_identity_sample(&sampled, c->disk, c->store.super.uuid);
	/* The log's thread may be writing the catalog. */
	pthread_mutex_lock(&c->lock);
	c->catalog.identity = sampled;
	c->sampled = true;
	pthread_mutex_unlock(&c->lock);
}

/* The live bits as the store will have them. Nobody marks any more. */
static int save_live(struct cbt *c)
{
	cbt_image_clear(&c->catalog.saved);
	return cbt_area_or_into(c->now, &c->catalog.saved);
}

static int close_store(struct cbt *c, struct tide_error *err)
{
	int ret;

	if (c->intents.lost)
		return tide_error_set(err, -EIO, "store", TIDE_NO_OFFSET,
				      "%s", c->trouble);
	ret = save_live(c);
	if (ret)
		return cbt_no_memory(c, err);
	if (!c->sampled)
		c->catalog.identity.count = 0;
	cbt_identity_stat(&c->catalog.identity, c->disk_path,
			  c->catalog.size_bytes);
	c->store.super.open = false;
	ret = cbt_store_commit(&c->store, &c->catalog, true, err);
	if (ret)
		c->store.super.open = true;
	return ret;
}

void cbt_discard(struct cbt *c, bool unlink_live)
{
	cbt_intents_stop(&c->intents);
	cbt_live_close(&c->live, unlink_live);
	cbt_store_close(&c->store);
	cbt_catalog_fini(&c->catalog);
	cbt_image_fini(&c->next_saved);
	cbt_gate_fini(&c->gate);
	pthread_mutex_destroy(&c->lock);
	free(c->disk_path);
	free(c);
}

int cbt_close(struct cbt *c, struct tide_error *err)
{
	int ret;

	if (!c)
		return 0;
	cbt_intents_stop(&c->intents);
	ret = close_store(c, err);
	cbt_discard(c, !ret);
	return ret;
}
