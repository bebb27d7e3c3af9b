/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two bitmaps of one guest, KVM's of its vCPUs and vhost's of a network card,
 * as one table of what to send. Clean pages that are cheaper to send along than
 * to leave out are in it: see tide_gap_pages.
 *
 *	cc scan.c $(pkg-config --cflags --libs tidemark) && ./a.out
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <tidemark/ranges.h>

#define PAGES 100000u
#define WORDS ((PAGES + 63) / 64)

int main(void)
{
	static uint64_t vcpus[WORDS], network[WORDS];
	struct tide_scan_options options = {
		.a = vcpus, .a_pages = PAGES, .b = network, .b_pages = PAGES,
		/* A range costs 10 us to handle, the wire moves 1 GB/s. */
		.gap_pages = tide_gap_pages(10000, 1000000000, TIDE_PAGE_BYTES),
	};
	struct tide_ranges table = { 0 };
	struct tide_scan *scan;
	struct tide_error err;
	uint64_t pages = 0;

	if (tide_bitmap_find(vcpus, PAGES, 0) < PAGES)
		return 1;		/* nothing was written yet */
	tide_bitmap_fill(vcpus, 1000, 500);
	tide_bitmap_fill(vcpus, 99990, 10);
	tide_bitmap_fill(network, 1400, 200);
	tide_bitmap_fill(network, 50000, 1);
	tide_bitmap_fill(network, 50000 + 1 + options.gap_pages, 1);

	if (tide_scan_create(&scan, &options, &err) ||
	    tide_ranges_add_scan(&table, scan, 1000, &err)) {
		fprintf(stderr, "scan: %s\n", err.text);
		return 1;
	}
	for (size_t i = 0; i < table.count; i++) {
		printf("%" PRIu64 " pages from %" PRIu64 "\n",
		       table.range[i].count, table.range[i].first);
		pages += table.range[i].count;
	}
	tide_scan_destroy(scan);

	/* More than are dirty, by the one gap that was small enough. */
	tide_bitmap_union(vcpus, network, PAGES);
	printf("%zu ranges, %" PRIu64 " pages, %s\n", table.count, pages,
	       tide_isa_name());
	pages -= tide_bitmap_count(vcpus, PAGES) + options.gap_pages;
	tide_ranges_fini(&table);
	return pages ? 1 : 0;
}
