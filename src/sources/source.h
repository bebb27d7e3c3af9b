/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The internal interface of sources: watched slots, lock, table of operations.
 *
 * source.c holds the lock around harvest and rearm, so these are written for
 * one thread. watch and unwatch may take long and are called without it, one at
 * a time, for a slot that is not in the list: they touch that slot and what
 * never changes. An implementation marks pages in the set itself.
 */
#ifndef TIDE_SOURCES_SOURCE_H
#define TIDE_SOURCES_SOURCE_H

#include <pthread.h>
#include <stdint.h>

#include "tidemark/source.h"

#define TIDE__PAGE_SHIFT 12
#define TIDE__PAGE_BYTES (1ull << TIDE__PAGE_SHIFT)
_Static_assert(TIDE__PAGE_BYTES == TIDE_PAGE_BYTES, "one page for all");

struct tide__watched {
	struct tide_slot slot;
	uint64_t first;		/* page of the set */
	uint64_t pages;
	uint64_t words;
	uint64_t *log;		/* KVM logs: what the last read gave */
	uint64_t *pending;	/* manual log: harvested, not cleared yet */
	struct tide__watched *next;
};

struct tide__source_ops {
	int (*init)(struct tide_source *source, struct tide_error *err);
	void (*fini)(struct tide_source *source);
	/* On failure the slot is not watched. */
	int (*watch)(struct tide_source *source, struct tide__watched *slot,
		     struct tide_error *err);
	int (*harvest)(struct tide_source *source, struct tide_set *set,
		       struct tide_error *err);
	int (*rearm)(struct tide_source *source, struct tide__watched *slot,
		     uint64_t first, uint64_t count, struct tide_error *err);
	int (*unwatch)(struct tide_source *source, struct tide__watched *slot,
		       struct tide_error *err);
};

struct tide_source {
	pthread_mutex_t changes; /* of slots, one at a time; before lock */
	pthread_mutex_t lock;	/* all below but the immutable first three */
	enum tide_source_kind kind;
	const struct tide__source_ops *ops;
	struct tide_source_vm vm;
	struct tide__watched *watched;	/* by guest address */
	/* The same as an array: rearm looks its slots up, unit by unit. */
	struct tide__watched **by_address;
	size_t count, room;
	struct tide_source_stats stats;
	void *impl;		/* the implementation's own */
};

/* A source that is not initialised. -ENOMEM: @impl is still the caller's. */
int tide__source_new(struct tide_source **out, enum tide_source_kind kind,
		     const struct tide__source_ops *ops, void *impl,
		     struct tide_error *err);

/*
 * Of sources that track by page tables, ours or another process's: what was
 * written to each slot, by its @pagemap, is marked. 0, or the first slot's
 * error.
 */
int tide__uffd_harvest(struct tide_source *source, struct tide_set *set,
		       int pagemap, struct tide_error *err);

extern const struct tide__source_ops tide__kvm_log_manual_ops;
extern const struct tide__source_ops tide__kvm_log_legacy_ops;
extern const struct tide__source_ops tide__kvm_ring_ops;
extern const struct tide__source_ops tide__uffd_ops;
extern const struct tide__source_ops tide__foreign_ops;	/* src/attach */

/* Probes, one per kind; what they check stands in their files. */
int tide__probe_log_manual(struct tide_error *err);
int tide__probe_log_legacy(struct tide_error *err);
int tide__probe_ring(struct tide_error *err);
int tide__probe_uffd(struct tide_error *err);
int tide__probe_foreign(struct tide_error *err);

#endif
