/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bitmaps that are broken, or that keep the reference tool from opening the
 * image.
 *
 * A bitmap that says "clean" of a block that changed makes a backup lose data,
 * so in doubt it goes. Salvaged are: an entry whose name length is wrong (name
 * and end are known from the entries around it), the flag of extra data where
 * there is none, and a name that is there twice: the second is renamed and
 * marked as in use, which everybody takes for "do not rely on it".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/check/repair_internal.h"

struct plan {
	struct repair *x;
	struct qcow2_bitmaps b;
	bool *drop; /* owned */
	bool changed;
	uint32_t kept;
	bool bad_data; /* of the table that is being looked at */
};

static int each_data(void *opaque, uint64_t index, uint64_t value, uint64_t at)
{
	struct plan *p = opaque;
	uint64_t offset = value & QCOW2_OFFSET_MASK;

	(void)index;
	(void)at;
	if (value & QCOW2_BITMAP_TABLE_RESERVED || (offset && value & 1) ||
	    (offset && (offset & (p->x->cluster - 1) ||
			!repair_alone(p->x, offset, p->x->cluster,
				      QCOW2_SECTION_BITMAP_DATA))))
		p->bad_data = true;
	return 0;
}

/* Why the bitmap must go; NULL: it may stay, *ret says if it was looked at. */
static const char *doubt(struct plan *p, const struct qcow2_bitmap *b, int *ret)
{
	if (!b->table_usable)
		return b->broken;
	if (!repair_alone(p->x, b->table_offset, b->table_entries * 8ull,
			  QCOW2_SECTION_BITMAP_TABLE))
		return "its table lies on something else";
	p->bad_data = false;
	*ret = qcow2_read_entries(p->x->r, b->table_offset, b->table_entries,
				  each_data, p, p->x->err);
	if (p->bad_data)
		return "its data lie on something else, or nowhere";
	if (b->broken && !b->name_guessed && strcmp(b->broken,
						    "name given twice"))
		return b->broken;
	return b->name[0] ? NULL : "it has no name";
}

static bool name_taken(const struct plan *p, uint32_t but, const char *name)
{
	for (uint32_t i = 0; i < p->b.count; i++)
		if (i != but && !p->drop[i] && !strcmp(p->b.items[i].name,
						       name))
			return true;
	return false;
}

static int rename_double(struct plan *p, uint32_t i)
{
	struct qcow2_bitmap *b = &p->b.items[i];
	char name[QCOW2_BITMAP_MAX_NAME + 1];
	char *copy;

	for (uint32_t n = 2;; n++) {
		snprintf(name, sizeof(name), "%.1000s-%u", b->name, n);
		if (!name_taken(p, i, name))
			break;
	}
	copy = strdup(name);
	if (!copy)
		return repair_no_memory(p->x);
	repair_say(p->x, "bitmap '%.80s': the name is there twice; this one is "
		   "'%.80s' now, and marked as in use", b->name, name);
	free(b->name);
	b->name = copy;
	b->flags |= QCOW2_BITMAP_IN_USE;
	p->changed = true;
	return 0;
}

static int decide(struct plan *p, uint32_t i)
{
	struct qcow2_bitmap *b = &p->b.items[i];
	int ret = 0;
	const char *why = doubt(p, b, &ret);

	if (ret)
		return ret;
	if (why) {
		repair_say(p->x, "bitmap '%.80s': dropped: %s", b->name, why);
		p->drop[i] = p->changed = true;
		return 0;
	}
	p->kept++;
	if (b->flags & QCOW2_BITMAP_EXTRA_COMPATIBLE && !b->extra_bytes) {
		b->flags &= ~QCOW2_BITMAP_EXTRA_COMPATIBLE;
		p->changed = true;
		repair_say(p->x, "bitmap '%.80s': the flag of extra data that "
			   "it has not was cleared", b->name);
	}
	if (b->name_guessed) {
		if (strlen(b->name) > QCOW2_BITMAP_MAX_NAME)
			b->name[QCOW2_BITMAP_MAX_NAME] = 0;
		p->changed = true;
		repair_say(p->x, "bitmap '%.80s': length of its name repaired",
			   b->name);
	}
	if (b->broken && name_taken(p, i, b->name))
		return rename_double(p, i);
	return 0;
}

static uint64_t entry_bytes(const struct qcow2_bitmap *b)
{
	return (QCOW2_BITMAP_ENTRY_BYTES + b->extra_bytes + strlen(b->name) +
		7) & ~7ull;
}

static void put_entry(const struct qcow2_bitmap *b, uint8_t *to)
{
	size_t name = strlen(b->name);

	tide__put_be(to, b->table_offset, 8);
	tide__put_be(to + 8, b->table_entries, 4);
	tide__put_be(to + 12, b->flags, 4);
	to[16] = b->type;
	to[17] = b->granularity_bits;
	tide__put_be(to + 18, name, 2);
	tide__put_be(to + 20, b->extra_bytes, 4);
	memcpy(to + 24, b->extra, b->extra_bytes);
	memcpy(to + 24 + b->extra_bytes, b->name, name);
}

/* Where the bitmaps extension starts in the file; 0: there is none. */
static uint32_t extension_at(const struct repair *x, bool *last)
{
	uint32_t at = x->h.header_bytes;

	for (uint32_t i = 0; i < x->h.extension_count; i++) {
		const struct qcow2_extension *e = &x->h.extensions[i];

		*last = i + 1 == x->h.extension_count;
		if (e->type == QCOW2_EXT_BITMAPS)
			return at;
		at += 8 + ((e->length_bytes + 7) & ~7u);
	}
	return 0;
}

static int void_bitmaps(struct repair *x)
{
	return repair_field(x, 88, x->h.autoclear &
					   ~(uint64_t)QCOW2_AUTOCLEAR_BITMAPS,
			    8);
}

/* The end mark in its place, in one write; else it stays, but void. */
static int drop_extension(struct repair *x)
{
	bool last = false;
	uint32_t at = extension_at(x, &last);
	int ret = void_bitmaps(x);

	if (!ret && at && last)
		ret = repair_field(x, at, 0, 8);
	return ret ? ret : repair_look(x);
}

static int switch_over(struct repair *x, uint64_t offset, uint64_t bytes,
		       uint32_t count)
{
	bool last = false;
	uint32_t at = extension_at(x, &last);
	uint8_t ext[24] = { 0 };
	int ret;

	tide__put_be(ext, count, 4);
	tide__put_be(ext + 8, bytes, 8);
	tide__put_be(ext + 16, offset, 8);
	if ((ret = void_bitmaps(x)) ||
	    (ret = repair_write(x, at + 8, ext, 24)) ||
	    (ret = repair_sync(x)) ||
	    (ret = repair_field(x, 88,
				x->h.autoclear | QCOW2_AUTOCLEAR_BITMAPS, 8)))
		return ret;
	return repair_look(x);
}

static int write_directory(struct plan *p)
{
	struct repair *x = p->x;
	uint64_t offset = (x->r->size_bytes + x->cluster - 1) & -x->cluster;
	uint64_t bytes = 0;
	uint8_t *buf, *to;
	int ret;

	for (uint32_t i = 0; i < p->b.count; i++)
		if (!p->drop[i])
			bytes += entry_bytes(&p->b.items[i]);
	to = buf = calloc(1, bytes);
	if (!buf)
		return repair_no_memory(x);
	for (uint32_t i = 0; i < p->b.count; i++) {
		if (p->drop[i])
			continue;
		put_entry(&p->b.items[i], to);
		to += entry_bytes(&p->b.items[i]);
	}
	ret = repair_extend(x, offset + bytes);
	if (!ret)
		ret = repair_write(x, offset, buf, bytes);
	free(buf);
	if (!ret)
		ret = repair_sync(x);
	return ret ? ret : switch_over(x, offset, bytes, p->kept);
}

static int plan(struct plan *p)
{
	struct repair *x = p->x;
	int ret = 0;

	p->drop = calloc(p->b.count + 1u, sizeof(*p->drop));
	if (!p->drop)
		return repair_no_memory(x);
	if (!repair_alone(x, x->h.bitmap_directory_offset,
			  x->h.bitmap_directory_bytes,
			  QCOW2_SECTION_BITMAP_DIRECTORY)) {
		repair_say(x, "bitmaps: all dropped: the directory lies on "
			   "something else");
		return drop_extension(x);
	}
	for (uint32_t i = 0; i < p->b.count && !ret; i++)
		ret = decide(p, i);
	if (p->b.trailing) {
		repair_say(x, "bitmaps: directory cut behind its last entry");
		p->changed = true;
	}
	if (p->b.lost) {
		repair_say(x, "bitmaps: %u dropped: their entries cannot be "
			   "told apart", p->b.lost);
		p->changed = true;
	}
	if (ret || !p->changed)
		return ret;
	if (!p->kept)
		return drop_extension(x);
	/* What refers to places past the end must not meet a directory. */
	if (x->found.lost_refs) {
		repair_say(x, "bitmaps: all dropped: there is no safe place "
			   "for a new directory");
		return drop_extension(x);
	}
	return write_directory(p);
}

int repair_bitmaps(struct repair *x)
{
	struct plan p = { .x = x };
	int ret;

	if (x->h.flaws & QCOW2_FLAW_BITMAPS) {
		repair_say(x, "bitmaps: all dropped: the extension of the "
			   "header is unusable");
		return drop_extension(x);
	}
	if (!x->h.has_bitmaps)
		return 0;
	ret = qcow2_bitmaps_read(x->r, &x->h, true, &p.b, x->err);
	if (!ret)
		ret = plan(&p);
	free(p.drop);
	qcow2_bitmaps_fini(&p.b);
	return ret;
}
