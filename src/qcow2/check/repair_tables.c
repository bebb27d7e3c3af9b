/* SPDX-License-Identifier: BSD-2-Clause */
#include "qcow2/check/repair_tables.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/format/entry.h"

struct l1_walk {
	struct repair *x;
	repair_entry_fn *each;
	void *opaque;
	const char *snapshot;
	bool active, changed;
};

static int each_l1(void *opaque, uint64_t index, uint64_t value, uint64_t at)
{
	struct l1_walk *w = opaque;
	uint32_t shift = w->x->h.cluster_bits + qcow2_l2_bits(&w->x->h);
	struct repair_entry e = { w->active, w->snapshot, index << shift,
				  1ull << shift, at, value, 0 };
	uint8_t b[8];
	int ret = w->each(w->x, w->opaque, &e);

	if (ret || e.entry == value)
		return ret;
	w->changed = true;
	tide__put_be(b, e.entry, 8);
	return repair_write(w->x, at, b, 8);
}

static int walk_l1(struct l1_walk *w, uint64_t offset, uint64_t entries,
		   enum qcow2_section use, bool firm)
{
	if (!entries ||
	    (!firm && !repair_alone(w->x, offset, 8 * entries, use)))
		return 0;
	return qcow2_read_references(w->x->r, offset, entries, each_l1, w,
				     w->x->err);
}

static int walk_snapshots(struct l1_walk *w)
{
	struct repair *x = w->x;
	struct qcow2_snapshots s;
	int ret;

	if (!x->h.snapshot_count)
		return 0;
	ret = qcow2_snapshots_read(x->r, &x->h, true, &s, x->err);
	if (ret)
		return ret;
	w->active = false;
	for (uint32_t i = 0; i < s.count && !ret; i++) {
		w->snapshot = s.items[i].name;
		if (!s.items[i].broken)
			ret = walk_l1(w, s.items[i].l1_offset,
				      s.items[i].l1_entries,
				      QCOW2_SECTION_INACTIVE_L1, false);
	}
	qcow2_snapshots_fini(&s);
	return ret;
}

int repair_each_l1(struct repair *x, bool firm, repair_entry_fn *each,
		   void *opaque)
{
	struct l1_walk w = { x, each, opaque, NULL, true, false };
	int ret = walk_l1(&w, x->h.l1_offset,
			  qcow2_l1_readable(&x->h, x->r->size_bytes),
			  QCOW2_SECTION_L1, firm);

	if (!ret)
		ret = walk_snapshots(&w);
	if (!ret && w.changed)
		ret = repair_sync(x);
	return ret;
}

struct l2_walk {
	struct repair *x;
	repair_entry_fn *each;
	void *opaque;
	uint8_t *table; /* owned */
	uint32_t uses; /* that a table's cluster may have */
};

/* One entry, changed in w->table; *changed says if it was. */
static int one_l2(struct l2_walk *w, struct repair_entry *e, uint64_t i,
		  bool *changed)
{
	uint32_t bytes = qcow2_l2_entry_bytes(&w->x->h);
	uint64_t entry = e->entry, subclusters = e->subclusters;
	int ret = w->each(w->x, w->opaque, e);

	if (ret || (e->entry == entry && e->subclusters == subclusters))
		return ret;
	*changed = true;
	tide__put_be(w->table + i * bytes, e->entry, 8);
	if (bytes == 16)
		tide__put_be(w->table + i * bytes + 8, e->subclusters, 8);
	return 0;
}

static int each_l2(void *opaque, const struct qcow2_l2_ref *ref,
		   const uint8_t *table)
{
	struct l2_walk *w = opaque;
	struct repair *x = w->x;
	uint32_t bytes = qcow2_l2_entry_bytes(&x->h);
	struct repair_entry e = { .active = ref->active,
				  .length_bytes = x->cluster };
	uint64_t first = (uint64_t)ref->l1_index
			 << (x->h.cluster_bits + qcow2_l2_bits(&x->h));
	bool changed = false;
	int ret = 0;

	if (repair_uses(x, ref->offset_bytes) & ~w->uses)
		return 0;
	memcpy(w->table, table, x->cluster);
	for (uint64_t i = 0; i < x->cluster / bytes && !ret; i++) {
		e.entry = qcow2_entry(&x->h, table, i, &e.subclusters);
		if (!e.entry && !e.subclusters)
			continue;
		e.at = ref->offset_bytes + i * bytes;
		e.guest_bytes = first + i * x->cluster;
		ret = one_l2(w, &e, i, &changed);
	}
	if (ret || !changed)
		return ret;
	ret = repair_sync(x);
	return ret ? ret : repair_write(x, ref->offset_bytes, w->table,
					x->cluster);
}

int repair_each_l2(struct repair *x, uint32_t others, repair_entry_fn *each,
		   void *opaque)
{
	struct l2_walk w = { x, each, opaque, malloc(x->cluster),
			     USES_L2 | others };
	struct qcow2_visitor v = { &w, NULL, each_l2, qcow2_ignore_flaw };
	int ret;

	if (!w.table)
		return repair_no_memory(x);
	ret = qcow2_visit(x->r, &x->h, &v, x->err);
	free(w.table);
	return ret ? ret : repair_sync(x);
}

void repair_lose(struct repair *x, const struct repair_entry *e,
		 const char *why)
{
	struct qcow2_loss loss = { e->snapshot, e->active, e->guest_bytes,
				   e->length_bytes, why };

	x->lost++;
	if (!x->loss)
		return;
	/* Behind the end of the disk is only the state of the VM. */
	if (e->active && loss.guest_bytes + loss.length_bytes > x->h.size_bytes)
		loss.length_bytes = loss.guest_bytes < x->h.size_bytes ?
					    x->h.size_bytes - loss.guest_bytes :
					    0;
	x->loss(x->loss_opaque, &loss);
}
