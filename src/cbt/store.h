/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store: a file in which a new state never overwrites the one before
 * (docs/format-store.md). A commit writes what changed into free blocks, then
 * a catalog, then a superblock that points to it; wherever it is interrupted,
 * the file still has the old state.
 *
 * The list of free blocks is not stored: a block is free if the catalog does
 * not lead to it.
 *
 * Single-owner, under the tracker's lock; intents have a lock of their own.
 */
#ifndef TIDE_CBT_STORE_H
#define TIDE_CBT_STORE_H

#include "cbt/catalog.h"

#define CBT_BLOCK_BYTES 4096u
#define CBT_INTENT_BLOCK 2u
#define CBT_INTENT_BLOCKS 8u
#define CBT_HEAP_BLOCK 10u

enum cbt_durability { CBT_PROCESS = 1, CBT_POWER = 2 };

/* What the superblock says beside where the catalog is. */
struct cbt_super {
	bool open;
	enum cbt_durability durability;
	uint8_t uuid[16];
	uint8_t boot[16]; /* of the host that opened it */
	bool lost;
	char why[256];
};

struct cbt_store {
	int fd;
	char *path; /* owned */
	uint64_t sequence;
	struct cbt_super super;
	uint64_t catalog_block, catalog_bytes, catalog_checksum;
	uint64_t *used; /* a bit a block */
	uint64_t blocks, hint;
	uint64_t file_blocks; /* that were written to, be it zeroes */
};

/*
 * cbt_store_open: the store at @path, made with @fresh if nothing is there
 * (*made). 0; -EBUSY: another process has it; -EINVAL: it is no store, or
 * damaged: *catalog stays as it was; what the system says. Errors name the
 * file.
 */
int cbt_store_open(const char *path, const struct cbt_catalog *fresh,
		   bool *made, struct cbt_store *out,
		   struct cbt_catalog *catalog, struct tide_error *err);
void cbt_store_close(struct cbt_store *s);
/* Which blocks are in use, by what @c leads to. 0, -ENOMEM. */
int cbt_store_count(struct cbt_store *s, struct cbt_catalog *c);

/*
 * cbt_store_commit: @c becomes what the store says, with s->super. @sync: it is
 * durable when this returns. An error: the store says what it said before.
 */
int cbt_store_commit(struct cbt_store *s, struct cbt_catalog *c, bool sync,
		     struct tide_error *err);
/* The superblock again, with s->super and the catalog that it has. */
int cbt_store_put_super(struct cbt_store *s, bool sync,
			struct tide_error *err);

/* intents.c: the ring. read: -ENOENT if there is none of this store. */
int cbt_intents_write(struct cbt_store *s, uint64_t sequence,
		      uint32_t region_shift, const uint64_t *regions,
		      uint32_t count);
#define CBT_MAX_REGIONS 500u
int cbt_intents_read(struct cbt_store *s, uint64_t *sequence,
		     uint32_t *region_shift, uint64_t *regions,
		     uint32_t *count);

/* Whole reads and writes. 0 or -errno; past the end is -EIO. */
int cbt_store_read(struct cbt_store *s, uint64_t block, void *to,
		   size_t bytes);
int cbt_store_write(struct cbt_store *s, uint64_t block, const void *from,
		    size_t bytes);

#endif
