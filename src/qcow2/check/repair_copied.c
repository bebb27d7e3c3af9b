/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * COPIED flags as the true references want them. A table that lies on
 * something else is left alone: a write would change that, too.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "qcow2/format/entry.h"
#include "qcow2/check/repair_internal.h"

struct flags {
	struct repair *x;
	uint8_t *table; /* owned */
	uint64_t changed;
};

/* The entry with its flag right; as it is if it refers to no cluster. */
static uint64_t right(const struct repair *x, uint64_t entry)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	if (!offset || offset & (x->cluster - 1) ||
	    offset >= x->r->size_bytes)
		return entry;
	if (qcow2_census_refs(&x->census, offset / x->cluster) == 1) {
		/* A reference that is lost may have meant this cluster, too. */
		if (x->found.lost_refs)
			return entry;
		return entry | QCOW2_ENTRY_COPIED;
	}
	return entry & ~QCOW2_ENTRY_COPIED;
}

static bool only_l2(const struct repair *x, uint64_t offset)
{
	uint32_t uses = qcow2_census_uses(&x->census, offset / x->cluster);

	return uses && !(uses & ~(1u << QCOW2_SECTION_L2 |
				  1u << QCOW2_SECTION_INACTIVE_L2));
}

static int each_l2(void *opaque, const struct qcow2_l2_ref *ref,
		   const uint8_t *table)
{
	struct flags *f = opaque;
	struct repair *x = f->x;
	bool external = x->h.incompatible & QCOW2_INCOMPAT_DATA_FILE;
	uint32_t bytes = qcow2_l2_entry_bytes(&x->h);
	uint64_t entry, want, before = f->changed;

	if (!ref->active || !only_l2(x, ref->offset_bytes))
		return 0;
	for (uint64_t at = 0; at < x->cluster; at += bytes) {
		entry = tide__get_be(table + at, 8);
		want = entry & QCOW2_ENTRY_PACKED ? entry :
		       external && entry & QCOW2_OFFSET_MASK ?
			       entry | QCOW2_ENTRY_COPIED :
			       right(x, entry);
		tide__put_be(f->table + at, want, 8);
		if (bytes == 16)
			tide__put_be(f->table + at + 8,
				     tide__get_be(table + at + 8, 8), 8);
		f->changed += want != entry;
	}
	if (f->changed == before)
		return 0;
	return repair_write(x, ref->offset_bytes, f->table, x->cluster);
}

static int each_l1(void *opaque, uint64_t index, uint64_t entry, uint64_t at)
{
	struct flags *f = opaque;
	uint64_t want = right(f->x, entry);
	uint8_t b[8];

	(void)index;
	if (want == entry)
		return 0;
	f->changed++;
	tide__put_be(b, want, 8);
	return repair_write(f->x, at, b, 8);
}

int repair_copied(struct repair *x)
{
	struct flags f = { .x = x };
	struct qcow2_visitor v = { &f, NULL, each_l2,
				   qcow2_ignore_flaw };
	uint32_t entries = qcow2_l1_readable(&x->h, x->r->size_bytes);
	int ret = 0;

	f.table = malloc(x->cluster);
	if (!f.table)
		return repair_no_memory(x);
	if (entries && repair_alone(x, x->h.l1_offset, 8ull * entries,
				    QCOW2_SECTION_L1))
		ret = qcow2_read_entries(x->r, x->h.l1_offset, entries, each_l1,
					 &f, x->err);
	if (!ret)
		ret = qcow2_visit(x->r, &x->h, &v, x->err);
	free(f.table);
	if (!ret)
		ret = repair_sync(x);
	if (!ret && f.changed)
		repair_say(x, "COPIED flags: %llu corrected",
			   (unsigned long long)f.changed);
	return ret;
}
