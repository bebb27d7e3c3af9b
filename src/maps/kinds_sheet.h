/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sheet, the leaves of a B+ tree below one directory: a sorted array cut into
 * windows, each an allocation of its own, copied on write.
 *
 * Elements are one or two words, sorted by the first, all different. A window
 * holds up to 512 words and exactly as much memory as it needs; a directory of
 * first words leads to it. A search costs what it costs in one array. A change
 * writes new windows for those it touches, and only then takes the old ones
 * out: it moves 4 KiB, not the array, and it happens whole or not at all. The
 * directory is an array, too; of the largest image (42 million runs) it is 1
 * MiB, and moves once in some 256 insertions.
 *
 * Windows have no fixed borders: an image whose references were made up to lie
 * far apart costs 8 bytes a run like any other.
 */
#ifndef TIDE_MAPS_KINDS_SHEET_H
#define TIDE_MAPS_KINDS_SHEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIDE__WINDOW_WORDS 512u

struct tide__window {
	uint64_t words;		/* in use, and allocated */
	uint64_t v[];
};

struct tide__sheet {
	uint32_t shift;		/* an element is 1 << shift words */
	uint32_t windows, room;
	uint64_t *first;	/* first word of each window */
	struct tide__window **window;
	uint64_t words;		/* in all windows */
};

/* A gap between elements, or the element behind it; @at counts words. */
struct tide__place {
	uint32_t window, at;
};

/* A change, made but not yet seen. */
struct tide__splice {
	uint32_t from, gone;	/* windows that leave the sheet */
	uint32_t n;		/* windows that come */
	struct tide__window **fresh;
	struct tide__window *few[3];
};

void tide__sheet_init(struct tide__sheet *s, uint32_t shift);
void tide__sheet_fini(struct tide__sheet *s);
uint64_t tide__sheet_bytes(const struct tide__sheet *s);

/* Of @n sorted elements of 1 << @shift words, how many are below @key? */
static inline size_t tide__below(const uint64_t *v, size_t n, uint32_t shift,
				 uint64_t key)
{
	size_t low = 0, high = n;

	/* Branches: those of writes near the last one are foreseen. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (v[middle << shift] < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The last element below @key, or NULL; elements of one word. */
static inline const uint64_t *tide__sheet_last(const struct tide__sheet *s,
					       uint64_t key)
{
	size_t w = tide__below(s->first, s->windows, 0, key);
	const struct tide__window *window;

	if (!w)
		return NULL;
	window = s->window[w - 1];
	return window->v + tide__below(window->v, window->words, 0, key) - 1;
}

/* The place of the first element at or above @key. */
struct tide__place tide__sheet_find(const struct tide__sheet *s, uint64_t key);
/* The element at *@p, which may step to the next window for it; or NULL. */
const uint64_t *tide__sheet_at(const struct tide__sheet *s,
			       struct tide__place *p);

/*
 * Elements from @a up to @b shall be the @words words at @v. -ENOMEM, or 0:
 * then commit, which cannot fail, or drop. One splice of a sheet at a time.
 */
int tide__splice_make(struct tide__sheet *s, struct tide__splice *splice,
		      struct tide__place a, struct tide__place b,
		      const uint64_t *v, size_t words);
void tide__splice_commit(struct tide__sheet *s, struct tide__splice *splice);
void tide__splice_drop(struct tide__splice *splice);

#endif
