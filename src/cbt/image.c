/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t cbt_bits_of(uint64_t size_bytes, uint32_t shift)
{
	return (size_bytes >> shift) +
	       !!(size_bytes & ((UINT64_C(1) << shift) - 1));
}

static size_t pages_of(uint64_t bits)
{
	return (size_t)((bits + CBT_PAGE_BITS - 1) / CBT_PAGE_BITS);
}

int cbt_image_init(struct cbt_image *m, uint64_t bits, uint32_t shift)
{
	*m = (struct cbt_image){ .shift = shift };
	return cbt_image_grow(m, bits);
}

int cbt_image_grow(struct cbt_image *m, uint64_t bits)
{
	size_t count = pages_of(bits);
	struct cbt_page **pages;

	if (bits <= m->bits)
		return 0;
	if (count > m->page_count) {
		pages = realloc(m->pages, count * sizeof(struct cbt_page *));
		if (!pages)
			return -ENOMEM;
		memset(pages + m->page_count, 0,
		       (count - m->page_count) * sizeof(struct cbt_page *));
		m->pages = pages;
		m->page_count = count;
	}
	m->bits = bits;
	return 0;
}

void cbt_image_clear(struct cbt_image *m)
{
	for (size_t i = 0; i < m->page_count; i++) {
		free(m->pages[i]);
		m->pages[i] = NULL;
	}
	m->table_saved = false;
}

void cbt_image_fini(struct cbt_image *m)
{
	cbt_image_clear(m);
	free(m->pages);
	*m = (struct cbt_image){ .shift = m->shift };
}

struct cbt_page *cbt_image_page(struct cbt_image *m, size_t index)
{
	struct cbt_page **at = &m->pages[index];

	if (!*at)
		*at = calloc(1, sizeof(**at));
	return *at;
}

/* A page is about to change. */
static void touch(struct cbt_image *m, struct cbt_page *page)
{
	page->saved = false;
	m->table_saved = false;
}

void cbt_set_bits(uint64_t *words, uint64_t start, uint64_t end)
{
	uint64_t first = start / 64, last;

	if (start >= end)
		return;
	last = (end - 1) / 64;
	for (uint64_t i = first; i <= last; i++) {
		uint64_t mask = ~UINT64_C(0);

		if (i == first)
			mask &= ~UINT64_C(0) << start % 64;
		if (i == last && end % 64)
			mask &= ~UINT64_C(0) >> (64 - end % 64);
		words[i] |= mask;
	}
}

int cbt_image_set(struct cbt_image *m, uint64_t start, uint64_t end)
{
	if (end > m->bits)
		end = m->bits;
	while (start < end) {
		size_t index = (size_t)(start / CBT_PAGE_BITS);
		uint64_t base = (uint64_t)index * CBT_PAGE_BITS;
		uint64_t to = end - base < CBT_PAGE_BITS ? end - base
							 : CBT_PAGE_BITS;
		struct cbt_page *page = cbt_image_page(m, index);

		if (!page)
			return -ENOMEM;
		cbt_set_bits(page->words, start - base, to);
		touch(m, page);
		start = base + to;
	}
	return 0;
}

struct cbt_run cbt_next_run(const uint64_t *words, uint64_t bits,
			    uint64_t from)
{
	struct cbt_run run = { bits, bits };
	uint64_t i = from / 64, word;

	if (from >= bits)
		return run;
	word = words[i] & ~UINT64_C(0) << from % 64;
	while (!word) {
		if (++i * 64 >= bits)
			return run;
		word = words[i];
	}
	run.start = i * 64 + (unsigned int)__builtin_ctzll(word);
	if (run.start >= bits)
		return (struct cbt_run){ bits, bits };
	word = ~words[i] & ~UINT64_C(0) << run.start % 64;
	while (!word) {
		if (++i * 64 >= bits)
			return run;
		word = ~words[i];
	}
	run.end = i * 64 + (unsigned int)__builtin_ctzll(word);
	if (run.end > bits)
		run.end = bits;
	return run;
}

/* Bits [start, end) at @shift are which at @to: none of them is left out. */
static struct cbt_run convert(struct cbt_run run, uint32_t shift, uint32_t to)
{
	uint32_t by = to > shift ? to - shift : shift - to;

	if (to < shift)
		return (struct cbt_run){ run.start << by, run.end << by };
	return (struct cbt_run){ run.start >> by,
				 (run.end + (UINT64_C(1) << by) - 1) >> by };
}

/* @words lie at bit @base of an image of that shift. */
static int or_runs(struct cbt_image *m, const uint64_t *words, uint64_t bits,
		   uint32_t shift, uint64_t base)
{
	struct cbt_run run = cbt_next_run(words, bits, 0);

	for (; run.start < run.end; run = cbt_next_run(words, bits, run.end)) {
		struct cbt_run at = { base + run.start, base + run.end };

		at = convert(at, shift, m->shift);
		if (cbt_image_set(m, at.start, at.end))
			return -ENOMEM;
	}
	return 0;
}

static bool is_zero(const uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (words[i])
			return false;
	return true;
}

static int or_page(struct cbt_image *m, size_t index, const uint64_t *words)
{
	struct cbt_page *page;
	uint64_t added = 0;

	if (is_zero(words, CBT_PAGE_WORDS) || index >= m->page_count)
		return 0;
	page = cbt_image_page(m, index);
	if (!page)
		return -ENOMEM;
	for (size_t i = 0; i < CBT_PAGE_WORDS; i++) {
		added |= words[i] & ~page->words[i];
		page->words[i] |= words[i];
	}
	if (added)
		touch(m, page);
	return 0;
}

int cbt_image_or_word(struct cbt_image *m, uint64_t index, uint64_t bits)
{
	struct cbt_page *page;
	uint64_t *word;

	if (!bits)
		return 0;
	page = cbt_image_page(m, (size_t)(index / CBT_PAGE_WORDS));
	if (!page)
		return -ENOMEM;
	word = &page->words[index % CBT_PAGE_WORDS];
	if (bits & ~*word) {
		*word |= bits;
		touch(m, page);
	}
	return 0;
}

int cbt_image_or(struct cbt_image *m, const struct cbt_image *from)
{
	int ret = 0;

	for (size_t i = 0; i < from->page_count && !ret; i++) {
		if (!from->pages[i])
			continue;
		if (m->shift == from->shift && m->bits >= from->bits)
			ret = or_page(m, i, from->pages[i]->words);
		else
			ret = or_runs(m, from->pages[i]->words, CBT_PAGE_BITS,
				      from->shift, (uint64_t)i * CBT_PAGE_BITS);
	}
	return ret;
}

int cbt_image_or_words(struct cbt_image *m, uint64_t first,
		       const uint64_t *words, uint64_t bits, uint32_t shift)
{
	if (m->shift != shift)
		return or_runs(m, words, bits, shift, first);
	for (uint64_t at = 0; at < bits; at += CBT_PAGE_BITS) {
		uint64_t left = bits - at;
		uint64_t part[CBT_PAGE_WORDS] = { 0 };
		int ret;

		if (left > CBT_PAGE_BITS)
			left = CBT_PAGE_BITS;
		memcpy(part, words + at / 64, (left + 63) / 64 * 8);
		if (left % 64)
			part[left / 64] &= ~UINT64_C(0) >> (64 - left % 64);
		ret = or_page(m, (size_t)((first + at) / CBT_PAGE_BITS), part);
		if (ret)
			return ret;
	}
	return 0;
}

/* One page of @m, whose first bit is @base; the window begins at @first. */
static void or_page_into(const struct cbt_image *m, size_t index,
			 uint64_t first_byte, uint64_t *words, uint64_t bits,
			 uint32_t shift)
{
	uint64_t base = (uint64_t)index * CBT_PAGE_BITS;
	const uint64_t *from = m->pages[index]->words;
	uint64_t first = first_byte >> shift;
	uint64_t skip = first_byte >> m->shift > base ?
				(first_byte >> m->shift) - base : 0;
	struct cbt_run run = cbt_next_run(from, CBT_PAGE_BITS, skip);

	for (; run.start < run.end;
	     run = cbt_next_run(from, CBT_PAGE_BITS, run.end)) {
		struct cbt_run at = { base + run.start, base + run.end };

		at = convert(at, m->shift, shift);
		if (at.start >= first + bits)
			return;
		at.start = at.start > first ? at.start - first : 0;
		at.end = at.end > first ? at.end - first : 0;
		cbt_set_bits(words, at.start, at.end < bits ? at.end : bits);
	}
}

void cbt_image_or_into(const struct cbt_image *m, uint64_t first_byte,
		       uint64_t *words, uint64_t bits, uint32_t shift)
{
	uint64_t end_byte = first_byte + (bits << shift);
	size_t page = (size_t)((first_byte >> m->shift) / CBT_PAGE_BITS);
	size_t last = (size_t)(((end_byte - 1) >> m->shift) / CBT_PAGE_BITS);
	uint64_t first = first_byte >> shift;

	for (; page <= last && page < m->page_count; page++) {
		if (!m->pages[page])
			continue;
		if (m->shift == shift && !(first % CBT_PAGE_BITS) &&
		    bits <= CBT_PAGE_BITS)
			for (size_t i = 0; i < (bits + 63) / 64; i++)
				words[i] |= m->pages[page]->words[i];
		else
			or_page_into(m, page, first_byte, words, bits, shift);
	}
}

uint64_t cbt_image_count(const struct cbt_image *m)
{
	uint64_t count = 0;

	for (size_t i = 0; i < m->page_count; i++)
		for (size_t w = 0; m->pages[i] && w < CBT_PAGE_WORDS; w++)
			count += (unsigned int)
				__builtin_popcountll(m->pages[i]->words[w]);
	return count;
}
