/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A source of one's own: a card that logs its DMA in a bitmap, which reading
 * clears. What it wrote comes into the dirty set like what KVM reports, and
 * would into a move (tide_move_guest takes any source).
 *
 *	cc source.c $(pkg-config --cflags --libs tidemark) && ./a.out
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tidemark/ranges.h>
#include <tidemark/source_driver.h>

#define PAGES 1024u

struct card {
	unsigned char *memory;
	uint64_t log[PAGES / 64];
};

static void dma(struct card *c, uint64_t page)
{
	memset(c->memory + page * TIDE_PAGE_BYTES, 1, TIDE_PAGE_BYTES);
	__atomic_fetch_or(&c->log[page / 64], 1ull << page % 64,
			  __ATOMIC_RELEASE);	/* after the data */
}

/* It logs always, so that there is nothing to switch on or off. */
static int watch(void *card, const struct tide_slot *slot,
		 struct tide_error *err)
{
	(void)card;
	(void)slot;
	(void)err;
	return 0;
}

/* Read and cleared in one step: a write from here on is in the next one. */
static int harvest(void *card, struct tide_set *set, uint64_t *pages,
		   struct tide_error *err)
{
	struct card *c = card;

	(void)err;
	for (unsigned int i = 0; i < PAGES / 64; i++) {
		uint64_t word = __atomic_exchange_n(&c->log[i], 0,
						    __ATOMIC_ACQUIRE);

		tide_set_merge_bitmap(set, i * 64, &word, 64);
		*pages += tide_bitmap_count(&word, 64);
	}
	return 0;
}

static const struct tide_source_driver driver = {
	.struct_size = sizeof(driver),
	.name = "card",
	.watch = watch,
	.unwatch = watch,
	.harvest = harvest,
};

static void show(const char *what, const struct tide_ranges *r)
{
	printf("%s:", what);
	for (size_t i = 0; i < r->count; i++)
		printf(" %" PRIu64 "+%" PRIu64, r->range[i].first,
		       r->range[i].count);
	printf("\n");
}

int main(void)
{
	struct card card = {
		.memory = aligned_alloc(TIDE_PAGE_BYTES,
					PAGES * (size_t)TIDE_PAGE_BYTES) };
	const struct tide_slot slot = { .len_bytes = PAGES * TIDE_PAGE_BYTES,
					.host = card.memory };
	struct tide_ranges taken = { 0 }, left = { 0 };
	struct tide_source_stats stats;
	struct tide_source *source;
	struct tide_slots *slots;
	struct tide_epoch *epoch;
	struct tide_error err;
	struct tide_set *set;

	if (tide_slots_create(&slots, &err) ||
	    tide_slots_insert(slots, &slot, &err) ||
	    tide_set_create(&set, PAGES, &err) ||
	    tide_source_create_driver(&source, &driver, &card, &err) ||
	    tide_source_start(source, slots, &err))
		return 1;
	dma(&card, 5);
	dma(&card, 6);
	dma(&card, 700);
	/* Harvest, cut, and for each range rearm, then read. */
	if (tide_source_harvest(source, set, &err) ||
	    tide_set_cut(set, &epoch, &err) ||
	    tide_ranges_add_epoch(&taken, epoch, 100, &err))
		return 1;
	for (size_t i = 0; i < taken.count; i++)
		if (tide_source_rearm(source, taken.range[i].first,
				      taken.range[i].count, &err))
			return 1;
	dma(&card, 7);
	if (tide_source_harvest(source, set, &err) ||
	    tide_ranges_add_set(&left, set, 100, &err))
		return 1;
	tide_epoch_commit(epoch);
	show("taken", &taken);
	show("written since", &left);
	tide_source_get_stats(source, &stats);
	printf("%" PRIu64 " pages in %" PRIu64 " harvests\n", stats.pages,
	       stats.harvests);
	tide_ranges_fini(&taken);
	tide_ranges_fini(&left);
	tide_source_destroy(source);
	tide_set_destroy(set);
	tide_slots_destroy(slots);
	free(card.memory);
	return stats.pages == 4 && stats.harvests == 2 ? 0 : 1;
}
