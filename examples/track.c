/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty set in one page: writers mark, a taker cuts, reads the epoch as
 * ranges, ships them, and commits - or rolls back when shipping failed.
 *
 *	cc track.c $(pkg-config --cflags --libs tidemark) && ./a.out
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include <tidemark/dirty.h>

#define GUEST_PAGES (64ull << 30 >> 12)	/* 64 GiB of guest, 4 KiB pages */

/* Stands for the wire: true once the receiver has the range for good. */
static bool ship(const struct tide_range *range, bool wire_works)
{
	printf("  pages %" PRIu64 " to %" PRIu64 "%s\n", range->first,
	       range->first + range->count, wire_works ? "" : ": wire is cut");
	return wire_works;
}

/* One round. Returns whether the epoch was committed. */
static bool round_of(struct tide_set *set, bool wire_works)
{
	struct tide_range batch[16];
	struct tide_epoch *epoch;
	struct tide_error err;
	uint64_t cursor = 0;
	size_t n;

	if (tide_set_cut(set, &epoch, &err)) {
		fprintf(stderr, "track: %s\n", err.text);
		return false;
	}
	printf("epoch %" PRIu64 ": %" PRIu64 " pages\n",
	       tide_epoch_number(epoch), tide_epoch_count(epoch));
	while ((n = tide_epoch_next(epoch, &cursor, batch, 16)) > 0) {
		for (size_t i = 0; i < n; i++) {
			if (ship(&batch[i], wire_works))
				continue;
			tide_epoch_rollback(epoch);	/* nothing is lost */
			return false;
		}
	}
	tide_epoch_commit(epoch);
	return true;
}

int main(void)
{
	struct tide_error err;
	struct tide_set *set;

	if (tide_set_create(&set, GUEST_PAGES, &err)) {
		fprintf(stderr, "track: %s\n", err.text);
		return 1;
	}
	tide_set_mark(set, 7);
	tide_set_mark_range(set, 1000000, 512);
	bool first = round_of(set, false);

	tide_set_mark(set, 8);		/* joins page 7 in the next epoch */
	bool second = round_of(set, true);
	bool clean = tide_set_count(set) == 0;

	tide_set_destroy(set);
	return !first && second && clean ? 0 : 1;
}
