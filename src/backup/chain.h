/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A point as a disk: its image on those below it, and what every chunk of it
 * must be. The digests are walked in the order of the disk, newest first, so
 * memory does not grow with the disk. One thread for digests; the disk's own
 * rules for the disk.
 */
#ifndef TIDE_BACKUP_CHAIN_H
#define TIDE_BACKUP_CHAIN_H

#include "backup/folder.h"
#include "transfer/pump.h"
#include "disk/disk.h"

struct backup_chain {
	const struct backup_folder *folder;
	const struct backup_point *point;
	struct tide_disk *disk;
	struct digests_reader *layers; /* the point's own first */
	size_t count;
	bool alone;
};

/* -EBADMSG: an image or digests are missing or damaged, and which. */
int chain_open(const struct backup_folder *f, const struct backup_point *p,
	       struct backup_chain *c, struct tide_error *err);
/* What the point's own image says, without those below. */
int chain_open_layer(const struct backup_folder *f,
		     const struct backup_point *p, struct backup_chain *c,
		     struct tide_error *err);
/*
 * With the digests of those above point @stop only (0: all); all of the disk.
 */
int chain_open_until(const struct backup_folder *f,
		     const struct backup_point *p, uint64_t stop,
		     struct backup_chain *c, struct tide_error *err);
void chain_close(struct backup_chain *c);

/*
 * What chunk @chunk is: zero, or data with that digest. Ascending. *layer:
 * which says so; count if none does, and it is zero.
 */
int chain_expect(struct backup_chain *c, uint64_t chunk,
		 struct chunk_entry *out, size_t *layer,
		 struct tide_error *err);
/* The first chunk from @chunk on of which a layer says anything; or the end. */
int chain_next_listed(struct backup_chain *c, uint64_t *chunk,
		      struct tide_error *err);

/*
 * The next piece from *at on, which moves on: data with what each of its chunks
 * must be (also zeroes that are said), or zeroes of which nothing is said. 1;
 * 0: the end.
 */
int chain_take(struct backup_chain *c, uint64_t *at, struct piece *p,
	       struct tide_error *err);
/* Is @buf what piece @p of data must be? -EBADMSG, as chain_differs. */
int chain_check(const struct backup_chain *c, const struct piece *p,
		const uint8_t *buf, const char *where, struct tide_error *err);

/* A chunk is not what it must be: -EBADMSG, with its offset and the point. */
int chain_differs(const struct backup_chain *c, const char *where,
		  uint64_t chunk, struct tide_error *err);

#endif
