/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Offline operations on qcow2 images: create, check, repair, and the map of
 * their metadata, for embedders with a qcow2 driver of their own. To read and
 * write an image, open it as a disk (tidemark/disk.h).
 *
 * Every call opens the file and closes it again, blocks, allocates, and may be
 * made from any thread. Files may be damaged or hostile: time, memory and the
 * number of messages are bounded by the size of the file, and the names of
 * other files in it are not followed. Messages may contain text from the image:
 * escape them for display.
 */
#ifndef TIDEMARK_QCOW2_H
#define TIDEMARK_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"
#include "tidemark/kinds.h"

#ifdef __cplusplus
extern "C" {
#endif

/* @size is sizeof the struct; 0: that of version 0.1. */
struct tide_qcow2_create_options {
	size_t size;
	uint64_t disk_bytes;
	uint32_t cluster_bits; /* log2 of bytes, 9 to 21; 0: 16 */
	uint32_t version; /* 2 or 3; 0: 3 */
	uint32_t refcount_bits; /* 1, 2, 4, ... 64; 0: 16 */
	bool extended_l2; /* version 3, clusters of 16 KiB or more */
	bool zstd; /* for clusters compressed later; version 3 */
	const char *backing_name; /* NULL: none */
	const char *backing_format; /* NULL: not recorded */
	const char *data_file; /* NULL: guest data is in the image */
};

/*
 * tide_qcow2_create: a new image at @path, which must not exist, durable when
 * the call returns. 0; -EEXIST, -EINVAL (options that exclude each other, that
 * the format does not allow, or that are unknown), -EFBIG, or an error of
 * writing; on failure no file is left. A data file is created, or must be as
 * long as the disk.
 */
int tide_qcow2_create(const char *path,
		      const struct tide_qcow2_create_options *options,
		      struct tide_error *err);

enum tide_qcow2_problem_type {
	TIDE_QCOW2_REFCOUNT, /* too low: data will be overwritten */
	TIDE_QCOW2_LEAK, /* too high: space is wasted */
	TIDE_QCOW2_OVERLAP,
	TIDE_QCOW2_REFERENCE, /* to nowhere, or with reserved bits set */
	TIDE_QCOW2_COPIED, /* the flag is wrong */
	TIDE_QCOW2_NOTE, /* no inconsistency, but worth knowing */
	TIDE_QCOW2_PROBLEM_TYPES
};

struct tide_qcow2_problem {
	enum tide_qcow2_problem_type type;
	uint64_t offset_bytes; /* in the file, of the problem */
	const char *text; /* borrowed for the call */
};

/*
 * The result of a check: filled up to @size, which the caller sets; 0: as
 * above.
 */
struct tide_qcow2_verdict {
	size_t size;
	uint64_t found[8]; /* by type; including those not reported */
	uint64_t corruptions; /* the sum without leaks and notes */
	uint64_t clusters; /* of the file */
	uint64_t used_clusters; /* referred to */
	uint64_t guest_clusters; /* of the disk; of these: */
	uint64_t data_clusters; /* stored as they are */
	uint64_t packed_clusters; /* compressed */
	uint64_t zero_clusters; /* marked as zeroes */
};

enum {
	/* check, kinds: even if in use by a writer; may be wrong then */
	TIDE_QCOW2_FORCE_SHARE = 1,
	/* repair: discard data that can no longer be reached */
	TIDE_QCOW2_ACCEPT_LOSS = 2
};

/*
 * tide_qcow2_check: is the image consistent? Read-only. @each (NULL is fine) is
 * called for each problem, at most 200 times a type. 0 if it could be checked,
 * whatever was found: see *verdict. -EBUSY: in use by a writer; -EINVAL: not a
 * qcow2 image, or unknown flags; errors of opening and reading.
 */
int tide_qcow2_check(const char *path, uint32_t flags,
		     void (*each)(void *opaque,
				  const struct tide_qcow2_problem *problem),
		     void *opaque, struct tide_qcow2_verdict *verdict,
		     struct tide_error *err);

/*
 * tide_qcow2_repair: make it consistent without touching guest data. No write
 * leaves it worse than before. @done (NULL is fine) is called for each step,
 * with a sentence. 0 if everything repairable was repaired: check again to see
 * what is left. -EBUSY: in use; -ERANGE: the refcounts are too narrow for the
 * references that exist; errors as of check.
 */
int tide_qcow2_repair(const char *path, uint32_t flags,
		      void (*done)(void *opaque, const char *what),
		      void *opaque, struct tide_error *err);

/*
 * tide_qcow2_kinds: where its metadata is, for a driver of the embedder's,
 * which calls tide_kinds_check before each write to the file and updates the
 * map when it allocates. An L2 table counts once for each L1 table that refers
 * to it. The caller destroys *out. -EINVAL: a damaged reference, which is
 * named; other errors as of check, and -ENOMEM.
 */
int tide_qcow2_kinds(const char *path, uint32_t flags, struct tide_kinds **out,
		     struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
