/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cut: an epoch ends, the next begins.
 *
 * The other areas are prepared; the gates of all disks are held until no write
 * is under way; for each disk one store switches marking to the new area; the
 * gates open. Writes wait for those under way to finish, and no longer: the
 * old area is collected afterwards, and the store is told last. Until then the
 * live file has both areas, and after a kill the next process unites them: as
 * if there had been no cut, which nobody had been told of yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "cbt/meta.h"
#include "cbt/tracker.h"

/* Marks of the epoch before come along into the one that runs. */
static void fold_back(struct cbt *c, const struct cbt_area *a)
{
	struct cbt_run run = cbt_next_run(a->words, a->bits, 0);

	for (; run.start < run.end;
	     run = cbt_next_run(a->words, a->bits, run.end))
		cbt_mark(c, run.start << a->shift,
			 (run.end - run.start) << a->shift);
}

static int prepare(struct cbt *c, uint64_t size_bytes, uint32_t shift,
		   struct tide_error *err)
{
	uint64_t epoch = c->catalog.epoch;
	uint64_t bits = cbt_bits_of(size_bytes, shift);

	if (bits > CBT_MAX_BITS)
		return tide_error_set(err, -EFBIG, "tracker", TIDE_NO_OFFSET,
				      "%s is too large for blocks of %llu "
				      "bytes", c->disk_path, 1ull << shift);
	if (c->unsaved_cut)
		fold_back(c, cbt_live_area(&c->live, epoch + 1));
	cbt_image_fini(&c->next_saved);
	if (cbt_image_init(&c->next_saved, bits, shift))
		return cbt_no_memory(c, err);
	return cbt_live_prepare(&c->live, epoch, size_bytes, shift, err);
}

/* The gate is held, and empty. */
static void turn_over(struct cbt *c)
{
	uint64_t epoch = c->catalog.epoch + 1;

	c->now = cbt_live_area(&c->live, epoch);
	cbt_live_flip(&c->live, epoch);
	cbt_intents_forget(&c->intents);
}

/* After it: the old area becomes a delta. */
static void finish(struct cbt *c)
{
	struct cbt_catalog *k = &c->catalog;
	struct cbt_area *old = cbt_live_area(&c->live, k->epoch);
	struct cbt_delta *deltas, *d;
	int ret = -ENOMEM;

	deltas = realloc(k->deltas, (k->delta_count + 1) * sizeof(*deltas));
	if (deltas) {
		k->deltas = deltas;
		d = &deltas[k->delta_count];
		*d = (struct cbt_delta){ .first = k->epoch, .last = k->epoch };
		ret = cbt_image_init(&d->image, old->bits, old->shift);
		if (!ret)
			ret = cbt_area_or_into(old, &d->image);
		if (ret)
			cbt_image_fini(&d->image);
		else
			k->delta_count++;
	}
	/*
	 * No memory: its marks are the next epoch's. Too wide, none is lost,
	 * but what of them the store had it would not have any more.
	 */
	if (ret)
		fold_back(c, old);
	if (ret && c->durability == CBT_POWER)
		cbt_doubt(k, "memory ran out while an epoch was kept");
	k->epoch++;
	k->shift = c->now->shift;
	cbt_image_fini(&k->saved);
	k->saved = c->next_saved;
	c->next_saved = (struct cbt_image){ 0 };
	c->unsaved_cut = true;
}

static int no_end(const struct cbt *c, struct tide_error *err)
{
	return tide_error_set(err, -ETIMEDOUT, "tracker", TIDE_NO_OFFSET,
			      "%s: writes that are under way did not end in "
			      "time; nothing was done", c->disk_path);
}

int cbt_cut(struct cbt *const *disks, size_t count, struct tide_error *err)
{
	return cbt_cut_and(disks, count, NULL, NULL, err);
}

int cbt_cut_and(struct cbt *const *disks, size_t count,
		void (*meanwhile)(void *opaque), void *opaque,
		struct tide_error *err)
{
	size_t held = 0;
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++)
		ret = prepare(disks[i], disks[i]->catalog.size_bytes,
			      cbt_wanted_shift(disks[i]), err);
	for (; held < count && !ret; held += !ret)
		if (cbt_gate_hold(&disks[held]->gate, disks[held]->hold_ns))
			ret = no_end(disks[held], err);
	for (size_t i = 0; i < count && !ret; i++)
		turn_over(disks[i]);
	if (!ret && meanwhile)
		meanwhile(opaque);
	for (size_t i = 0; i < count && !ret; i++)
		if (disks[i]->now->shift != disks[i]->catalog.shift)
			cbt_intents_resize(&disks[i]->intents);
	for (size_t i = 0; i < held; i++)
		cbt_gate_release(&disks[i]->gate);
	for (size_t i = 0; i < count && !ret; i++)
		finish(disks[i]);
	return ret;
}

int cbt_cut_to(struct cbt *c, uint64_t size_bytes, uint32_t shift,
	       int (*meanwhile)(void *opaque), void *opaque,
	       struct tide_error *err)
{
	uint64_t size = c->catalog.size_bytes;
	int ret = prepare(c, size_bytes, shift, err);

	if (ret)
		return ret;
	if (cbt_gate_hold(&c->gate, c->hold_ns))
		return no_end(c, err);
	ret = meanwhile(opaque);
	if (!ret) {
		turn_over(c);
		c->catalog.size_bytes = size_bytes;
		cbt_intents_resize(&c->intents);
		/* What was not there, or is not there any more. */
		if (size_bytes > size)
			cbt_mark(c, size, size_bytes - size);
	}
	cbt_gate_release(&c->gate);
	if (!ret)
		finish(c);
	return ret;
}

uint32_t cbt_wanted_shift(const struct cbt *c)
{
	uint32_t shift = c->catalog.usual_shift;

	for (size_t i = 0; i < c->catalog.point_count; i++) {
		const struct cbt_point *p = c->catalog.points[i];

		if (p->state == CBT_RECORDING && p->kind == CBT_BITMAP &&
		    p->shift < shift)
			shift = p->shift;
	}
	return shift;
}

/* Does anybody ask for the second of two deltas, and not for the first? */
static bool told_apart(const struct cbt_catalog *k, const struct cbt_delta *d)
{
	for (size_t i = 0; i < k->point_count; i++)
		if (k->points[i]->state != CBT_INCONSISTENT &&
		    k->points[i]->epoch > d[0].last &&
		    k->points[i]->epoch <= d[1].first)
			return true;
	return false;
}

static uint64_t oldest(const struct cbt_catalog *k)
{
	uint64_t min = CBT_NO_EPOCH;

	for (size_t i = 0; i < k->point_count; i++)
		if (k->points[i]->state != CBT_INCONSISTENT &&
		    k->points[i]->epoch < min)
			min = k->points[i]->epoch;
	return min;
}

static void remove_delta(struct cbt_catalog *k, size_t at)
{
	cbt_image_fini(&k->deltas[at].image);
	k->delta_count--;
	memmove(k->deltas + at, k->deltas + at + 1,
		(k->delta_count - at) * sizeof(*k->deltas));
}

/* @at and the one after it. False: no memory, both stay. */
static bool join(struct cbt_catalog *k, size_t at)
{
	struct cbt_delta *d = &k->deltas[at], *next = d + 1;
	struct cbt_image both;
	uint32_t shift = d->image.shift < next->image.shift ? d->image.shift
						    : next->image.shift;
	uint64_t bytes = d->image.bits << d->image.shift;
	uint64_t other = next->image.bits << next->image.shift;

	if (cbt_image_init(&both, cbt_bits_of(bytes > other ? bytes : other,
					      shift), shift))
		return false;
	if (cbt_image_or(&both, &d->image) ||
	    cbt_image_or(&both, &next->image)) {
		cbt_image_fini(&both);
		return false;
	}
	cbt_image_fini(&d->image);
	d->image = both;
	d->last = next->last;
	remove_delta(k, at + 1);
	return true;
}

void cbt_tidy(struct cbt *c)
{
	struct cbt_catalog *k = &c->catalog;
	uint64_t min = oldest(k);

	while (k->delta_count && k->deltas[0].last < min)
		remove_delta(k, 0);
	for (size_t i = 0; i + 1 < k->delta_count;)
		if (told_apart(k, &k->deltas[i]) ||
		    cbt_meta_tells_apart(c, &k->deltas[i]) || !join(k, i))
			i++;
}
