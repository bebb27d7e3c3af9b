/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walk over all references to metadata, from the header down.
 *
 * What bounds it on a damaged image: tables that belong to snapshots and
 * bitmaps are disjoint in a good image, so all of one sort together are no
 * longer than the file. When their sum is, some overlap, and the walk ends
 * there with a flaw instead of reading one place 65536 times.
 */
#include "qcow2/format/layout.h"

#include <errno.h>
#include <stdlib.h>

#include "qcow2/format/l2set.h"

#define L1_RESERVED 0x7f000000000001ffull

struct walk {
	const struct qcow2_reader *r;
	const struct qcow2_header *h;
	const struct qcow2_visitor *v;
	struct tide_error *err;
	struct qcow2_l2set l2s;
	uint64_t cluster;
	uint64_t table_bytes; /* sum over snapshots, then over bitmaps */
	/* The table that is being read. */
	enum qcow2_section section;
	uint32_t owner;
};

static const char *const names[QCOW2_SECTION_COUNT] = {
	"header",	  "L1 table",	       "L2 table",
	"refcount table", "refcount block",    "snapshot table",
	"snapshot's L1 table", "snapshot's L2 table", "bitmap directory",
	"bitmap table",	  "bitmap data",       "LUKS header",
};

const char *qcow2_section_name(enum qcow2_section section)
{
	return section < QCOW2_SECTION_COUNT ? names[section] : "data";
}

static int defect(struct walk *w, const struct qcow2_defect *f)
{
	if (w->v->flaw)
		return w->v->flaw(w->v->opaque, f);
	return tide_error_set(w->err, -EINVAL, "qcow2-layout", f->from,
			      "%s: reference to a %s at offset %llu: %#llx: %s",
			      w->r->path, qcow2_section_name(f->section),
			      (unsigned long long)f->from,
			      (unsigned long long)f->value, f->why);
}

static int flaw(struct walk *w, enum qcow2_section section, uint64_t from,
		uint64_t value, const char *why)
{
	struct qcow2_defect f = { section, from, value, why, false };

	return defect(w, &f);
}

/* What is wrong with it does not touch what it refers to. */
static int known_flaw(struct walk *w, enum qcow2_section section,
		      uint64_t from, uint64_t value, const char *why)
{
	struct qcow2_defect f = { section, from, value, why, true };

	return defect(w, &f);
}

/* NULL if a section may lie there. */
static const char *misplaced(const struct walk *w, uint64_t offset,
			     uint64_t bytes)
{
	uint64_t end = (w->r->size_bytes + w->cluster - 1) & -w->cluster;

	if (offset & (w->cluster - 1))
		return "not aligned to a cluster";
	if (offset >= w->r->size_bytes || bytes > end - offset)
		return "past the end of the file";
	return NULL;
}

/* 1: it is usable; 0: it is not, and that was said; or an error. */
static int place(struct walk *w, enum qcow2_section section, uint64_t offset,
		 uint64_t bytes, uint32_t owner, uint64_t refs, uint64_t from)
{
	struct qcow2_place p = { section, offset, bytes, owner, refs, from };
	const char *why = misplaced(w, offset, bytes);
	int ret;

	if (why)
		return flaw(w, section, from, offset, why);
	ret = w->v->place ? w->v->place(w->v->opaque, &p) : 0;
	return ret ? ret : 1;
}

int qcow2_ignore_flaw(void *opaque, const struct qcow2_defect *flaw)
{
	(void)opaque;
	(void)flaw;
	return 0;
}

static int each_l1(void *opaque, uint64_t index, uint64_t value, uint64_t at)
{
	struct walk *w = opaque;
	bool active = w->section == QCOW2_SECTION_L1;
	enum qcow2_section kind = active ? QCOW2_SECTION_L2 :
					   QCOW2_SECTION_INACTIVE_L2;
	uint64_t offset = value & QCOW2_OFFSET_MASK;
	const char *why;
	int ret = 0;

	if (value & L1_RESERVED)
		ret = known_flaw(w, kind, at, value, "reserved bits are set");
	else if (!offset && value & 1ull << 63)
		ret = known_flaw(w, kind, at, value, "COPIED, but no table");
	if (ret || !offset)
		return ret;
	why = misplaced(w, offset, w->cluster);
	if (why)
		return flaw(w, kind, at, value, why);
	if (qcow2_l2set_add(&w->l2s, offset, active, (uint32_t)index, at))
		return tide_error_set(w->err, -ENOMEM, "qcow2-layout", at,
				      "%s: no memory for the list of L2 tables",
				      w->r->path);
	return 0;
}

static int each_block(void *opaque, uint64_t index, uint64_t value,
		      uint64_t at)
{
	struct walk *w = opaque;
	int ret = 0;

	if (value & 0x1ff)
		ret = flaw(w, QCOW2_SECTION_REFCOUNT_BLOCK, at, value,
			   "reserved bits are set");
	value &= ~0x1ffull;
	if (ret || !value)
		return ret;
	ret = place(w, QCOW2_SECTION_REFCOUNT_BLOCK, value, w->cluster,
		    (uint32_t)index, 1, at);
	return ret < 0 ? ret : 0;
}

static int each_bitmap_data(void *opaque, uint64_t index, uint64_t value,
			    uint64_t at)
{
	struct walk *w = opaque;
	uint64_t offset = value & QCOW2_OFFSET_MASK;
	int ret = 0;

	(void)index;
	if (value & QCOW2_BITMAP_TABLE_RESERVED || (offset && value & 1))
		ret = flaw(w, QCOW2_SECTION_BITMAP_DATA, at, value,
			   "reserved bits are set");
	if (ret || !offset)
		return ret;
	ret = place(w, QCOW2_SECTION_BITMAP_DATA, offset, w->cluster, w->owner,
		    1, at);
	return ret < 0 ? ret : 0;
}

/* A table of u64 in one place, and then each of its entries. */
static int table(struct walk *w, enum qcow2_section section, uint64_t offset,
		 uint64_t entries, uint32_t owner, uint64_t from,
		 qcow2_entry_fn *each)
{
	uint64_t bytes = entries * 8;
	int ret;

	if (section == QCOW2_SECTION_REFCOUNT_TABLE)
		bytes = (bytes + w->cluster - 1) & -w->cluster;
	if (!entries)
		return 0;
	if (!offset)
		return flaw(w, section, from, 0, "a table without a place");
	w->table_bytes += bytes;
	if (w->table_bytes > w->r->size_bytes + w->cluster)
		return flaw(w, section, from, offset,
			    "such tables are longer than the file: "
			    "some overlap");
	ret = place(w, section, offset, bytes, owner, 1, from);
	if (ret <= 0)
		return ret;
	w->section = section;
	w->owner = owner;
	return qcow2_read_references(w->r, offset, entries, each, w, w->err);
}

/* What is wrong with an entry, and yet known. */
static int doubtful_entry(struct walk *w, const struct qcow2_snapshot *s)
{
	struct qcow2_defect f = { QCOW2_SECTION_SNAPSHOT_TABLE,
				  s->entry_offset, s->l1_offset, NULL, true };

	if (s->lengths_guessed)
		f.why = "the lengths of an entry are wrong";
	else if (s->incomplete)
		f.why = "an entry without the extra data of version 3";
	/* Who is not tolerant reads the first no further, the second as is. */
	return f.why && w->v->flaw ? defect(w, &f) : 0;
}

static int walk_snapshot(struct walk *w, const struct qcow2_snapshot *s,
			 uint32_t i)
{
	int ret = doubtful_entry(w, s);

	if (ret)
		return ret;
	if (s->broken)
		return flaw(w, QCOW2_SECTION_INACTIVE_L1, s->entry_offset,
			    s->l1_offset, s->broken);
	return table(w, QCOW2_SECTION_INACTIVE_L1, s->l1_offset, s->l1_entries,
		     i, s->entry_offset, each_l1);
}

static int walk_snapshots(struct walk *w)
{
	const struct qcow2_header *h = w->h;
	bool tolerant = w->v->flaw != NULL;
	struct qcow2_snapshots s = { 0 };
	int ret;

	if (!h->snapshot_count && !(h->flaws & QCOW2_FLAW_SNAPSHOTS))
		return 0;
	ret = qcow2_snapshots_read(w->r, h, tolerant, &s, w->err);
	if (ret)
		return ret;
	if (s.broken)
		ret = flaw(w, QCOW2_SECTION_SNAPSHOT_TABLE, 64,
			   h->snapshots_offset,
			   "the snapshot table cannot be read to its end");
	if (!ret && s.table_bytes)
		ret = place(w, QCOW2_SECTION_SNAPSHOT_TABLE,
			    h->snapshots_offset, s.table_bytes, 0, 1, 64);
	w->table_bytes = 0;
	for (uint32_t i = 0; i < s.count && ret >= 0; i++)
		ret = walk_snapshot(w, &s.items[i], i);
	qcow2_snapshots_fini(&s);
	return ret < 0 ? ret : 0;
}

static int broken_bitmaps(struct walk *w, const struct qcow2_bitmaps *b)
{
	int ret = 0;

	for (uint32_t i = 0; i < b->count && !ret; i++)
		if (b->items[i].broken)
			ret = flaw(w, QCOW2_SECTION_BITMAP_DIRECTORY,
				   b->items[i].entry_offset,
				   b->items[i].table_offset,
				   b->items[i].broken);
	if (!ret && b->trailing)
		ret = flaw(w, QCOW2_SECTION_BITMAP_DIRECTORY,
			   w->h->bitmap_directory_offset,
			   w->h->bitmap_directory_bytes,
			   "the directory goes on behind its last entry");
	if (!ret && b->lost)
		ret = flaw(w, QCOW2_SECTION_BITMAP_DIRECTORY,
			   w->h->bitmap_directory_offset, b->lost,
			   "entries of the directory cannot be told apart");
	return ret;
}

static int walk_bitmaps(struct walk *w)
{
	const struct qcow2_header *h = w->h;
	struct qcow2_bitmaps b = { 0 };
	int ret;

	if (h->flaws & QCOW2_FLAW_BITMAPS)
		return flaw(w, QCOW2_SECTION_BITMAP_DIRECTORY, 0,
			    h->bitmap_directory_offset,
			    "the bitmaps extension is unusable");
	if (!h->has_bitmaps)
		return 0;
	ret = place(w, QCOW2_SECTION_BITMAP_DIRECTORY,
		    h->bitmap_directory_offset, h->bitmap_directory_bytes, 0, 1,
		    h->bitmap_directory_offset);
	if (ret > 0)
		ret = qcow2_bitmaps_read(w->r, h, w->v->flaw != NULL, &b,
					 w->err);
	if (!ret)
		ret = broken_bitmaps(w, &b);
	w->table_bytes = 0;
	for (uint32_t i = 0; i < b.count && ret >= 0; i++)
		if (b.items[i].table_usable)
			ret = table(w, QCOW2_SECTION_BITMAP_TABLE,
				    b.items[i].table_offset,
				    b.items[i].table_entries, i,
				    b.items[i].entry_offset, each_bitmap_data);
	qcow2_bitmaps_fini(&b);
	return ret < 0 ? ret : 0;
}

static int place_l2s(struct walk *w)
{
	const struct qcow2_l2_ref *s;
	int ret = 0;

	qcow2_l2set_sort(&w->l2s);
	for (uint64_t i = 0; i < w->l2s.count && ret >= 0; i++) {
		s = &w->l2s.slots[i];
		if (s->active)
			ret = place(w, QCOW2_SECTION_L2, s->offset_bytes,
				    w->cluster, s->l1_index, s->active,
				    s->from);
		if (ret >= 0 && s->inactive)
			ret = place(w, QCOW2_SECTION_INACTIVE_L2,
				    s->offset_bytes, w->cluster, s->l1_index,
				    s->inactive, s->from);
	}
	return ret < 0 ? ret : 0;
}

static int show_l2s(struct walk *w)
{
	uint8_t *bytes;
	int ret = 0;

	if (!w->v->l2 || !w->l2s.count)
		return 0;
	bytes = malloc(w->cluster);
	if (!bytes)
		return tide_error_set(w->err, -ENOMEM, "qcow2-layout", 0,
				      "%s: no memory for an L2 table",
				      w->r->path);
	for (uint64_t i = 0; i < w->l2s.count && !ret; i++) {
		/* A hole is a table that refers to nothing. */
		if (qcow2_is_hole(w->r, w->l2s.slots[i].offset_bytes,
				  w->cluster))
			continue;
		ret = qcow2_read_at(w->r, w->l2s.slots[i].offset_bytes, bytes,
				    w->cluster, w->err);
		if (!ret)
			ret = w->v->l2(w->v->opaque, &w->l2s.slots[i], bytes);
	}
	free(bytes);
	return ret;
}

static int walk_refcounts(struct walk *w)
{
	const struct qcow2_header *h = w->h;

	if (h->flaws & QCOW2_FLAW_REFTABLE)
		return flaw(w, QCOW2_SECTION_REFCOUNT_TABLE, 48,
			    h->reftable_offset,
			    "there is no usable refcount table");
	w->table_bytes = 0;
	return table(w, QCOW2_SECTION_REFCOUNT_TABLE, h->reftable_offset,
		     ((uint64_t)h->reftable_clusters << h->cluster_bits) / 8, 0,
		     48, each_block);
}

/* What the file does not hold of it is missed, and may have been anything. */
static int walk_l1(struct walk *w)
{
	const struct qcow2_header *h = w->h;
	uint32_t there = qcow2_l1_readable(h, w->r->size_bytes);
	int ret = 0;

	if (h->flaws & QCOW2_FLAW_L1)
		ret = flaw(w, QCOW2_SECTION_L1, 40, h->l1_offset,
			   there ? "ends past the end of the file" :
				  "past the end of the file");
	w->table_bytes = 0;
	return ret ? ret : table(w, QCOW2_SECTION_L1, h->l1_offset, there, 0,
				 40, each_l1);
}

static int walk_all(struct walk *w)
{
	const struct qcow2_header *h = w->h;
	int ret = place(w, QCOW2_SECTION_HEADER, 0, w->cluster, 0, 1, 0);

	if (ret < 0)
		return ret;
	if ((ret = walk_l1(w)) || (ret = walk_refcounts(w)) ||
	    (ret = walk_snapshots(w)) || (ret = place_l2s(w)) ||
	    (ret = walk_bitmaps(w)))
		return ret;
	if (h->has_luks) {
		ret = place(w, QCOW2_SECTION_LUKS_HEADER, h->luks_offset,
			    h->luks_bytes, 0, 1, 0);
		if (ret < 0)
			return ret;
	}
	return show_l2s(w);
}

int qcow2_visit(const struct qcow2_reader *r, const struct qcow2_header *h,
		const struct qcow2_visitor *visitor, struct tide_error *err)
{
	struct walk w = { .r = r, .h = h, .v = visitor, .err = err,
			  .cluster = qcow2_cluster_bytes(h) };
	int ret = walk_all(&w);

	qcow2_l2set_fini(&w.l2s);
	return ret;
}

struct simple {
	qcow2_layout_fn *each;
	void *opaque;
};

static int simple_place(void *opaque, const struct qcow2_place *p)
{
	struct simple *s = opaque;

	return s->each(s->opaque, p->section, p->offset_bytes, p->length_bytes,
		       p->owner);
}

int qcow2_layout_walk(const struct qcow2_reader *r,
		      const struct qcow2_header *h, qcow2_layout_fn *each,
		      void *opaque, struct tide_error *err)
{
	struct simple s = { each, opaque };
	struct qcow2_visitor v = { .opaque = &s, .place = simple_place };

	return qcow2_visit(r, h, &v, err);
}
