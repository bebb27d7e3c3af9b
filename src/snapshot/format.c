/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/format.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"

static const char origin[] = "snapshot";

bool snap_id_is_zero(const struct snap_id *id)
{
	static const struct snap_id none;

	return snap_id_same(id, &none);
}

bool snap_id_same(const struct snap_id *a, const struct snap_id *b)
{
	return !memcmp(a, b, sizeof(*a));
}

uint64_t snap_checksum(const void *bytes, size_t n)
{
	return XXH3_64bits(bytes, n);
}

static int bad(struct tide_error *err, uint64_t offset, const char *what)
{
	return tide_error_set(err, -EBADMSG, origin, offset, "%s", what);
}

static bool zeroes(const unsigned char *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at[i])
			return false;
	return true;
}

/* Header and areas without the checksum between them. */
static uint64_t header_checksum(const unsigned char *at, uint32_t areas)
{
	XXH3_state_t state;

	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, at, 184);
	XXH3_64bits_update(&state, at + SNAP_HEADER,
			   (size_t)areas * SNAP_AREA);
	return XXH3_64bits_digest(&state);
}

static void put_area(unsigned char *to, const struct snap_area *a)
{
	memset(to, 0, SNAP_AREA);
	tide__put_le(to, a->first_page, 8);
	tide__put_le(to + 8, a->pages, 8);
	tide__put_le(to + 16, a->address, 8);
	tide__put_le(to + 24, a->offset_bytes, 8);
	tide__put_le(to + 32, a->kind, 4);
	memcpy(to + 40, a->name, strnlen(a->name, 63));
}

void snap_put_header(unsigned char *to, const struct snap_header *h,
		     const struct snap_area *area)
{
	memset(to, 0, SNAP_HEADER);
	memcpy(to, "TIDESNAP", 8);
	tide__put_le(to + 8, 1, 4);
	tide__put_le(to + 12, SNAP_HEADER + h->areas * SNAP_AREA, 4);
	memcpy(to + 24, &h->id, 16);
	memcpy(to + 40, &h->parent, 16);
	tide__put_le(to + 56, h->sequence, 8);
	tide__put_le(to + 64, h->created_ns, 8);
	tide__put_le(to + 72, SNAP_PAGE, 4);
	tide__put_le(to + 76, h->areas, 4);
	tide__put_le(to + 80, h->pages, 8);
	memcpy(to + 88, h->program, strnlen(h->program, 63));
	for (uint32_t i = 0; i < h->areas; i++)
		put_area(to + SNAP_HEADER + i * SNAP_AREA, &area[i]);
	tide__put_le(to + 184, header_checksum(to, h->areas), 8);
}

int snap_get_header(const unsigned char at[SNAP_HEADER], struct snap_header *h,
		    struct tide_error *err)
{
	memset(h, 0, sizeof(*h));
	if (memcmp(at, "TIDESNAP", 8))
		return bad(err, 0, "it is no snapshot");
	if (tide__get_le(at + 8, 4) != 1)
		return bad(err, 8, "it is of a newer version");
	if (tide__get_le(at + 16, 8))
		return bad(err, 16, "it needs a newer reader");
	h->areas = (uint32_t)tide__get_le(at + 76, 4);
	h->pages = tide__get_le(at + 80, 8);
	if (!h->areas || h->areas > SNAP_MAX_AREAS ||
	    tide__get_le(at + 12, 4) != SNAP_HEADER + h->areas * SNAP_AREA)
		return bad(err, 76, "its areas are damaged");
	if (tide__get_le(at + 72, 4) != SNAP_PAGE || !h->pages ||
	    h->pages > SNAP_MAX_PAGES)
		return bad(err, 72, "its size is damaged");
	if (at[151] || !zeroes(at + 152, 32))
		return bad(err, 151, "its header is damaged");
	memcpy(&h->id, at + 24, 16);
	memcpy(&h->parent, at + 40, 16);
	h->sequence = tide__get_le(at + 56, 8);
	h->created_ns = tide__get_le(at + 64, 8);
	memcpy(h->program, at + 88, 64);
	return 0;
}

int snap_get_areas(const unsigned char *at, const struct snap_header *h,
		   struct snap_area *area, struct tide_error *err)
{
	uint64_t page = 0;

	if (tide__get_le(at + 184, 8) != header_checksum(at, h->areas))
		return bad(err, 184, "the checksum of its header is wrong");
	for (uint32_t i = 0; i < h->areas; i++) {
		uint64_t offset = SNAP_HEADER + (uint64_t)i * SNAP_AREA;
		const unsigned char *from = at + offset;
		struct snap_area *a = &area[i];

		a->first_page = tide__get_le(from, 8);
		a->pages = tide__get_le(from + 8, 8);
		a->address = tide__get_le(from + 16, 8);
		a->offset_bytes = tide__get_le(from + 24, 8);
		a->kind = (uint32_t)tide__get_le(from + 32, 4);
		memcpy(a->name, from + 40, 64);
		if (a->first_page != page || !a->pages ||
		    a->pages > h->pages - page || from[103] ||
		    !zeroes(from + 36, 4) || !zeroes(from + 104, 24))
			return bad(err, offset, "an area is damaged");
		page += a->pages;
	}
	return page == h->pages ? 0 : bad(err, 80, "its size is damaged");
}

void snap_put_footer(unsigned char to[SNAP_FOOTER], const struct snap_footer *f)
{
	memset(to, 0, SNAP_FOOTER);
	memcpy(to, "TIDEFOOT", 8);
	tide__put_le(to + 8, f->chunks_offset, 8);
	tide__put_le(to + 16, f->chunks, 8);
	tide__put_le(to + 24, f->extents_offset, 8);
	tide__put_le(to + 32, f->extents, 8);
	tide__put_le(to + 40, f->devices_offset, 8);
	tide__put_le(to + 48, f->devices_bytes, 8);
	tide__put_le(to + 56, f->devices_checksum, 8);
	tide__put_le(to + 64, f->tables_checksum, 8);
	tide__put_le(to + 72, f->file_bytes, 8);
	memcpy(to + 80, &f->id, 16);
	tide__put_le(to + 120, snap_checksum(to, 120), 8);
}

/* Devices, tables and footer lie one behind the other, to the end. */
static bool parts_fit(const struct snap_footer *f, uint64_t first,
		      uint64_t file_bytes)
{
	uint64_t at = file_bytes - SNAP_FOOTER;

	if (f->file_bytes != file_bytes || f->chunks > at / SNAP_CHUNK ||
	    f->extents > at / SNAP_EXTENT || f->chunks > UINT32_MAX)
		return false;
	if (f->extents * SNAP_EXTENT > at ||
	    f->extents_offset != at - f->extents * SNAP_EXTENT)
		return false;
	at = f->extents_offset;
	if (f->chunks * SNAP_CHUNK > at ||
	    f->chunks_offset != at - f->chunks * SNAP_CHUNK)
		return false;
	at = f->chunks_offset;
	return f->devices_bytes <= at &&
	       f->devices_offset == at - f->devices_bytes &&
	       f->devices_offset >= first;
}

int snap_get_footer(const unsigned char at[SNAP_FOOTER], uint64_t file_bytes,
		    const struct snap_header *h, struct snap_footer *f,
		    struct tide_error *err)
{
	uint64_t where = file_bytes - SNAP_FOOTER;
	uint64_t first = SNAP_HEADER + (uint64_t)h->areas * SNAP_AREA;

	if (memcmp(at, "TIDEFOOT", 8))
		return bad(err, where, "its end is missing");
	if (tide__get_le(at + 120, 8) != snap_checksum(at, 120) ||
	    !zeroes(at + 96, 24))
		return bad(err, where, "the checksum of its end is wrong");
	f->chunks_offset = tide__get_le(at + 8, 8);
	f->chunks = tide__get_le(at + 16, 8);
	f->extents_offset = tide__get_le(at + 24, 8);
	f->extents = tide__get_le(at + 32, 8);
	f->devices_offset = tide__get_le(at + 40, 8);
	f->devices_bytes = tide__get_le(at + 48, 8);
	f->devices_checksum = tide__get_le(at + 56, 8);
	f->tables_checksum = tide__get_le(at + 64, 8);
	f->file_bytes = tide__get_le(at + 72, 8);
	memcpy(&f->id, at + 80, 16);
	if (!snap_id_same(&f->id, &h->id))
		return bad(err, where + 80, "its end is another snapshot's");
	if (!parts_fit(f, first, file_bytes))
		return bad(err, where, "its parts do not fit together");
	return 0;
}

void snap_put_chunk(unsigned char to[SNAP_CHUNK], const struct snap_chunk *c)
{
	memset(to, 0, SNAP_CHUNK);
	tide__put_le(to, c->offset, 8);
	tide__put_le(to + 8, c->stored_bytes, 4);
	tide__put_le(to + 12, c->pages, 4);
	tide__put_le(to + 16, c->kind, 4);
	tide__put_le(to + 24, c->checksum, 8);
}

void snap_put_extent(unsigned char to[SNAP_EXTENT],
		     const struct snap_extent *e)
{
	memset(to, 0, SNAP_EXTENT);
	tide__put_le(to, e->page, 8);
	tide__put_le(to + 8, e->pages, 4);
	tide__put_le(to + 12, e->skip, 4);
	tide__put_le(to + 16, e->chunk, 4);
}

static bool chunk_is_sane(const struct snap_chunk *c)
{
	if (c->kind == SNAP_ZEROES)
		return c->pages && !c->stored_bytes && !c->checksum;
	if (!c->pages || c->pages > SNAP_CHUNK_PAGES)
		return false;
	if (c->kind == SNAP_PLAIN)
		return c->stored_bytes == c->pages * SNAP_PAGE;
	return c->kind == SNAP_ZSTD && c->stored_bytes &&
	       c->stored_bytes < c->pages * SNAP_PAGE;
}

static int get_chunks(const unsigned char *from, const struct snap_header *h,
		      const struct snap_footer *f, struct snap_chunk *chunk,
		      struct tide_error *err)
{
	uint64_t next = SNAP_HEADER + (uint64_t)h->areas * SNAP_AREA;

	for (uint64_t i = 0; i < f->chunks; i++, from += SNAP_CHUNK) {
		struct snap_chunk *c = &chunk[i];

		c->offset = tide__get_le(from, 8);
		c->stored_bytes = (uint32_t)tide__get_le(from + 8, 4);
		c->pages = (uint32_t)tide__get_le(from + 12, 4);
		c->kind = (uint32_t)tide__get_le(from + 16, 4);
		c->checksum = tide__get_le(from + 24, 8);
		if (c->offset != next || !zeroes(from + 20, 4) ||
		    !chunk_is_sane(c))
			return bad(err, f->chunks_offset + i * SNAP_CHUNK,
				   "an entry of its chunk table is damaged");
		next += c->stored_bytes;
	}
	if (next != f->devices_offset)
		return bad(err, next, "bytes belong to no chunk");
	return 0;
}

static int get_extents(const unsigned char *from, const struct snap_header *h,
		       const struct snap_footer *f,
		       const struct snap_chunk *chunk,
		       struct snap_extent *extent, struct tide_error *err)
{
	bool base = snap_id_is_zero(&h->parent);
	uint64_t next = 0;

	for (uint64_t i = 0; i < f->extents; i++, from += SNAP_EXTENT) {
		struct snap_extent *e = &extent[i];

		e->page = tide__get_le(from, 8);
		e->pages = (uint32_t)tide__get_le(from + 8, 4);
		e->skip = (uint32_t)tide__get_le(from + 12, 4);
		e->chunk = (uint32_t)tide__get_le(from + 16, 4);
		e->file = 0;
		if (!e->pages || e->page < next || e->page > h->pages ||
		    e->pages > h->pages - e->page || e->chunk >= f->chunks ||
		    !zeroes(from + 20, 4) ||
		    e->skip > chunk[e->chunk].pages ||
		    e->pages > chunk[e->chunk].pages - e->skip ||
		    (base && e->page != next))
			return bad(err, f->extents_offset + i * SNAP_EXTENT,
				   "an extent is damaged");
		next = e->page + e->pages;
	}
	return base && next != h->pages
		   ? bad(err, f->extents_offset, "a base lacks pages") : 0;
}

int snap_get_tables(const unsigned char *chunks, const unsigned char *extents,
		    const struct snap_header *h, const struct snap_footer *f,
		    struct snap_chunk *chunk, struct snap_extent *extent,
		    struct tide_error *err)
{
	int ret = get_chunks(chunks, h, f, chunk, err);

	return ret ? ret : get_extents(extents, h, f, chunk, extent, err);
}
