/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * References that lead nowhere or onto other metadata, given up: the entry
 * becomes zero, and the guest reads there what it would read had it never
 * written. Only on demand: before that, somebody may still find out what the
 * entry meant.
 *
 * Where guest data and refcounts share a cluster, nobody can say whose
 * reference is wrong. The guest keeps it, the refcounts are rebuilt elsewhere.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/format/entry.h"
#include "qcow2/check/repair_internal.h"

struct refs {
	struct repair *x;
	uint8_t *table; /* owned */
	uint64_t cleared;
};

#define REFCOUNTS \
	(1u << QCOW2_SECTION_REFCOUNT_TABLE | 1u << QCOW2_SECTION_REFCOUNT_BLOCK)
#define L2_TABLES (1u << QCOW2_SECTION_L2 | 1u << QCOW2_SECTION_INACTIVE_L2)

static uint32_t uses(const struct repair *x, uint64_t offset)
{
	return qcow2_census_uses(&x->census, offset / x->cluster);
}

/* May one that uses the cluster for @own keep it? */
static bool keeps(const struct repair *x, uint64_t offset, uint32_t own)
{
	if (offset & (x->cluster - 1) || offset >= x->r->size_bytes)
		return false;
	return !(uses(x, offset) & ~(own | REFCOUNTS));
}

static int each_l1(void *opaque, uint64_t index, uint64_t entry, uint64_t at)
{
	struct refs *f = opaque;
	uint64_t offset = entry & QCOW2_OFFSET_MASK, want = entry;
	uint8_t b[8];

	(void)index;
	want &= QCOW2_OFFSET_MASK | QCOW2_ENTRY_COPIED;
	if (!offset || !keeps(f->x, offset, L2_TABLES))
		want = 0;
	if (want == entry)
		return 0;
	f->cleared++;
	tide__put_be(b, want, 8);
	return repair_write(f->x, at, b, 8);
}

static bool packed_keeps(const struct repair *x, uint64_t entry)
{
	uint64_t offset, bytes;

	qcow2_entry_packed(&x->h, entry, &offset, &bytes);
	if (entry & QCOW2_ENTRY_COPIED || offset >= x->r->size_bytes)
		return false;
	for (uint64_t c = offset & -x->cluster; c < offset + bytes;
	     c += x->cluster)
		if (c < x->r->size_bytes &&
		    uses(x, c) & ~(1u << QCOW2_USE_PACKED | REFCOUNTS))
			return false;
	return true;
}

static bool entry_stays(const struct repair *x, uint64_t entry,
			uint64_t subclusters)
{
	bool extended = qcow2_l2_entry_bytes(&x->h) == 16;
	uint64_t reserved = QCOW2_ENTRY_RESERVED;
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	if (entry & QCOW2_ENTRY_PACKED)
		return !subclusters && packed_keeps(x, entry);
	if (x->h.version < 3 || extended)
		reserved |= QCOW2_ENTRY_ZERO;
	if (entry & reserved ||
	    (uint32_t)subclusters & (uint32_t)(subclusters >> 32) ||
	    ((uint32_t)subclusters && !offset))
		return false;
	return !offset || keeps(x, offset, 1u << QCOW2_USE_DATA);
}

static int each_l2(void *opaque, const struct qcow2_l2_ref *ref,
		   const uint8_t *table)
{
	struct refs *f = opaque;
	struct repair *x = f->x;
	uint32_t bytes = qcow2_l2_entry_bytes(&x->h);
	uint64_t before = f->cleared, entry, subclusters;

	if (uses(x, ref->offset_bytes) & ~L2_TABLES)
		return 0;
	memcpy(f->table, table, x->cluster);
	for (uint64_t i = 0; i < x->cluster / bytes; i++) {
		entry = qcow2_entry(&x->h, table, i, &subclusters);
		if (entry_stays(x, entry, subclusters))
			continue;
		memset(f->table + i * bytes, 0, bytes);
		f->cleared++;
	}
	if (f->cleared == before)
		return 0;
	return repair_write(x, ref->offset_bytes, f->table, x->cluster);
}

static int clear_l1s(struct refs *f)
{
	struct repair *x = f->x;
	struct qcow2_snapshots s;
	int rc = qcow2_read_entries(x->r, x->h.l1_offset, x->h.l1_entries,
				    each_l1, f, x->err);

	if (rc || !x->h.snapshot_count)
		return rc;
	rc = qcow2_snapshots_read(x->r, &x->h, true, &s, x->err);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < s.count && !rc; i++)
		if (s.items[i].l1_entries &&
		    repair_alone(x, s.items[i].l1_offset,
				 8ull * s.items[i].l1_entries,
				 QCOW2_SECTION_INACTIVE_L1))
			rc = qcow2_read_entries(x->r, s.items[i].l1_offset,
						s.items[i].l1_entries, each_l1,
						f, x->err);
	qcow2_snapshots_fini(&s);
	return rc;
}

int repair_refs(struct repair *x)
{
	struct refs f = { .x = x, .table = malloc(x->cluster) };
	struct qcow2_visitor v = { &f, NULL, each_l2,
				   qcow2_ignore_flaw };
	int rc;

	if (!f.table)
		return repair_no_memory(x);
	rc = clear_l1s(&f);
	if (!rc)
		rc = repair_sync(x);
	if (!rc)
		rc = repair_look(x);
	if (!rc && !(x->h.incompatible & QCOW2_INCOMPAT_DATA_FILE))
		rc = qcow2_visit(x->r, &x->h, &v, x->err);
	free(f.table);
	if (!rc)
		rc = repair_sync(x);
	if (!rc && f.cleared)
		repair_say(x, "references: %llu that led nowhere were given up",
			   (unsigned long long)f.cleared);
	return rc ? rc : repair_look(x);
}
