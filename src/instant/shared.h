/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The states of an instant's blocks in memory that another process may read, so
 * that a reader on this host can read the disk itself: it reads, and then looks
 * whether what it read had changed by then (internal.h has the argument, which
 * holds between processes as between threads: the states are the same memory).
 *
 *   offset  bytes
 *   0       8     magic, "TIDESTAT"
 *   8       4     version, 1
 *   12      4     shift of a block
 *   16      8     size of the disk in bytes
 *   24      4     1: the instant is dead, and no block says anything any more
 *   4096          states, words of 32 blocks, the lowest bits first
 *
 * Numbers are the processor's own. The memory cannot become shorter, and only
 * the server can write to it (seals); a kernel without seals that forbid later
 * mappings gives memory that is not shared.
 */
#ifndef TIDE_INSTANT_SHARED_H
#define TIDE_INSTANT_SHARED_H

#include <stdint.h>

#include "tidemark/error.h"

#define INSTANT_MAGIC "TIDESTAT"
#define INSTANT_VERSION 1u
#define INSTANT_BLOCKS_A_WORD 32u
/* The upper bit of every block: it is not on the disk below any more. */
#define INSTANT_CHANGED UINT64_C(0xaaaaaaaaaaaaaaaa)
#define INSTANT_HEAD_BYTES 4096u

struct instant_shared {
	char magic[8];
	uint32_t version, shift;
	uint64_t size_bytes;
	uint32_t dead; /* atomic */
	uint8_t zero[INSTANT_HEAD_BYTES - 28];
	uint64_t states[]; /* atomic */
};

static inline uint64_t instant_shared_bytes(uint64_t size_bytes,
					    uint32_t shift)
{
	uint64_t blocks = (size_bytes >> shift) +
			  ((size_bytes & ((UINT64_C(1) << shift) - 1)) != 0);

	return sizeof(struct instant_shared) +
	       (blocks / INSTANT_BLOCKS_A_WORD + 1) * sizeof(uint64_t);
}

/*
 * Zeroed but for the header. *fd: to hand out, -1 where memory cannot be
 * shared. NULL: no memory.
 */
struct instant_shared *instant_shared_create(uint64_t size_bytes,
					     uint32_t shift, int *fd);
void instant_shared_free(struct instant_shared *s, int fd);

/* The first block from @from on, before @end, that is not on the disk below. */
uint64_t instant_shared_next_changed(const struct instant_shared *s,
				     uint64_t from, uint64_t end);

#endif
