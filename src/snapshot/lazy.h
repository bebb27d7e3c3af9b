/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lazy restore: a guest runs before its memory is there. Pages that it misses
 * are answered from a chain; between faults the rest is brought in behind its
 * back, first what an earlier run was recorded to touch, in that order.
 *
 * Faults go before prefetching: it is done in pieces of 64 KiB, and after each
 * of them whoever waits is served. What is recorded are faults, never what was
 * prefetched: a run that records holds prefetching back until its faults rest,
 * for else it would be over before the guest touches anything.
 */
#ifndef TIDE_SNAPSHOT_LAZY_H
#define TIDE_SNAPSHOT_LAZY_H

#include "snapshot/chain.h"

#define LAZY_MAX_REGIONS 64

struct lazy_region {
	uint64_t address;	/* in the guest's process */
	uint64_t bytes, offset_bytes;	/* in the memory file */
	uint64_t page_bytes;	/* 4096, or 2 MiB of hugetlbfs */
};

struct lazy_stats {
	uint64_t faults;	/* that somebody waited for */
	uint64_t prefetched_pages;
	uint64_t removed_pages;	/* given back by a balloon */
	uint64_t complete_ns;	/* until nothing was missing; 0: not yet */
};

struct lazy {
	struct snap_chain *chain;
	int uffd;
	int peer;		/* its socket: closed, and it is over */
	struct lazy_region region[LAZY_MAX_REGIONS];
	size_t regions;
	const uint64_t *order;	/* pages to bring in first */
	size_t order_count;
	bool record;		/* the order is wanted: let faults come first */
	/* Filled while it runs: pages in the order of their faults. */
	uint64_t *touched;
	size_t touched_count, touched_room;
	struct lazy_stats stats;
};

/*
 * lazy_accept: what Firecracker says on a connection to its page fault
 * socket: one message, a JSON array of regions, with the userfaultfd. Fills
 * uffd and regions, which must lie in the chain's memory. 0 or -errno.
 */
int lazy_accept(struct lazy *l, int peer, struct tide_error *err);
/*
 * lazy_serve: until the peer hangs up or its process ends. @stop (NULL: never)
 * is asked now and then. 0; -EBADMSG the snapshot is damaged: the guest must
 * not go on with what it would get.
 */
int lazy_serve(struct lazy *l, bool (*stop)(void *opaque), void *opaque,
	       struct tide_error *err);
void lazy_close(struct lazy *l);
/*
 * The next one in `touched`; a hint, which lack of memory may cut short.
 */
void lazy_remember(struct lazy *l, uint64_t page);

/* Recorded orders: 64-bit little-endian page numbers. */
int lazy_order_read(const char *path, uint64_t pages, uint64_t **order,
		    size_t *count, struct tide_error *err);

#endif
