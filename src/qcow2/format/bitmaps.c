/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A directory is a row of entries of varying length, so one wrong length
 * hides all that follow: the reference tool then opens nothing at all. The
 * tolerant reader looks for the place from where the rest of the directory
 * reads as exactly the entries that are still to come, and takes up there.
 */
#include "qcow2/format/bitmaps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define MAX_TABLE_BYTES 0x8000000u

struct parse {
	const struct qcow2_header *h;
	uint64_t file_bytes;
	const uint8_t *bytes; /* the directory */
	uint64_t end;
	struct qcow2_bitmaps out;
};

/* Bytes of the entry at @at with its padding; 0: its lengths are wrong. */
static uint64_t entry_bytes(const struct parse *p, uint64_t at)
{
	const uint8_t *b = p->bytes + at;
	uint64_t name, extra, bytes;

	if (p->end - at < QCOW2_BITMAP_ENTRY_BYTES)
		return 0;
	name = tide__get_be(b + 18, 2);
	extra = tide__get_be(b + 20, 4);
	bytes = (QCOW2_BITMAP_ENTRY_BYTES + extra + name + 7) & ~7ull;
	if (!name || name > QCOW2_BITMAP_MAX_NAME || bytes > p->end - at)
		return 0;
	return bytes;
}

/* Do exactly @count whole entries fill the directory from @at on? */
static bool fits(const struct parse *p, uint64_t at, uint32_t count)
{
	uint64_t bytes;

	while (count--) {
		bytes = entry_bytes(p, at);
		if (!bytes || p->bytes[at + 16] != 1)
			return false;
		at += bytes;
	}
	return at == p->end;
}

/* Where the next entry starts if the lengths of the one at @at are wrong. */
static uint64_t resync(const struct parse *p, uint64_t at, uint32_t left)
{
	uint64_t last = at + QCOW2_BITMAP_ENTRY_BYTES +
			QCOW2_BITMAP_MAX_NAME + 7;

	for (uint64_t next = at + 32; next <= p->end && next <= last; next += 8)
		if (fits(p, next, left))
			return next;
	return 0;
}

uint64_t qcow2_bitmap_table_entries(const struct qcow2_header *h,
				    uint8_t granularity_bits)
{
	uint64_t bits, bytes, cluster = qcow2_cluster_bytes(h);

	if (granularity_bits > 62 || !h->size_bytes)
		return h->size_bytes ? 1 : 0;
	bits = ((h->size_bytes - 1) >> granularity_bits) + 1;
	bytes = (bits + 7) / 8;
	return (bytes + cluster - 1) / cluster;
}

static bool table_usable(const struct parse *p, const struct qcow2_bitmap *b)
{
	uint64_t cluster = qcow2_cluster_bytes(p->h);

	return b->table_offset && !(b->table_offset & (cluster - 1)) &&
	       b->table_entries && b->table_entries <= MAX_TABLE_BYTES / 8 &&
	       b->table_offset < p->file_bytes &&
	       b->table_entries * 8ull <= p->file_bytes - b->table_offset;
}

static const char *judge(const struct parse *p, const struct qcow2_bitmap *b)
{
	if (!b->table_usable)
		return "table unaligned, too large or past the end";
	if (b->flags & ~7u)
		return "reserved flags";
	if (b->type != 1)
		return "unknown type";
	if (b->granularity_bits < 9 || b->granularity_bits > 31)
		return "granularity is not 512 bytes to 2 GiB";
	if (b->name_guessed)
		return "wrong name length";
	/* Who resizes with a bitmap in use leaves its table as it was. */
	if (!(b->flags & QCOW2_BITMAP_IN_USE) &&
	    b->table_entries !=
		    qcow2_bitmap_table_entries(p->h, b->granularity_bits))
		return "table does not fit the size of the disk";
	return NULL;
}

/* @bytes is right even where the entry's own lengths are not. */
static int decode(struct parse *p, uint64_t at, uint64_t bytes, bool guessed,
		  struct qcow2_bitmap *b)
{
	const uint8_t *from = p->bytes + at;
	uint32_t name = (uint32_t)tide__get_be(from + 18, 2);

	memset(b, 0, sizeof(*b));
	b->table_offset = tide__get_be(from, 8);
	b->table_entries = (uint32_t)tide__get_be(from + 8, 4);
	b->flags = (uint32_t)tide__get_be(from + 12, 4);
	b->type = from[16];
	b->granularity_bits = from[17];
	b->extra_bytes = guessed ? 0 : (uint32_t)tide__get_be(from + 20, 4);
	b->entry_offset = p->h->bitmap_directory_offset + at;
	b->entry_bytes = (uint32_t)bytes;
	b->name_guessed = guessed;
	if (guessed)
		name = (uint32_t)bytes - QCOW2_BITMAP_ENTRY_BYTES;
	from += QCOW2_BITMAP_ENTRY_BYTES;
	b->extra = malloc(b->extra_bytes + 1u);
	b->name = strndup((const char *)from + b->extra_bytes, name);
	if (!b->extra || !b->name)
		return -ENOMEM;
	memcpy(b->extra, from, b->extra_bytes);
	if (!b->name[0] || (!guessed && strlen(b->name) != name))
		b->name_guessed = true;
	b->table_usable = table_usable(p, b);
	b->broken = judge(p, b);
	return 0;
}

static int append(struct parse *p, uint64_t at, uint64_t bytes, bool guessed)
{
	struct qcow2_bitmaps *o = &p->out;
	struct qcow2_bitmap *more;

	if (!(o->count & (o->count - 1))) {
		more = reallocarray(o->items, o->count ? 2u * o->count : 1u,
				    sizeof(*more));
		if (!more)
			return -ENOMEM;
		o->items = more;
	}
	if (decode(p, at, bytes, guessed, &o->items[o->count])) {
		free(o->items[o->count].extra);
		free(o->items[o->count].name);
		return -ENOMEM;
	}
	o->broken |= o->items[o->count].broken != NULL;
	o->count++;
	return 0;
}

static int parse_all(struct parse *p)
{
	uint32_t left = p->h->bitmap_count;
	uint64_t at = 0, bytes;
	bool guessed;
	int ret;

	while (left) {
		left--;
		bytes = entry_bytes(p, at);
		guessed = !bytes;
		if (guessed && p->end - at >= 32) {
			bytes = resync(p, at, left);
			bytes = bytes ? bytes - at : 0;
		}
		if (!bytes) {
			p->out.lost = left + 1;
			p->out.broken = true;
			return 0;
		}
		ret = append(p, at, bytes, guessed);
		if (ret)
			return ret;
		at += bytes;
	}
	if (at != p->end)
		p->out.broken = p->out.trailing = true;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct qcow2_bitmap *x = *(struct qcow2_bitmap *const *)a;
	const struct qcow2_bitmap *y = *(struct qcow2_bitmap *const *)b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x > y) - (x < y);
}

/* Sorted, because a hostile directory may have 65535 entries. */
static int find_doubles(struct qcow2_bitmaps *o)
{
	struct qcow2_bitmap **sorted = calloc(o->count + 1u, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (uint32_t i = 0; i < o->count; i++)
		sorted[i] = &o->items[i];
	qsort(sorted, o->count, sizeof(*sorted), by_name);
	for (uint32_t i = 1; i < o->count; i++) {
		if (sorted[i]->broken ||
		    strcmp(sorted[i - 1]->name, sorted[i]->name))
			continue;
		sorted[i]->broken = "name given twice";
		o->broken = true;
	}
	free(sorted);
	return 0;
}

static int complain(const struct qcow2_reader *r, const struct parse *p,
		    struct tide_error *err)
{
	const struct qcow2_bitmap *b;

	for (uint32_t i = 0; i < p->out.count; i++) {
		b = &p->out.items[i];
		if (b->broken)
			return tide_error_set(
				err, -EINVAL, "qcow2-bitmap", b->entry_offset,
				"%s: bitmap '%.60s' at offset %llu: %s",
				r->path, b->name,
				(unsigned long long)b->entry_offset, b->broken);
	}
	if (p->out.trailing)
		return tide_error_set(
			err, -EINVAL, "qcow2-bitmap",
			p->h->bitmap_directory_offset,
			"%s: bitmap directory at offset %llu: there is more "
			"behind its last entry", r->path,
			(unsigned long long)p->h->bitmap_directory_offset);
	return tide_error_set(err, -EINVAL, "qcow2-bitmap",
			      p->h->bitmap_directory_offset,
			      "%s: bitmap directory at offset %llu: %u of %u "
			      "entries cannot be told from each other", r->path,
			      (unsigned long long)p->h->bitmap_directory_offset,
			      p->out.lost, p->h->bitmap_count);
}

int qcow2_bitmaps_read(const struct qcow2_reader *r,
		       const struct qcow2_header *h, bool tolerant,
		       struct qcow2_bitmaps *out, struct tide_error *err)
{
	struct parse p = { .h = h, .file_bytes = r->size_bytes };
	uint8_t *bytes;
	int ret;

	if (!h->has_bitmaps) {
		*out = p.out;
		return 0;
	}
	p.end = h->bitmap_directory_bytes;
	bytes = malloc(p.end + 1);
	if (!bytes)
		return tide_error_set(err, -ENOMEM, "qcow2-bitmap",
				      h->bitmap_directory_offset,
				      "%s: no memory for bitmaps", r->path);
	ret = qcow2_read_at(r, h->bitmap_directory_offset, bytes, p.end, err);
	p.bytes = bytes;
	if (!ret && (parse_all(&p) || find_doubles(&p.out)))
		ret = tide_error_set(err, -ENOMEM, "qcow2-bitmap",
				     h->bitmap_directory_offset,
				     "%s: no memory for bitmaps", r->path);
	if (!ret && p.out.broken)
		ret = complain(r, &p, err);
	free(bytes);
	if (ret && !(ret == -EINVAL && tolerant && p.out.broken)) {
		qcow2_bitmaps_fini(&p.out);
		return ret;
	}
	*out = p.out;
	return 0;
}

void qcow2_bitmaps_fini(struct qcow2_bitmaps *b)
{
	for (uint32_t i = 0; i < b->count; i++) {
		free(b->items[i].extra);
		free(b->items[i].name);
	}
	free(b->items);
	memset(b, 0, sizeof(*b));
}
