/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does a cluster read as a table? Where two references claim one cluster, a
 * table that proves itself is no stray pointer's accident: its entries have no
 * reserved bits, are aligned and lie within the file, and what they name is
 * counted by the refcounts on disk. Other metadata, guest data and text fail
 * that from the first entries on. An empty table proves nothing, and nothing
 * is lost with it.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "qcow2/check/repair_tables.h"
#include "qcow2/format/counts.h"
#include "qcow2/format/entry.h"

/* Looked at of one table; good ones must be this many times the others. */
#define MAX_ENTRIES 512u
#define GOOD_PER_BAD 8u

/* The count on disk; 1 if nobody can tell. */
static int disk_count(struct repair *x, uint64_t cluster, uint64_t *out)
{
	uint32_t bits = qcow2_refblock_bits(&x->h), order = x->h.refcount_order;
	uint64_t index = cluster >> bits, i = cluster & ((1ull << bits) - 1);
	uint64_t table = (uint64_t)x->h.reftable_clusters * x->cluster;
	uint64_t block, at = i << order >> 3;
	uint8_t b[8];
	int ret;

	*out = 1;
	if (x->h.flaws & QCOW2_FLAW_REFTABLE)
		return 0;
	*out = 0;
	if (index * 8 >= table)
		return 0;
	ret = qcow2_read_at(x->r, x->h.reftable_offset + index * 8, b, 8,
			    x->err);
	block = tide__get_be(b, 8) & ~0x1ffull;
	if (ret || !block)
		return ret;
	*out = 1;
	if (block & (x->cluster - 1) || block >= x->r->size_bytes)
		return 0;
	ret = qcow2_read_at(x->r, block + (at & ~7ull), b, 8, x->err);
	if (!ret)
		*out = qcow2_count_get(b, order < 3 ?
					       i & ((64u >> order) - 1) :
					       (at & 7) >> (order - 3), order);
	return ret;
}

static int counted(struct repair *x, uint64_t offset, bool *out)
{
	uint64_t count;
	int ret = disk_count(x, offset / x->cluster, &count);

	*out = !ret && count;
	return ret;
}

/* Is what an L2 entry says possible, and counted? */
static int good_entry(struct repair *x, uint64_t entry, uint64_t subclusters,
		      bool *out)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK, bytes;
	struct qcow2_mend m;

	qcow2_mend_l2(&x->h, x->r->size_bytes, entry, subclusters, &m);
	*out = !m.why;
	if (m.why || x->h.incompatible & QCOW2_INCOMPAT_DATA_FILE)
		return 0;
	if (entry & QCOW2_ENTRY_PACKED)
		qcow2_entry_packed(&x->h, entry, &offset, &bytes);
	return offset ? counted(x, offset, out) : 0;
}

int repair_proves_l2(struct repair *x, uint64_t offset, bool *out)
{
	uint64_t entries = 1ull << qcow2_l2_bits(&x->h), sub, entry;
	uint64_t good = 0, seen = 0;
	uint8_t *table = malloc(x->cluster);
	bool fine;
	int ret;

	if (!table)
		return repair_no_memory(x);
	ret = qcow2_read_at(x->r, offset, table, x->cluster, x->err);
	for (uint64_t i = 0; i < entries && seen < MAX_ENTRIES && !ret; i++) {
		entry = qcow2_entry(&x->h, table, i, &sub);
		if (!entry && !sub)
			continue;
		seen++;
		ret = good_entry(x, entry, sub, &fine);
		good += fine;
	}
	free(table);
	*out = good && good >= (seen - good) * GOOD_PER_BAD;
	return ret;
}

struct l1_proof {
	struct repair *x;
	uint64_t good, seen;
};

static int each_l1(void *opaque, uint64_t index, uint64_t value, uint64_t at)
{
	struct l1_proof *p = opaque;
	struct repair *x = p->x;
	struct qcow2_mend m;
	bool proven = false;
	int ret = 0;

	(void)index;
	(void)at;
	if (p->seen >= MAX_ENTRIES)
		return 0;
	p->seen++;
	qcow2_mend_l1(&x->h, x->r->size_bytes, value, &m);
	if (!m.why)
		ret = counted(x, value & QCOW2_OFFSET_MASK, &proven);
	if (!ret && proven)
		ret = repair_proves_l2(x, value & QCOW2_OFFSET_MASK, &proven);
	p->good += proven;
	return ret;
}

int repair_proves_l1(struct repair *x, uint64_t offset, uint64_t entries,
		     bool *out)
{
	struct l1_proof p = { x, 0, 0 };
	int ret = qcow2_read_references(x->r, offset, entries, each_l1, &p,
					x->err);

	*out = p.good && p.good >= (p.seen - p.good) * GOOD_PER_BAD;
	return ret;
}
