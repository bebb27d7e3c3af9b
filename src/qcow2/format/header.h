/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first cluster of a qcow2 image: header, header extensions, backing name.
 *
 * Format: the qcow2 specification of the QEMU project (docs/interop/qcow2).
 * All integers are big-endian. Parsing works on bytes in memory and trusts
 * none: every field is bounded before it is used, and the error names the
 * field, its offset in the file and its value.
 */
#ifndef TIDE_QCOW2_FORMAT_HEADER_H
#define TIDE_QCOW2_FORMAT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_MIN_CLUSTER_BITS 9u
#define QCOW2_MAX_CLUSTER_BITS 21u
#define QCOW2_V2_HEADER_BYTES 72u
#define QCOW2_V3_HEADER_BYTES 104u
#define QCOW2_MAX_L1_BYTES (32u << 20)
#define QCOW2_MAX_REFTABLE_BYTES (8u << 20)
#define QCOW2_MAX_SNAPSHOTS 65536u
#define QCOW2_MAX_BITMAPS 65535u
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull
#define QCOW2_MAX_OFFSET (1ull << 56)

enum {
	QCOW2_INCOMPAT_DIRTY = 1,
	QCOW2_INCOMPAT_CORRUPT = 2,
	QCOW2_INCOMPAT_DATA_FILE = 4,
	QCOW2_INCOMPAT_COMPRESSION = 8,
	QCOW2_INCOMPAT_EXTENDED_L2 = 16,
	QCOW2_INCOMPAT_KNOWN = 31,
	QCOW2_COMPAT_LAZY_REFCOUNTS = 1,
	QCOW2_AUTOCLEAR_BITMAPS = 1,
	QCOW2_AUTOCLEAR_RAW_EXTERNAL = 2
};

enum {
	QCOW2_EXT_END = 0,
	QCOW2_EXT_BACKING_FORMAT = 0xe2792aca,
	QCOW2_EXT_FEATURE_NAMES = 0x6803f857,
	QCOW2_EXT_BITMAPS = 0x23852875,
	QCOW2_EXT_LUKS = 0x0537be77,
	QCOW2_EXT_DATA_FILE = 0x44415441
};

enum { QCOW2_CRYPT_NONE, QCOW2_CRYPT_AES, QCOW2_CRYPT_LUKS };
enum { QCOW2_COMPRESSION_DEFLATE, QCOW2_COMPRESSION_ZSTD };

/* An extension that we do not know is kept as it is and written back. */
struct qcow2_extension {
	uint32_t type;
	uint32_t length_bytes;
	uint8_t *data; /* owned */
};

struct qcow2_header {
	uint32_t version; /* 2 or 3 */
	uint32_t cluster_bits;
	uint64_t size_bytes; /* virtual */
	uint32_t crypt_method;
	uint32_t l1_entries;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t snapshot_count;
	uint64_t snapshots_offset;
	uint64_t incompatible;
	uint64_t compatible;
	uint64_t autoclear;
	uint32_t refcount_order;
	uint32_t header_bytes; /* as found; at least 104 for version 3 */
	uint8_t compression;

	/* Decoded extensions. */
	bool has_bitmaps; /* the extension is there and its bit is set */
	uint32_t bitmap_count;
	uint64_t bitmap_directory_offset;
	uint64_t bitmap_directory_bytes;
	bool has_luks;
	uint64_t luks_offset;
	uint64_t luks_bytes;
	char *backing_name; /* owned, NULL: none */
	char *backing_format; /* owned, NULL: not said */
	char *data_file; /* owned, NULL: not said */

	/* All extensions in file order, the decoded ones too. */
	struct qcow2_extension *extensions; /* owned */
	uint32_t extension_count;
	/* Fields of a longer v3 header than ours, bytes 112.., kept. */
	uint8_t *tail; /* owned */
	uint32_t tail_bytes;
	uint32_t flaws; /* enum qcow2_flaw; 0 unless parsed tolerantly */
};

/* What a tolerant parse lets pass: the section must not be used. */
enum qcow2_flaw {
	QCOW2_FLAW_REFTABLE = 1,
	QCOW2_FLAW_SNAPSHOTS = 2,
	QCOW2_FLAW_BITMAPS = 4, /* has_bitmaps is false then */
	QCOW2_FLAW_L1 = 8 /* use no more of it than qcow2_l1_readable */
};

/*
 * qcow2_header_parse: decode the first bytes of the file at @path (for
 * messages), @have_bytes of them (as many as one cluster of 2 MiB, or the
 * whole file when it is shorter; the file has @file_bytes).
 *
 * Refuses (-EINVAL) what the format forbids and what the file cannot hold;
 * -ENOTSUP for an unknown incompatible feature bit, named by the image's own
 * feature-name table when it has one, and for an unknown version or
 * compression type. Unknown compatible and autoclear bits are kept. The
 * corrupt and dirty bits and encryption are no errors here: whoever opens for
 * writing decides. *h is untouched on failure. Free with qcow2_header_fini.
 */
int qcow2_header_parse(const char *path, const uint8_t *bytes,
		       size_t have_bytes, uint64_t file_bytes,
		       struct qcow2_header *h, struct tide_error *err);
/*
 * qcow2_header_parse_tolerant: the same for check and repair. Reference table,
 * snapshot table and bitmaps extension may be unusable, and the L1 table reach
 * past the end of the file, or begin there: h->flaws says which, and @err holds
 * the first such reason (its code stays set, though 0 is returned).
 */
int qcow2_header_parse_tolerant(const char *path, const uint8_t *bytes,
				size_t have_bytes, uint64_t file_bytes,
				struct qcow2_header *h,
				struct tide_error *err);
void qcow2_header_fini(struct qcow2_header *h);

/*
 * qcow2_header_encode: the whole first cluster of @cluster_bytes, zero-padded,
 * into @out. The decoded extension fields win over the kept bytes: bitmaps
 * and data file are written from the fields, or left out when they are not
 * set. -ENOSPC when it does not fit into one cluster.
 */
int qcow2_header_encode(const struct qcow2_header *h, uint8_t *out,
			size_t cluster_bytes, struct tide_error *err);

static inline uint64_t qcow2_cluster_bytes(const struct qcow2_header *h)
{
	return 1ull << h->cluster_bits;
}
/* Bytes of one L2 entry: 8, or 16 with extended L2. */
static inline uint32_t qcow2_l2_entry_bytes(const struct qcow2_header *h)
{
	return h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 ? 16 : 8;
}
/* log2 of the guest clusters that one L2 table maps. */
static inline uint32_t qcow2_l2_bits(const struct qcow2_header *h)
{
	return h->cluster_bits -
	       (h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2 ? 4 : 3);
}
/* Entries of the L1 table that map the disk; more mean nothing to it. */
static inline uint32_t qcow2_l1_needed(const struct qcow2_header *h)
{
	uint32_t shift = h->cluster_bits + qcow2_l2_bits(h);

	return h->size_bytes ?
		       (uint32_t)((h->size_bytes - 1) >> shift) + 1 : 0;
}
/*
 * Entries of the L1 table that may be believed in a file of @file_bytes: of a
 * table that is not all there, those that are, and that the disk needs.
 */
static inline uint32_t qcow2_l1_readable(const struct qcow2_header *h,
					 uint64_t file_bytes)
{
	uint64_t there = h->l1_offset < file_bytes ?
				 (file_bytes - h->l1_offset) / 8 :
				 0;
	uint32_t needed = qcow2_l1_needed(h);

	if (!(h->flaws & QCOW2_FLAW_L1))
		return h->l1_entries;
	return there < needed ? (uint32_t)there : needed;
}
/* log2 of the host clusters that one refcount block counts. */
static inline uint32_t qcow2_refblock_bits(const struct qcow2_header *h)
{
	return h->cluster_bits + 3 - h->refcount_order;
}

#endif
