/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instant: what a disk held at one moment, which can be read while the disk
 * goes on. Copy before write: the first change of a block after the moment
 * waits until its old content is in a scratch file; nothing else waits.
 *
 * A layer stands above a disk and is one itself; any number of instants may be
 * on it at once. Without one it costs a load; a change outside of what an
 * instant needs costs a look at two bits a block. Each block of an instant is
 *
 *   needed   as it was, and to be kept before it changes
 *   free     as it was, and need not be kept: passed over by its reader, or
 *            outside of what was asked for
 *   kept     in the scratch file
 *   gone     it changed, and was not kept: reading it is an error
 *
 * The scratch file has a bound. Where it ends, or cannot be written, or the old
 * content cannot be read, the instant dies, with the reason, and the change
 * goes on: the guest does not notice.
 *
 * Memory: two bits a block, taken when the instant is prepared.
 */
#ifndef TIDE_INSTANT_INSTANT_H
#define TIDE_INSTANT_INSTANT_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"

struct instant;

/*
 * instant_layer_create: @below is the layer's from here on, and is closed with
 * it. Instants must be gone before. -ENOMEM: @below stays the caller's.
 */
int instant_layer_create(struct tide_disk *below, struct tide_disk **out,
			 struct tide_error *err);

struct instant_options {
	const char *folder; /* for the scratch file */
	uint64_t bound_bytes; /* of it */
	uint32_t shift; /* of a block; 0: 64 KiB */
};

/*
 * instant_prepare: everything that can fail. @layer is one of
 * instant_layer_create. Nothing is kept yet. -ENOMEM, or why the scratch file
 * cannot be had.
 */
int instant_prepare(struct tide_disk *layer,
		    const struct instant_options *options,
		    struct instant **out, struct tide_error *err);
/* Of one that was prepared and will not be started. */
void instant_drop(struct instant *i);

/*
 * instant_start: this is the moment. The caller sees to it that no change of
 * the layer is under way; several disks are one moment if none is of any of
 * them. All blocks are needed. Does not fail, does not block.
 */
void instant_start(struct instant *i);

/* These bytes (whole blocks of them) need not be kept any more. Any thread. */
void instant_pass(struct instant *i, uint64_t offset_bytes,
		  uint64_t length_bytes);

/*
 * What it held, for reading only; after instant_start, until it is closed,
 * which frees the instant. An error of its reads has the reason.
 */
struct tide_disk *instant_disk(struct instant *i);

/*
 * For a reader in another process of this host (peek.h): a descriptor of the
 * disk itself and one of the states, both the caller's to close. -ENOTSUP: the
 * disk is not one file, or its memory cannot be shared.
 */
int instant_offer(struct instant *i, int *disk_fd, int *states_fd);

/* Not needed any more: reads fail from now on, the scratch is given back. */
void instant_end(struct instant *i, const char *reason);

struct instant_state {
	bool dead;
	char reason[200]; /* "" if it lives */
	uint64_t kept_bytes, max_kept_bytes, bound_bytes;
	uint64_t copies; /* blocks that a change waited for */
};

void instant_state(struct instant *i, struct instant_state *out);

#endif
