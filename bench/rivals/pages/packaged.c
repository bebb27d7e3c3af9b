/* SPDX-License-Identifier: BSD-2-Clause */
/* CRoaring and Judy1, as their packages have them. */
#include "pages.h"

#include <stdlib.h>

#ifdef TIDE_HAVE_ROARING
#include <roaring/roaring.h>

static void *roaring_new(uint64_t pages)
{
	(void)pages;
	return roaring_bitmap_create();
}

static void roaring_gone(void *r)
{
	roaring_bitmap_free(r);
}

static void roaring_empty(void *r)
{
	roaring_bitmap_clear(r);
}

static void roaring_mark(void *r, const uint32_t *page, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		roaring_bitmap_add(r, page[i]);
}

static struct bench_found roaring_compact(void *r)
{
	struct pages_run run = { .count = 0 };
	roaring_uint32_iterator_t it;
	uint32_t batch[1024], n;

	roaring_init_iterator(r, &it);
	while ((n = roaring_read_uint32_iterator(&it, batch, 1024)))
		for (uint32_t i = 0; i < n; i++)
			pages_run_add(&run, batch[i]);
	return pages_run_end(&run);
}

static size_t roaring_size(const void *r)
{
	return roaring_bitmap_portable_size_in_bytes(r);
}

const struct pages_rival pages_roaring = { "CRoaring", roaring_new,
					   roaring_gone, roaring_empty,
					   roaring_mark, roaring_compact,
					   roaring_size };
#else
const struct pages_rival pages_roaring;
#endif

#ifdef TIDE_HAVE_JUDY
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wconversion"
#include <Judy.h>

static void *judy_new(uint64_t pages)
{
	(void)pages;
	return calloc(1, sizeof(Pvoid_t));
}

static void judy_empty(void *r)
{
	Judy1FreeArray(r, PJE0);
}

static void judy_gone(void *r)
{
	judy_empty(r);
	free(r);
}

static void judy_mark(void *r, const uint32_t *page, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		Judy1Set(r, page[i], PJE0);
}

static struct bench_found judy_compact(void *r)
{
	struct pages_run run = { .count = 0 };
	Pvoid_t array = *(Pvoid_t *)r;
	Word_t page = 0;

	for (int more = Judy1First(array, &page, PJE0); more;
	     more = Judy1Next(array, &page, PJE0))
		pages_run_add(&run, page);
	return pages_run_end(&run);
}

static size_t judy_size(const void *r)
{
	return Judy1MemUsed(*(Pcvoid_t const *)r);
}

const struct pages_rival pages_judy = { "Judy1", judy_new, judy_gone,
					judy_empty, judy_mark, judy_compact,
					judy_size };
#else
const struct pages_rival pages_judy;
#endif
