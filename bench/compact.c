/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench compact: which structure should remember dirty pages? 10,000,000
 * pages; time to read all dirty ones as ranges, without clearing, time to
 * insert them into an empty one, and bytes. Random pages are drawn with
 * replacement, as in the table of 2016; all rivals must give the same ranges.
 */
#include <stdio.h>
#include <string.h>

#include "benches.h"
#include "rivals/pages/pages.h"

#define PAGES UINT64_C(10000000)

static const struct pages_rival *const rivals[] = {
	&pages_tidemark, &pages_list,	  &pages_crude,	  &pages_flat,
	&pages_radix8,	 &pages_radix64,  &pages_radix512, &pages_roaring,
	&pages_judy,	 &pages_radix8_posted,
};
#define RIVALS (sizeof(rivals) / sizeof(*rivals))

struct contender {
	const struct pages_rival *rival;
	void *r;
	size_t bytes;
};

static struct contender contenders[RIVALS];
static size_t count;
static const uint32_t *pages;
static uint64_t dirty;

/*
 * bench_run hands every entry the same world; so each contender has functions
 * of its own, which is what these make.
 */
#define CONTENDER(n)                                                           \
	static void clear_##n(void *world)                                     \
	{                                                                      \
		(void)world;                                                   \
		contenders[n].rival->clear(contenders[n].r);                   \
	}                                                                      \
	static struct bench_found insert_##n(void *world)                      \
	{                                                                      \
		(void)world;                                                   \
		contenders[n].rival->mark(contenders[n].r, pages, dirty);      \
		return (struct bench_found){ 0 };                              \
	}                                                                      \
	static struct bench_found read_##n(void *world)                        \
	{                                                                      \
		(void)world;                                                   \
		return contenders[n].rival->compact(contenders[n].r);          \
	}

CONTENDER(0)
CONTENDER(1)
CONTENDER(2)
CONTENDER(3)
CONTENDER(4)
CONTENDER(5)
CONTENDER(6)
CONTENDER(7)
CONTENDER(8)
CONTENDER(9)

static void (*const clears[])(void *) = { clear_0, clear_1, clear_2, clear_3,
					  clear_4, clear_5, clear_6, clear_7,
					  clear_8, clear_9 };
static struct bench_found (*const inserts[])(void *) = {
	insert_0, insert_1, insert_2, insert_3, insert_4,
	insert_5, insert_6, insert_7, insert_8, insert_9
};
static struct bench_found (*const reads[])(void *) = {
	read_0, read_1, read_2, read_3, read_4, read_5, read_6, read_7, read_8,
	read_9
};

static int open_contenders(void)
{
	count = 0;
	for (size_t i = 0; i < RIVALS; i++) {
		void *r;

		if (!rivals[i]->name)
			continue;
		r = rivals[i]->create(PAGES);
		if (!r)
			return 1;
		contenders[count++] = (struct contender){ rivals[i], r, 0 };
	}
	return 0;
}

static void close_contenders(void)
{
	for (size_t i = 0; i < count; i++)
		contenders[i].rival->destroy(contenders[i].r);
}

static void print_bytes(const struct bench_options *o, const char *row)
{
	for (size_t i = 0; i < count; i++)
		printf(o->json ? "{\"table\":\"compact-bytes\",\"row\":\"%s\","
				 "\"name\":\"%s\",\"bytes\":%zu}\n" :
				 "bytes    %-14s %-26s %11zu\n",
		       row, contenders[i].rival->name, contenders[i].bytes);
}

static void one_row(const struct bench_options *o, const char *row)
{
	struct bench_entry insert[RIVALS], read[RIVALS];

	memset(insert, 0, sizeof(insert));
	memset(read, 0, sizeof(read));
	for (size_t i = 0; i < count; i++) {
		insert[i].name = contenders[i].rival->name;
		insert[i].prepare = clears[i];
		insert[i].run = inserts[i];
		read[i].name = contenders[i].rival->name;
		read[i].run = reads[i];
	}
	bench_run(o, insert, count, NULL);
	for (size_t i = 0; i < count; i++)
		contenders[i].bytes =
			contenders[i].rival->bytes(contenders[i].r);
	bench_run(o, read, count, NULL);
	bench_print(o, "compact", row, read, count, 0, 1e3, "us");
	bench_print(o, "insert", row, insert, count, 0, 1e3, "us");
	print_bytes(o, row);
}

int bench_compact(const struct bench_options *o)
{
	uint64_t max = o->quick ? PAGES / 10 : PAGES, seed = o->seed;
	uint32_t *page = bench_memory(PAGES * sizeof(*page), true);

	pages = page;
	if (open_contenders())
		return 1;
	for (int sequential = 0; sequential < 2; sequential++)
		for (dirty = 100; dirty <= max; dirty *= 10) {
			char row[32];

			for (uint64_t i = 0; i < dirty; i++)
				page[i] = (uint32_t)(sequential ? i :
				    bench_random(&seed) % PAGES);
			snprintf(row, sizeof(row), "%s%llu",
				 sequential ? "seq " : "",
				 (unsigned long long)dirty);
			one_row(o, row);
		}
	close_contenders();
	bench_free(page, PAGES * sizeof(*page));
	return 0;
}
