/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bytes of a snapshot (docs/format-snapshot.md), to and from structures.
 * Decoding judges: what it lets through, readers may count on.
 */
#ifndef TIDE_SNAPSHOT_FORMAT_H
#define TIDE_SNAPSHOT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

#define SNAP_PAGE 4096u
#define SNAP_CHUNK_PAGES 16u	/* of one that stores something */
#define SNAP_HEADER 192u
#define SNAP_AREA 128u
#define SNAP_CHUNK 32u
#define SNAP_EXTENT 24u
#define SNAP_FOOTER 128u
#define SNAP_MAX_AREAS 1024u
#define SNAP_MAX_PAGES (UINT64_C(1) << 36)
#define SNAP_SUFFIX ".tides"

enum snap_kind { SNAP_ZEROES, SNAP_PLAIN, SNAP_ZSTD };

struct snap_id {
	unsigned char byte[16];
};

struct snap_area {
	uint64_t first_page, pages, address, offset_bytes;
	uint32_t kind;
	char name[64];
};

struct snap_header {
	struct snap_id id, parent;
	uint64_t sequence, created_ns, pages;
	uint32_t areas;
	char program[64];
};

struct snap_chunk {
	uint64_t offset, checksum;
	uint32_t stored_bytes, pages, kind;
};

struct snap_extent {
	uint64_t page;
	uint32_t pages, skip, chunk;
	uint32_t file;	/* in memory only: which file of a chain */
};

struct snap_footer {
	uint64_t chunks_offset, chunks, extents_offset, extents;
	uint64_t devices_offset, devices_bytes, devices_checksum;
	uint64_t tables_checksum, file_bytes;
	struct snap_id id;
};

bool snap_id_is_zero(const struct snap_id *id);
bool snap_id_same(const struct snap_id *a, const struct snap_id *b);
uint64_t snap_checksum(const void *bytes, size_t n);

/* Header and areas: @to has room for SNAP_HEADER + SNAP_AREA x areas. */
void snap_put_header(unsigned char *to, const struct snap_header *h,
		     const struct snap_area *area);
/* The fixed part: how many areas, and whether it is one at all. */
int snap_get_header(const unsigned char at[SNAP_HEADER],
		    struct snap_header *h, struct tide_error *err);
/* @at: header and areas; after snap_get_header. */
int snap_get_areas(const unsigned char *at, const struct snap_header *h,
		   struct snap_area *area, struct tide_error *err);

void snap_put_footer(unsigned char to[SNAP_FOOTER], const struct snap_footer *f);
int snap_get_footer(const unsigned char at[SNAP_FOOTER], uint64_t file_bytes,
		    const struct snap_header *h, struct snap_footer *f,
		    struct tide_error *err);

void snap_put_chunk(unsigned char to[SNAP_CHUNK], const struct snap_chunk *c);
void snap_put_extent(unsigned char to[SNAP_EXTENT],
		     const struct snap_extent *e);
/* All entries of both tables, judged together. */
int snap_get_tables(const unsigned char *chunks, const unsigned char *extents,
		    const struct snap_header *h, const struct snap_footer *f,
		    struct snap_chunk *chunk, struct snap_extent *extent,
		    struct tide_error *err);

#endif
