/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scanning flat bitmaps (KVM's log, vhost's, a file) into ranges.
 *
 * One bitmap, or the union of two of possibly different length, word by word
 * and without a temporary; streamed in batches of the caller's size, so memory
 * does not grow with the result. Parts let several threads of the caller share
 * one scan. Bit i of word w is page 64 * w + i; bits past a bitmap's length
 * are ignored, and nothing is read past its last word.
 *
 * Caveats:
 *  - The bitmaps must not change while they are scanned.
 *  - A bitmap stands for consecutive pages. Scan the two sides of a hole in the
 *    guest separately, or ranges would be merged across it.
 */
#ifndef TIDEMARK_SCAN_H
#define TIDEMARK_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"
#include "tidemark/range.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tide_scan;

struct tide_scan_options {
	const uint64_t *a;	/* borrowed until destroy */
	uint64_t a_pages;
	const uint64_t *b;	/* NULL: no second bitmap */
	uint64_t b_pages;
	uint64_t gap_pages;	/* merge runs at most so far apart; 0: none */
	/*
	 * Scan share @part of @parts (0: all in one). The ranges of a part are
	 * those that start in it, whole; concatenated, those of one scan. With
	 * a gap, runs are not merged across the end of a part.
	 */
	unsigned int part, parts;
	/*
	 * Split runs at the borders of parts instead: a part then reads
	 * nothing of others, and when the lists are concatenated adjacent
	 * ranges must be merged. For bitmaps with runs longer than parts.
	 */
	bool cut_runs;
};

/*
 * tide_scan_create: prepare a scan. 0; -EINVAL (no bitmap, part out of range);
 * -ENOMEM. The caller destroys *@out. Touches no bitmap yet.
 */
int tide_scan_create(struct tide_scan **out,
		     const struct tide_scan_options *options,
		     struct tide_error *err);
void tide_scan_destroy(struct tide_scan *scan);	/* NULL is fine */

/*
 * tide_scan_next: the next ranges, ascending and maximal, at most @max (at
 * least 1). 0 means the end. One thread a scan. Never allocates. Batches of
 * some hundred to a thousand ranges are fastest: they stay in the cache.
 */
size_t tide_scan_next(struct tide_scan *scan, struct tide_range *ranges,
		      size_t max);

/*
 * tide_gap_pages: the largest gap of clean pages that is cheaper to send along
 * than to start another range, if a range costs @range_ns in all and the wire
 * moves @bytes_per_s: floor(range_ns * bytes_per_s / page_bytes).
 */
uint64_t tide_gap_pages(uint64_t range_ns, uint64_t bytes_per_s,
			uint64_t page_bytes);

/*
 * Operations on flat bitmaps of @pages bits; bits past the end of it are
 * neither read nor changed. Single-threaded, with the SIMD kernels.
 *
 * tide_bitmap_count: bits that are set. tide_bitmap_find: the first one at or
 * after @from, or @pages. tide_bitmap_union: @into becomes the union of both.
 * tide_bitmap_fill: sets [@first, @first + @count), which must be inside.
 */
uint64_t tide_bitmap_count(const uint64_t *words, uint64_t pages);
uint64_t tide_bitmap_find(const uint64_t *words, uint64_t pages, uint64_t from);
void tide_bitmap_union(uint64_t *into, const uint64_t *from, uint64_t pages);
void tide_bitmap_fill(uint64_t *words, uint64_t first, uint64_t count);

/*
 * tide_isa_name: the kernels in use: "scalar", "avx2", "avx512" or "neon".
 * TIDEMARK_ISA in the environment forces one that the CPU has.
 */
const char *tide_isa_name(void);

#ifdef __cplusplus
}
#endif

#endif
