/* SPDX-License-Identifier: BSD-2-Clause */
/* The directory of persistent bitmaps, as a list in memory. */
#ifndef TIDE_QCOW2_FORMAT_BITMAPS_H
#define TIDE_QCOW2_FORMAT_BITMAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "qcow2/format/header.h"
#include "qcow2/format/reader.h"

#define QCOW2_BITMAP_IN_USE 1u
#define QCOW2_BITMAP_AUTO 2u
#define QCOW2_BITMAP_EXTRA_COMPATIBLE 4u
#define QCOW2_BITMAP_ENTRY_BYTES 24u
#define QCOW2_BITMAP_MAX_NAME 1023u
#define QCOW2_BITMAP_TABLE_RESERVED 0xff000000000001feull

struct qcow2_bitmap {
	uint64_t table_offset;
	uint32_t table_entries;
	uint32_t flags;
	uint8_t type;
	uint8_t granularity_bits;
	uint32_t extra_bytes;
	uint8_t *extra; /* owned; preserved, whatever it says */
	char *name; /* owned */
	uint64_t entry_offset; /* in the file */
	uint32_t entry_bytes; /* with padding */
	const char *broken; /* tolerant: why it must not be used, or NULL */
	bool table_usable; /* the table lies within the file */
	bool name_guessed; /* name_size was wrong; name is what is there */
};

struct qcow2_bitmaps {
	struct qcow2_bitmap *items; /* owned */
	uint32_t count;
	bool broken; /* tolerant: some entry is broken, or cannot be told */
	bool trailing; /* bytes of the directory behind its last entry */
	uint32_t lost; /* entries that could not be told from each other */
};

/* Entries that the table of a whole bitmap has, for a disk of @size_bytes. */
uint64_t qcow2_bitmap_table_entries(const struct qcow2_header *h,
				    uint8_t granularity_bits);

/*
 * qcow2_bitmaps_read: the directory that @h names (none: an empty list).
 * -EINVAL names the first broken entry by name and offset. If @tolerant, each
 * broken entry says so in ->broken and 0 is returned; a wrong name length is
 * found out from the entries behind it. Bounded by the size of the directory
 * (64 MiB at most, within the file). Free with _fini.
 */
int qcow2_bitmaps_read(const struct qcow2_reader *r,
		       const struct qcow2_header *h, bool tolerant,
		       struct qcow2_bitmaps *out, struct tide_error *err);
void qcow2_bitmaps_fini(struct qcow2_bitmaps *b);

#endif
