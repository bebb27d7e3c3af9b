/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU's hierarchical bitmap, written afresh to its shape: seven levels of
 * words whatever the size, each bit for a word below that is not 0, the number
 * of ones kept at every change. For one thread, or a lock around it.
 */
#ifndef BENCH_RIVALS_HBITMAP_H
#define BENCH_RIVALS_HBITMAP_H

#include "bench/measure.h"

#define HBITMAP_LEVELS 7

struct hbitmap {
	uint64_t pages, count;
	uint64_t *level[HBITMAP_LEVELS];	/* the last one: the bitmap */
	uint64_t words[HBITMAP_LEVELS], total;
};

void hbitmap_init(struct hbitmap *hb, uint64_t pages);
void hbitmap_fini(struct hbitmap *hb);
void hbitmap_mark(struct hbitmap *hb, uint64_t page);
/* Find an area, reset it, find the next one. */
struct bench_found hbitmap_take_areas(struct hbitmap *hb);
/* Walk all ones, then clear all levels as memory. */
struct bench_found hbitmap_take_all(struct hbitmap *hb);

#endif
