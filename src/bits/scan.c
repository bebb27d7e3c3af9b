/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flat bitmaps to ranges: blocks of the union through the kernels.
 *
 * Where both bitmaps have all 64 words of a block, and a word before it, the
 * kernels read them in place. The first block, the blocks in which one bitmap
 * ends, and the last one go through a copy padded with zeros, so that nothing
 * is read outside a bitmap and bits past a length are dropped in one place.
 *
 * A part of a scan owns the runs that start in it. It drops the first edge if
 * that only ends a run of the part before, and reads on past its own end to
 * find the end of its last run. With cut_runs it knows nothing of others: it
 * sees zeros before it, and ends its last run at its border.
 */
#include "tidemark/scan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bits/block.h"

struct flat_map {
	const uint64_t *words;
	uint64_t pages;
};

struct tide_scan {
	const struct tide__kernels *kernels;
	struct flat_map a, b;
	uint64_t pages;
	uint64_t next, end, last;	/* blocks: at, of the part, of all */
	uint64_t alone;		/* block whose word before is not seen */
	uint64_t gap;
	bool cut_runs;
	bool drop_first;		/* the first edge is another part's */
	bool have_held;
	struct tide_range held;		/* of a joining scan: may still grow */
	struct tide__block block;
};

static bool page_is_set(const struct flat_map *map, uint64_t page)
{
	return page < map->pages && map->words[page / 64] >> (page % 64) & 1;
}

static int check(const struct tide_scan_options *o, struct tide_error *err)
{
	if (!o->a && !o->b)
		return tide_error_set(err, -EINVAL, "scan", TIDE_NO_OFFSET,
				      "no bitmap given");
	if (o->part && o->part >= o->parts)
		return tide_error_set(err, -EINVAL, "scan", TIDE_NO_OFFSET,
				      "part %u of %u does not exist", o->part,
				      o->parts);
	return 0;
}

int tide_scan_create(struct tide_scan **out,
		     const struct tide_scan_options *o, struct tide_error *err)
{
	unsigned int parts = o->parts ? o->parts : 1;
	struct tide_scan *scan;
	uint64_t first;
	int ret = check(o, err);

	if (ret)
		return ret;
	scan = calloc(1, sizeof(*scan));
	if (!scan)
		return tide_error_set(err, -ENOMEM, "scan", TIDE_NO_OFFSET,
				      "no memory for a scan");
	scan->kernels = tide__kernels_pick();
	scan->a = (struct flat_map){ o->a, o->a ? o->a_pages : 0 };
	scan->b = (struct flat_map){ o->b, o->b ? o->b_pages : 0 };
	scan->pages = scan->a.pages > scan->b.pages ? scan->a.pages
						    : scan->b.pages;
	scan->gap = o->gap_pages;
	scan->last = scan->pages / TIDE__BLOCK_PAGES +
		     (scan->pages % TIDE__BLOCK_PAGES != 0);
	scan->next = tide__share_start(scan->last, o->part, parts);
	scan->end = tide__share_start(scan->last, o->part + 1, parts);
	first = scan->next * TIDE__BLOCK_PAGES;
	scan->cut_runs = o->cut_runs;
	scan->alone = o->cut_runs ? scan->next : 0;
	scan->drop_first = first && !o->cut_runs &&
			   (page_is_set(&scan->a, first - 1) ||
			    page_is_set(&scan->b, first - 1));
	*out = scan;
	return 0;
}

void tide_scan_destroy(struct tide_scan *scan)
{
	free(scan);
}

/* OR words [at, at + n) of @map into @into, without its tail's rubbish. */
static void copy_in(const struct flat_map *map, uint64_t at, uint64_t n,
		    uint64_t *into)
{
	uint64_t words = tide__words_for(map->pages);

	for (uint64_t i = 0; i < n && at + i < words; i++)
		into[i] |= map->words[at + i] &
			   tide__mask_below(map->pages - (at + i) * 64);
}

static size_t fetch_copied(struct tide_scan *scan)
{
	uint64_t copy[1 + TIDE__BLOCK_WORDS] = { 0 };
	uint64_t at = scan->next * TIDE__BLOCK_WORDS;
	const struct flat_map *maps[] = { &scan->a, &scan->b };

	for (int k = 0; k < 2; k++) {
		if (scan->next != scan->alone)
			copy_in(maps[k], at - 1, 1, copy);
		copy_in(maps[k], at, TIDE__BLOCK_WORDS, copy + 1);
	}
	return scan->kernels->find_edges(copy + 1, copy + 1, 1, scan->block.e,
					 &scan->block.mask);
}

/* Whole blocks of @map from block @at on. */
static uint64_t whole_blocks(const struct flat_map *map, uint64_t at)
{
	uint64_t blocks = map->pages / TIDE__BLOCK_PAGES;

	return at && at < blocks ? blocks - at : 0;
}

/*
 * Which words to read in place from block scan->next on, and for how many
 * blocks; 0 if this one must be copied.
 */
static uint64_t in_place(const struct tide_scan *scan, const uint64_t **a,
			 const uint64_t **b)
{
	uint64_t at = scan->next, word = at * TIDE__BLOCK_WORDS;
	uint64_t in_a = whole_blocks(&scan->a, at);
	uint64_t in_b = whole_blocks(&scan->b, at);

	/* A bitmap that ended before the word ahead of this block is out. */
	if (scan->b.pages <= (word - 1) * 64) {
		*a = *b = scan->a.words + word;
		return in_a;
	}
	if (scan->a.pages <= (word - 1) * 64) {
		*a = *b = scan->b.words + word;
		return in_b;
	}
	*a = scan->a.words + word;
	*b = scan->b.words + word;
	return in_a < in_b ? in_a : in_b;
}

/* The next block with edges before block @end; false if there is none. */
static bool fetch(struct tide_scan *scan, uint64_t end)
{
	while (scan->next < end) {
		const uint64_t *a, *b;
		uint64_t blocks = scan->next != scan->alone ?
				  in_place(scan, &a, &b) : 0;
		size_t skipped;

		if (blocks > end - scan->next)
			blocks = end - scan->next;
		if (blocks) {
			skipped = scan->kernels->find_edges(
			    a, b, blocks, scan->block.e, &scan->block.mask);
		} else {
			blocks = 1;
			skipped = fetch_copied(scan);
		}
		scan->block.page = (scan->next + skipped) * TIDE__BLOCK_PAGES;
		scan->next += skipped + (skipped < blocks);
		if (skipped < blocks)
			return true;
	}
	return false;
}

static void drop_first_edge(struct tide_scan *scan)
{
	uint64_t one;

	scan->drop_first = false;
	tide__block_drain(&scan->block, scan->kernels, &one, 0, 1);
}

/* A run is open at the end of the part: where does it end? */
static uint64_t end_of_run(struct tide_scan *scan)
{
	uint64_t page = scan->pages;

	if (scan->cut_runs)
		return scan->end < scan->last ? scan->end * TIDE__BLOCK_PAGES :
						page;
	if (fetch(scan, scan->last))
		tide__block_drain(&scan->block, scan->kernels, &page, 0, 1);
	scan->block.mask = 0;
	scan->next = scan->last;	/* the rest is other parts' */
	scan->end = 0;
	return page;
}

static size_t plain_next(struct tide_scan *scan, struct tide_range *ranges,
			 size_t max)
{
	uint64_t *flat = (uint64_t *)ranges;
	size_t n = 0, room = max > SIZE_MAX / 2 ? SIZE_MAX - 1 : 2 * max;

	while (n < room) {
		if (!scan->block.mask && !fetch(scan, scan->end)) {
			if (n % 2)
				flat[n++] = end_of_run(scan);
			break;
		}
		if (scan->drop_first)
			drop_first_edge(scan);
		n = tide__block_drain(&scan->block, scan->kernels, flat, n,
				      room);
	}
	scan->kernels->pairs(flat, n / 2);
	return n / 2;
}

/* Join @n ranges in place where gaps are small; the last one is held back. */
static size_t join(struct tide_scan *scan, struct tide_range *r, size_t n)
{
	struct tide_range held = scan->held;
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		struct tide_range next = r[i];

		if (next.first - (held.first + held.count) <= scan->gap) {
			held.count = next.first + next.count - held.first;
			continue;
		}
		r[out++] = held;
		held = next;
	}
	scan->held = held;
	return out;
}

static size_t joined_next(struct tide_scan *scan, struct tide_range *ranges,
			  size_t max)
{
	size_t n, out = 0;

	if (!scan->have_held && !plain_next(scan, &scan->held, 1))
		return 0;
	scan->have_held = true;
	while (!out && (n = plain_next(scan, ranges, max)))
		out = join(scan, ranges, n);
	if (!out) {
		ranges[out++] = scan->held;
		scan->have_held = false;
	}
	return out;
}

size_t tide_scan_next(struct tide_scan *scan, struct tide_range *ranges,
		      size_t max)
{
	return scan->gap ? joined_next(scan, ranges, max)
			 : plain_next(scan, ranges, max);
}

uint64_t tide_gap_pages(uint64_t range_ns, uint64_t bytes_per_s,
			uint64_t page_bytes)
{
	__extension__ unsigned __int128 bytes =
	    (unsigned __int128)range_ns * bytes_per_s / 1000000000u;

	if (!page_bytes)
		return 0;
	bytes /= page_bytes;
	return bytes > UINT64_MAX ? UINT64_MAX : (uint64_t)bytes;
}
