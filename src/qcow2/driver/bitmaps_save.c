/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing the bitmaps of an image anew, all of them at once.
 *
 *   1  bits, tables and a directory go into clusters that were free, and their
 *      counts to the file
 *   2  the header loses the bit that says that its bitmaps hold; sync
 *   3  the header names the new directory, still without that bit; sync
 *   4  the bit; sync
 *   5  the old directory and what it named are given back
 *
 * Whatever stops it, either the old directory counts or none does, and what is
 * left over is counted and not referred to: leaks. The part of the header that
 * is written in 3 is one write below 4096 bytes, which a killed process has
 * done or not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"
#include "qcow2/format/bitmaps.h"

#define SECTOR_BYTES 512u
#define AUTOCLEAR_AT 95u /* the byte with bit 0 */

struct piece {
	uint64_t offset, clusters;
	uint32_t kind;
};

/* Clusters: those that are new, and those that were there before. */
struct pieces {
	struct piece *list;
	uint64_t count, room;
};

struct saving {
	struct qcow2 *q;
	struct pieces fresh, old;
	uint8_t *directory;
	uint64_t directory_bytes, directory_offset;
	struct tide_error *err;
};

static int no_memory(const struct saving *s)
{
	return tide_error_set(s->err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
			      "%s: no memory for its bitmaps",
			      s->q->disk.path);
}

static int add_piece(struct pieces *p, uint64_t offset, uint64_t clusters,
		     uint32_t kind)
{
	if (p->count == p->room) {
		uint64_t room = p->room * 2 + 64;
		struct piece *list = realloc(p->list, room * sizeof(*list));

		if (!list)
			return -ENOMEM;
		p->list = list;
		p->room = room;
	}
	p->list[p->count++] = (struct piece){ offset, clusters, kind };
	return 0;
}

static uint64_t clusters_of(const struct qcow2 *q, uint64_t bytes)
{
	return round_up(bytes, q->cluster_bytes) >> q->cluster_bits;
}

/* @bytes of that kind into new clusters; the rest of the last is zero. */
static int put(struct saving *s, const void *bytes, uint64_t length,
	       uint32_t kind, uint64_t *offset)
{
	struct qcow2 *q = s->q;
	uint64_t clusters = clusters_of(q, length);
	uint8_t *whole;
	bool zeroed;
	int ret;

	whole = calloc(clusters, q->cluster_bytes);
	if (!whole)
		return no_memory(s);
	memcpy(whole, bytes, length);
	ret = qcow2_alloc_row(q, clusters, offset, &zeroed, s->err);
	if (ret == 0 && add_piece(&s->fresh, *offset, clusters, kind)) {
		qcow2_unalloc(q, *offset, clusters);
		ret = no_memory(s);
	}
	if (ret == 0)
		ret = tide_kinds_add(q->kinds, (enum tide_kind)kind, *offset,
				     clusters << q->cluster_bits, s->err);
	if (ret == 0)
		ret = qcow2_write_meta(q, *offset, whole,
				       clusters << q->cluster_bits,
				       1u << kind, true, s->err);
	free(whole);
	return ret;
}

static bool all(const uint8_t *bytes, uint64_t length, uint8_t value)
{
	for (uint64_t i = 0; i < length; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

/* The bits of one bitmap: its table's entries, big-endian. */
static int put_bits(struct saving *s, const struct tide_disk_bitmap *b,
		    uint8_t *table, uint64_t entries)
{
	uint64_t bytes = (b->bit_count + 7) / 8;

	for (uint64_t i = 0; b->bits && i < entries; i++) {
		uint64_t from = i << s->q->cluster_bits, offset;
		uint64_t length = s->q->cluster_bytes;
		int ret;

		if (from >= bytes)
			break;
		if (length > bytes - from)
			length = bytes - from;
		if (all(b->bits + from, length, 0))
			continue;
		ret = put(s, b->bits + from, length, TIDE_KIND_BITMAP_DATA,
			  &offset);
		if (ret)
			return ret;
		tide__put_be(table + i * 8, offset, 8);
	}
	return 0;
}

static int put_entry(struct saving *s, const struct tide_disk_bitmap *b,
		     uint64_t table_offset, uint64_t entries)
{
	uint64_t name = strlen(b->name);
	uint64_t bytes = round_up(QCOW2_BITMAP_ENTRY_BYTES + name, 8);
	uint8_t *directory, *at;

	directory = realloc(s->directory, s->directory_bytes + bytes);
	if (!directory)
		return no_memory(s);
	s->directory = directory;
	at = directory + s->directory_bytes;
	memset(at, 0, bytes);
	tide__put_be(at, table_offset, 8);
	tide__put_be(at + 8, entries, 4);
	tide__put_be(at + 12, (b->enabled ? QCOW2_BITMAP_AUTO : 0) |
		     (b->in_use ? QCOW2_BITMAP_IN_USE : 0), 4);
	at[16] = 1;
	at[17] = (uint8_t)b->shift;
	tide__put_be(at + 18, name, 2);
	memcpy(at + QCOW2_BITMAP_ENTRY_BYTES, b->name, name);
	s->directory_bytes += bytes;
	return 0;
}

static int put_bitmap(struct saving *s, const struct tide_disk_bitmap *b)
{
	uint64_t entries = qcow2_bitmap_table_entries(&s->q->header,
						      (uint8_t)b->shift);
	uint64_t offset;
	uint8_t *table;
	int ret;

	entries = entries ? entries : 1;
	table = calloc(entries, 8);
	if (!table)
		return no_memory(s);
	ret = put_bits(s, b, table, entries);
	if (ret == 0)
		ret = put(s, table, entries * 8, TIDE_KIND_BITMAP_TABLE,
			  &offset);
	free(table);
	return ret ? ret : put_entry(s, b, offset, entries);
}

static int old_data(void *opaque, uint64_t index, uint64_t entry, uint64_t at)
{
	struct saving *s = opaque;
	uint64_t offset = entry & ~QCOW2_BITMAP_TABLE_RESERVED & ~1ull;

	(void)index, (void)at;
	return add_piece(&s->old, offset, 1, TIDE_KIND_BITMAP_DATA);
}

/* What will be given back. Where anything is in doubt it stays counted. */
static void list_old(struct saving *s)
{
	struct qcow2_reader reader = qcow2_reader_of(s->q);
	const struct qcow2_header *h = &s->q->header;
	struct qcow2_bitmaps list = { 0 };
	int ret = qcow2_bitmaps_read(&reader, h, false, &list, NULL);

	if (ret || !h->has_bitmaps)
		return;
	for (uint32_t i = 0; i < list.count && !ret; i++) {
		const struct qcow2_bitmap *b = &list.items[i];

		ret = add_piece(&s->old, b->table_offset,
				clusters_of(s->q, b->table_entries * 8ull),
				TIDE_KIND_BITMAP_TABLE);
		if (!ret)
			ret = qcow2_read_references(&reader, b->table_offset,
						    b->table_entries, old_data,
						    s, NULL);
	}
	if (!ret)
		ret = add_piece(&s->old, h->bitmap_directory_offset,
				clusters_of(s->q, h->bitmap_directory_bytes),
				TIDE_KIND_BITMAP_DIRECTORY);
	/* Entries may say "all ones" without a cluster: offset 0. */
	for (uint64_t i = 0; i < s->old.count; i++)
		if (!s->old.list[i].offset)
			s->old.list[i--] = s->old.list[--s->old.count];
	if (ret)
		s->old.count = 0;
	qcow2_bitmaps_fini(&list);
}

/* The first @bytes of the header; lock held. */
static int write_header(struct qcow2 *q, const uint8_t *header, uint64_t bytes,
			struct tide_error *err)
{
	int ret = qcow2_guard(q, 0, bytes, 1u << TIDE_KIND_HEADER,
			      "a header write", err);

	if (ret == 0)
		ret = tide_disk_write(q->file, 0, header, bytes, err);
	return ret ? ret : tide_disk_flush(q->file, err);
}

static uint64_t used_bytes(const uint8_t *header, uint64_t bytes)
{
	while (bytes > SECTOR_BYTES && !header[bytes - 1])
		bytes--;
	return round_up(bytes, SECTOR_BYTES);
}

/* Steps 2 to 4. */
static int switch_header(struct saving *s, const struct qcow2_header *to)
{
	struct qcow2 *q = s->q;
	uint8_t *header = malloc(2 * q->cluster_bytes), *before;
	uint64_t old_bytes, bytes;
	int ret;

	if (!header)
		return no_memory(s);
	before = header + q->cluster_bytes;
	ret = qcow2_header_encode(&q->header, before, q->cluster_bytes,
				  s->err);
	if (ret == 0)
		ret = qcow2_header_encode(to, header, q->cluster_bytes,
					  s->err);
	old_bytes = used_bytes(before, q->cluster_bytes);
	bytes = used_bytes(header, q->cluster_bytes);
	bytes = bytes > old_bytes ? bytes : old_bytes;
	if (ret == 0 && before[AUTOCLEAR_AT] & 1) {
		before[AUTOCLEAR_AT] &= 0xfe;
		ret = write_header(q, before, SECTOR_BYTES, s->err);
	}
	header[AUTOCLEAR_AT] &= 0xfe;
	if (ret == 0)
		ret = write_header(q, header, bytes, s->err);
	if (ret == 0 && to->has_bitmaps) {
		header[AUTOCLEAR_AT] |= 1;
		ret = write_header(q, header, SECTOR_BYTES, s->err);
	}
	free(header);
	return ret;
}

/* Nothing refers to them: never written, or not named any more. */
static void drop_fresh(struct saving *s)
{
	for (uint64_t i = 0; i < s->fresh.count; i++) {
		const struct piece *p = &s->fresh.list[i];

		tide_kinds_remove(s->q->kinds, (enum tide_kind)p->kind,
				  p->offset, p->clusters << s->q->cluster_bits,
				  NULL);
		qcow2_unalloc(s->q, p->offset, p->clusters);
	}
}

static void drop_old(struct saving *s)
{
	if (qcow2_free_reserve(s->q, s->old.count, NULL))
		return; /* leaks */
	for (uint64_t i = 0; i < s->old.count; i++)
		qcow2_free_later(s->q, s->old.list[i].offset,
				 s->old.list[i].clusters, s->old.list[i].kind,
				 true);
}

/* Lock held: step 1 without its flush. */
static int put_all(struct saving *s, const struct tide_disk_bitmap *list,
		   uint32_t count)
{
	int ret = qcow2_may_write(s->q, s->err);

	if (ret == 0)
		list_old(s);
	for (uint32_t i = 0; i < count && ret == 0; i++)
		ret = put_bitmap(s, &list[i]);
	if (ret == 0 && count)
		ret = put(s, s->directory, s->directory_bytes,
			  TIDE_KIND_BITMAP_DIRECTORY, &s->directory_offset);
	if (ret)
		drop_fresh(s);
	return ret;
}

/* Lock held: steps 2 to 5. */
static int turn_over(struct saving *s, uint32_t count)
{
	struct qcow2_header to = s->q->header;
	int ret;

	to.has_bitmaps = count;
	to.bitmap_count = count;
	to.bitmap_directory_bytes = s->directory_bytes;
	to.bitmap_directory_offset = s->directory_offset;
	to.autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_BITMAPS;
	if (count)
		to.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
	ret = switch_header(s, &to);
	if (ret)
		return ret; /* the new ones are leaks now, if they are named */
	s->q->header = to;
	drop_old(s);
	return 0;
}

int qcow2_bitmaps_save(struct tide_disk *d,
		       const struct tide_disk_bitmap *list, uint32_t count,
		       struct tide_error *err)
{
	struct saving s = { .q = qcow2_of(d), .err = err };
	struct qcow2 *q = s.q;
	int ret;

	if (!count && !q->header.has_bitmaps)
		return 0;
	if (q->header.version < 3)
		return tide_error_set(err, -ENOTSUP, "qcow2", 4,
				      "%s: version 2 has no bitmaps",
				      q->disk.path);
	pthread_mutex_lock(&q->flush_lock);
	pthread_mutex_lock(&q->lock);
	ret = put_all(&s, list, count);
	pthread_mutex_unlock(&q->lock);
	if (ret == 0)
		ret = qcow2_flush_locked(q, err);
	if (ret == 0) {
		pthread_mutex_lock(&q->lock);
		ret = turn_over(&s, count);
		pthread_mutex_unlock(&q->lock);
	}
	pthread_mutex_unlock(&q->flush_lock);
	free(s.directory);
	free(s.fresh.list);
	free(s.old.list);
	return ret;
}
