/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qcow2 images at rest: create, check, repair, and the map of their metadata
 * for who writes images with a driver of his own. An image that is in use is
 * a disk (tidemark/disk.h).
 *
 * Every call opens the file and closes it again, blocks, allocates, and may be
 * made from any thread. Files may be damaged, or made by a stranger: work,
 * memory and what is said are bounded by the size of the file, and the names of
 * other files in it are not followed. Texts may hold what an image says of
 * itself: show them with care.
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

/* @size is the struct's, as the caller was compiled; 0: as in version 0.1. */
struct tide_qcow2_create_options {
	size_t size;
	uint64_t disk_bytes;
	uint32_t cluster_bits; /* log2 of bytes, 9 to 21; 0: 16 */
	uint32_t version; /* 2 or 3; 0: 3 */
	uint32_t refcount_bits; /* 1, 2, 4, ... 64; 0: 16 */
	bool extended_l2; /* version 3, clusters of 16 KiB or more */
	bool zstd; /* what compresses clusters to come; version 3 */
	const char *backing_name; /* NULL: none */
	const char *backing_format; /* NULL: not said */
	const char *data_file; /* NULL: guest data is in the image */
};

/*
 * tide_qcow2_create: a new image at @path, which must not exist, durable when
 * the call returns. 0; -EEXIST, -EINVAL (options that exclude each other, that
 * the format does not allow, or that are not known here), -EFBIG, or what
 * writing said: then no file is left. A data file is created, or must be as
 * long as the disk.
 */
int tide_qcow2_create(const char *path,
		      const struct tide_qcow2_create_options *options,
		      struct tide_error *err);

enum tide_qcow2_problem_type {
	TIDE_QCOW2_REFCOUNT, /* too low: data will be overwritten */
	TIDE_QCOW2_LEAK, /* too high: space is wasted, nothing else */
	TIDE_QCOW2_OVERLAP,
	TIDE_QCOW2_REFERENCE, /* leads nowhere, or reserved bits */
	TIDE_QCOW2_COPIED, /* the flag is wrong */
	TIDE_QCOW2_NOTE, /* no inconsistency, but worth saying */
	TIDE_QCOW2_PROBLEM_TYPES
};

struct tide_qcow2_problem {
	enum tide_qcow2_problem_type type;
	uint64_t offset_bytes; /* of what is wrong, in the file */
	const char *text; /* borrowed for the call */
};

/*
 * What a check found: filled up to @size, which the caller sets; 0: as above.
 */
struct tide_qcow2_verdict {
	size_t size;
	uint64_t found[8]; /* by type; all of them, however few were said */
	uint64_t corruptions; /* the sum without leaks and notes */
	uint64_t clusters; /* of the file */
	uint64_t used_clusters; /* that are referred to */
	uint64_t guest_clusters; /* of the disk, of which there are: */
	uint64_t data_clusters; /* in clusters of their own, */
	uint64_t packed_clusters; /* compressed, */
	uint64_t zero_clusters; /* marked as zeroes */
};

enum {
	/*
	 * check, kinds: also while a writer has it; what is said may be wrong
	 */
	TIDE_QCOW2_FORCE_SHARE = 1,
	/* repair: give up what can no longer be reached */
	TIDE_QCOW2_ACCEPT_LOSS = 2
};

/*
 * tide_qcow2_check: is the image consistent? Reads only. @each (NULL is fine)
 * is told of problems, of each type no more than 200. 0 if it could be checked,
 * whatever was found: see *verdict. -EBUSY: a writer has it; -EINVAL: no qcow2
 * image, or flags that are not known; what opening and reading said.
 */
int tide_qcow2_check(const char *path, uint32_t flags,
		     void (*each)(void *opaque,
				  const struct tide_qcow2_problem *problem),
		     void *opaque, struct tide_qcow2_verdict *verdict,
		     struct tide_error *err);

/*
 * tide_qcow2_repair: make it consistent without touching what the guest
 * stored. Each write leaves it no worse than before. @done (NULL is fine) is
 * told of each step, as a sentence. 0 if all that can be repaired was: check
 * again to know what is left. -EBUSY: somebody has it open; -ERANGE: the
 * refcounts are too narrow for the references there are; errors as of check.
 */
int tide_qcow2_repair(const char *path, uint32_t flags,
		      void (*done)(void *opaque, const char *what),
		      void *opaque, struct tide_error *err);

/*
 * tide_qcow2_kinds: where its metadata lies, for a driver of one's own: it asks
 * tide_kinds_check before each write into the file, and keeps the map up to
 * date with what it allocates. An L2 table is in it as often as L1 tables
 * refer to it. The caller destroys *out. -EINVAL: a damaged reference, named;
 * other errors as of check, and -ENOMEM.
 */
int tide_qcow2_kinds(const char *path, uint32_t flags, struct tide_kinds **out,
		     struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
