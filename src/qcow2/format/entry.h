/* SPDX-License-Identifier: BSD-2-Clause */
/* L2 entries, taken apart. */
#ifndef TIDE_QCOW2_FORMAT_ENTRY_H
#define TIDE_QCOW2_FORMAT_ENTRY_H

#include "base/bytes.h"
#include "qcow2/format/header.h"

#define QCOW2_ENTRY_COPIED (1ull << 63)
#define QCOW2_ENTRY_PACKED (1ull << 62)
#define QCOW2_ENTRY_ZERO 1ull
#define QCOW2_ENTRY_RESERVED 0x3f000000000001feull

/* Entry @i of a table as on disk; *subclusters is 0 without extended L2. */
static inline uint64_t qcow2_entry(const struct qcow2_header *h,
				   const uint8_t *table, uint64_t i,
				   uint64_t *subclusters)
{
	uint32_t bytes = qcow2_l2_entry_bytes(h);

	*subclusters = bytes == 16 ? tide__get_be(table + i * 16 + 8, 8) : 0;
	return tide__get_be(table + i * bytes, 8);
}

/* Where the bytes of a compressed cluster lie; whole sectors at the end. */
static inline void qcow2_entry_packed(const struct qcow2_header *h,
				      uint64_t entry, uint64_t *offset_bytes,
				      uint64_t *length_bytes)
{
	uint32_t bits = 62 - (h->cluster_bits - 8);
	uint64_t sectors = (entry & ~(3ull << 62)) >> bits;

	*offset_bytes = entry & ((1ull << bits) - 1);
	*length_bytes = (sectors + 1) * 512 - (*offset_bytes & 511);
}

/* The reverse: the entry of a stream that is there. */
static inline uint64_t qcow2_entry_pack(const struct qcow2_header *h,
					uint64_t offset_bytes,
					uint64_t length_bytes)
{
	uint64_t sectors = (offset_bytes + length_bytes - 1) / 512 -
			   offset_bytes / 512;

	return QCOW2_ENTRY_PACKED | sectors << (62 - (h->cluster_bits - 8)) |
	       offset_bytes;
}

#endif
