/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The catalog: everything known about a disk's changes except the bits being
 * marked right now. One catalog is what the store's superblock leads to; one
 * is in memory, and is changed there under the tracker's lock before it is
 * written.
 *
 * Reading a catalog trusts nothing: every count and length is checked against
 * the bytes that are there, every image against the size of its disk.
 */
#ifndef TIDE_CBT_CATALOG_H
#define TIDE_CBT_CATALOG_H

#include "cbt/image.h"
#include "tidemark/error.h"

#define CBT_MIN_SHIFT 9u
#define CBT_MAX_SHIFT 31u
#define CBT_USUAL_SHIFT 16u
#define CBT_MAX_POINTS 4096u
#define CBT_LONGEST_NAME 1023u
#define CBT_MAX_SAMPLES 64u
#define CBT_NO_EPOCH UINT64_MAX

enum cbt_kind { CBT_CHECKPOINT = 1, CBT_BITMAP = 2 };
enum cbt_state {
	CBT_RECORDING = 1,
	CBT_DISABLED = 2,
	CBT_INCONSISTENT = 3 /* what changed is not known; `reason` says why */
};

struct cbt_sample {
	uint64_t offset_bytes, checksum;
};

/* The disk as it was when nobody served it any more. */
struct cbt_identity {
	uint64_t device, inode, size_bytes;
	uint64_t mtime_s, ctime_s;
	uint32_t mtime_ns, ctime_ns;
	uint32_t count;
	struct cbt_sample samples[CBT_MAX_SAMPLES];
};

struct cbt_delta {
	uint64_t first, last; /* epochs, both inside */
	struct cbt_image image;
};

struct cbt_point {
	enum cbt_kind kind;
	enum cbt_state state;
	bool pending; /* a checkpoint that was begun and not committed */
	bool making; /* of a group: not every store is known to have it */
	uint32_t shift; /* what it is answered at */
	/* It has what was marked since this epoch began; or CBT_NO_EPOCH. */
	uint64_t epoch;
	uint64_t created_s;
	uint8_t uuid[16], parent[16], group[16];
	char *name;
	char *reason; /* NULL: none */
	struct cbt_image own; /* a bitmap's bits from before */
};

struct cbt_catalog {
	uint64_t size_bytes;
	uint64_t epoch; /* which runs */
	uint32_t shift, usual_shift, region_shift;
	uint64_t safety_blocks; /* dirty only because power was lost */
	struct cbt_identity identity;
	struct cbt_image saved; /* live bits that the store has */
	struct cbt_delta *deltas; /* ascending, none missing between */
	size_t delta_count;
	struct cbt_point **points;
	size_t point_count;
};

/* Of a disk that nobody has tracked yet. */
int cbt_catalog_init(struct cbt_catalog *c, uint64_t size_bytes,
		     uint32_t shift);
void cbt_catalog_fini(struct cbt_catalog *c);

/* malloc'd bytes; NULL: no memory. */
uint8_t *cbt_catalog_encode(const struct cbt_catalog *c, size_t *bytes);
/*
 * Into *@c, which is empty. The images know where their page tables are and how
 * many pages each has (page_count of `counts`), in the order that
 * cbt_catalog_images gives. 0, -EINVAL (and why), -ENOMEM.
 */
int cbt_catalog_decode(struct cbt_catalog *c, const uint8_t *bytes,
		       size_t length, struct tide_error *err);

/* Calls for every image, in one order; stops at the first that is not 0. */
int cbt_catalog_images(struct cbt_catalog *c,
		       int (*call)(void *opaque, struct cbt_image *m),
		       void *opaque);

struct cbt_point *cbt_catalog_find(const struct cbt_catalog *c,
				   const char *name);
/* A new point at the end of the list; NULL: no memory. */
struct cbt_point *cbt_catalog_add(struct cbt_catalog *c, enum cbt_kind kind,
				  const char *name);
void cbt_point_destroy(struct cbt_point *p);
/* Takes it out of the list; it is the caller's. */
void cbt_catalog_take(struct cbt_catalog *c, struct cbt_point *p);

#endif
