/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cut, and reading what it took, by several threads of the caller's: for
 * guests so large that one thread would take too long. The other side tells
 * what it has piece by piece; then the wire breaks, and what it has not is
 * dirty again.
 *
 *	cc parts.c $(pkg-config --cflags --libs tidemark) -pthread && ./a.out
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <tidemark/dirty.h>

#define PARTS 4u
#define PAGES (1ull << 40 >> 12)	/* a terabyte of guest */

struct part {
	pthread_t thread;
	struct tide_set *set;
	struct tide_epoch *epoch;	/* NULL: cut, else read */
	unsigned int number;
	uint64_t pages, ranges;
};

static void *work(void *opaque)
{
	struct part *p = opaque;
	struct tide_range r[64];
	uint64_t cursor = 0;
	size_t n;

	if (!p->epoch) {
		tide_set_cut_part(p->set, p->number, PARTS);
		return NULL;
	}
	while ((n = tide_epoch_next_part(p->epoch, p->number, PARTS, &cursor, r,
					 64)))
		for (size_t i = 0; i < n; i++, p->ranges++)
			p->pages += r[i].count;
	return NULL;
}

static void together(struct part *p, struct tide_epoch *epoch)
{
	for (unsigned int i = 0; i < PARTS; i++) {
		p[i].epoch = epoch;
		if (pthread_create(&p[i].thread, NULL, work, &p[i]))
			abort();
	}
	for (unsigned int i = 0; i < PARTS; i++)
		pthread_join(p[i].thread, NULL);
}

int main(void)
{
	struct part part[PARTS] = { 0 };
	uint64_t pages = 0, ranges = 0, expected = 0, bits;
	struct tide_epoch *epoch;
	struct tide_error err;
	struct tide_set *set;

	if (tide_set_create(&set, PAGES, &err))
		return 1;
	/* For a sandbox that forbids membarrier(2); others leave it out. */
	tide_set_use_fences(set);
	for (uint64_t p = 0; p < PAGES; p += 99991, expected += 7)
		tide_set_mark_range(set, p, 7);
	for (unsigned int i = 0; i < PARTS; i++) {
		part[i].set = set;
		part[i].number = i;
	}
	if (tide_set_cut_begin(set, &err))
		return 1;
	together(part, NULL);
	tide_set_cut_finish(set, &epoch);
	together(part, epoch);
	for (unsigned int i = 0; i < PARTS; i++) {
		printf("part %u: %" PRIu64 " ranges\n", i, part[i].ranges);
		pages += part[i].pages;
		ranges += part[i].ranges;
	}
	printf("%" PRIu64 " pages in %" PRIu64 " ranges\n", pages, ranges);

	tide_epoch_ack(epoch, 0, PAGES / 2);	/* it has the first half */
	tide_epoch_rollback(epoch);
	tide_set_export_bitmap(set, 0, 64, &bits);
	pages -= expected;
	if (bits || tide_set_is_dirty(set, 0) ||
	    !tide_set_is_dirty(set, (PAGES - 1) / 99991 * 99991))
		pages = 1;
	printf("%" PRIu64 " are dirty again\n", tide_set_count(set));
	tide_set_destroy(set);
	return pages ? 1 : 0;
}
