/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file driver's range locks for read-modify-write under O_DIRECT.
 *
 * A write to a part of a block reads the block, changes it and writes it back,
 * which would undo a concurrent write to the rest of that block. So every write
 * registers its blocks; one that changes parts of blocks waits until nobody
 * else is in them, and then has them to itself. Writes of whole blocks never
 * wait for each other, even if they overlap.
 *
 * Without O_DIRECT none of this is needed and none of it is called.
 */
#include "disk/file.h"

_Static_assert(sizeof(struct file_range) <= 4 * sizeof(uint64_t),
	       "a range lies in the scratch of an io");

static bool conflicts(const struct file *f, const struct file_range *range)
{
	bool alone = range->end_bytes & 1;

	if (!alone && !f->alone)
		return false;
	for (const struct file_range *r = f->ranges; r; r = r->next)
		if ((alone || r->end_bytes & 1) &&
		    r->start_bytes < (range->end_bytes & ~UINT64_C(1)) &&
		    range->start_bytes < (r->end_bytes & ~UINT64_C(1)))
			return true;
	return false;
}

static void link_range(struct file *f, struct file_range *range)
{
	range->previous = NULL;
	range->next = f->ranges;
	if (f->ranges)
		f->ranges->previous = range;
	f->ranges = range;
	f->alone += range->end_bytes & 1;
}

/* Blocks are of 512 bytes or more: an end is even. */
static void fill(const struct file *f, struct file_range *range,
		 uint64_t offset, uint64_t length, bool alone)
{
	uint64_t block = f->disk.alignment_bytes;

	range->start_bytes = offset / block * block;
	range->end_bytes = (offset + length + block - 1) / block * block;
	range->end_bytes |= alone;
}

void file__blocks_enter(struct file *f, struct file_range *range,
			uint64_t offset_bytes, uint64_t length_bytes,
			bool alone)
{
	fill(f, range, offset_bytes, length_bytes, alone);
	pthread_mutex_lock(&f->blocks_lock);
	while (conflicts(f, range))
		pthread_cond_wait(&f->blocks_free, &f->blocks_lock);
	link_range(f, range);
	pthread_mutex_unlock(&f->blocks_lock);
}

bool file__blocks_try_enter(struct file *f, struct file_range *range,
			    uint64_t offset_bytes, uint64_t length_bytes)
{
	bool free;

	fill(f, range, offset_bytes, length_bytes, false);
	pthread_mutex_lock(&f->blocks_lock);
	free = !conflicts(f, range);
	if (free)
		link_range(f, range);
	pthread_mutex_unlock(&f->blocks_lock);
	return free;
}

void file__blocks_leave(struct file *f, struct file_range *range)
{
	pthread_mutex_lock(&f->blocks_lock);
	if (range->previous)
		range->previous->next = range->next;
	else
		f->ranges = range->next;
	if (range->next)
		range->next->previous = range->previous;
	f->alone -= range->end_bytes & 1;
	pthread_mutex_unlock(&f->blocks_lock);
	pthread_cond_broadcast(&f->blocks_free);
}
