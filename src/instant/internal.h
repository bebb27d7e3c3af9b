/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instant from the inside.
 *
 * Two bits a block in words, 32 blocks each (shared.h); they change by compare
 * and swap:
 *
 *   needed -> kept   by a change, after the copy (block lock held)
 *   needed -> free   by a pass
 *   free   -> gone   by a change, before it goes down
 *   kept   -> gone   by a pass; then its place in the scratch is given back
 *
 * A change makes the states of its blocks kept or gone before it goes to the
 * disk below. So who reads an old block from the disk looks at its state again
 * afterwards: if it is still needed or free, no change had gone down when the
 * read was done, and what was read is old. The same with the scratch, which is
 * given back only after the state is gone. (Both sides sequentially
 * consistent.)
 *
 * Locks: the layer's list, for reading while a change is prepared, for writing
 * while an instant comes or goes; below it one of the block locks, so that a
 * block is copied once.
 */
#ifndef TIDE_INSTANT_INTERNAL_H
#define TIDE_INSTANT_INTERNAL_H

#include <pthread.h>

#include "instant/instant.h"
#include "instant/shared.h"

#define INSTANT_LOCKS 64u

enum instant_block {
	INSTANT_NEEDED = 0,
	INSTANT_FREE = 1,
	INSTANT_KEPT = 2,
	INSTANT_GONE = 3
};

struct layer {
	struct tide_disk disk;
	struct tide_disk *below;
	pthread_rwlock_t list_lock;
	struct instant *instants; /* the ones that are started */
	uint32_t count; /* atomic */
};

struct instant {
	struct tide_disk disk;
	struct layer *layer;
	struct instant *next;
	uint32_t shift;
	uint64_t blocks;
	struct instant_shared *shared; /* states, and whether it is dead */
	int shared_fd; /* -1: it cannot be shared */
	int scratch;
	uint64_t bound_bytes;
	uint64_t kept_bytes, max_kept_bytes, copies; /* atomic */
	bool started, ended;
	pthread_mutex_t reason_lock;
	char reason[200];
	pthread_mutex_t locks[INSTANT_LOCKS];
};

static inline struct layer *layer_of(struct tide_disk *d)
{
	return (struct layer *)d;
}

/* blocks.c */
enum instant_block instant_get(const struct instant *i, uint64_t block);
/* False: it was not @from. */
bool instant_set(struct instant *i, uint64_t block, enum instant_block from,
		 enum instant_block to);

/* keep.c: the list lock is held for reading. */
/* Nothing has to be copied for it, and that is noted; false: it has. */
bool instant_is_cheap(struct instant *i, uint64_t offset, uint64_t length);
void instant_keep(struct instant *i, uint64_t offset, uint64_t length);
void instant_die(struct instant *i, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* instant.c: of the view; ends it, and frees it. */
int instant_close(struct tide_disk *d, struct tide_error *err);

/* view.c */
extern const struct tide_disk_ops tide__instant_ops;

#endif
