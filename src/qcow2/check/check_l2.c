/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L2 entries: what they refer to, and whether they may.
 *
 * COPIED says "this reference is the only one": a writer that believes it
 * writes in place. So it must not be set where another reference exists. Where
 * it is missing, a needless copy is made; that is wrong only if the refcount
 * on disk says one, too, for else the refcount is what is wrong, and was said.
 */
#include "qcow2/check/check_internal.h"
#include "qcow2/check/mend.h"
#include "qcow2/format/entry.h"

/* One entry of one table, and its place in the file. */
struct spot {
	struct check *c;
	const struct qcow2_l2_ref *ref;
	uint64_t index;
	uint64_t at;
	uint64_t entry;
	uint64_t subclusters;
};

static void complain(const struct spot *s, const struct qcow2_mend *m)
{
	s->c->out.lost_refs += m->doubt;
	s->c->out.mendable += !m->doubt;
	check_say(s->c, QCOW2_PROBLEM_REFERENCE, s->at,
		  "L2 entry at offset %llu: %#llx: %s",
		  (unsigned long long)s->at, (unsigned long long)s->entry,
		  m->why);
}

/* @entry: as it ought to be. */
static int count_packed(const struct spot *s, uint64_t entry)
{
	uint64_t offset, bytes;

	qcow2_entry_packed(s->c->h, entry, &offset, &bytes);
	if (s->ref->active)
		s->c->out.packed_clusters++;
	return check_count(s->c, offset, bytes,
			   s->ref->active + s->ref->inactive, QCOW2_USE_PACKED,
			   s->at);
}

/* Bytes at the end of a guest data cluster that the file does not have. */
static uint64_t cut_bytes(const struct spot *s, uint64_t offset)
{
	const struct qcow2_header *h = s->c->h;
	uint64_t need = s->c->cluster, guest;

	guest = (((uint64_t)s->ref->l1_index << qcow2_l2_bits(h)) + s->index)
		<< h->cluster_bits;
	if (!s->ref->active || s->ref->inactive || s->entry & 1 ||
	    qcow2_l2_entry_bytes(h) != 8 || guest >= h->size_bytes)
		return 0;
	if (need > h->size_bytes - guest)
		need = h->size_bytes - guest;
	if (offset + need <= s->c->r->size_bytes)
		return 0;
	return offset + need - s->c->r->size_bytes;
}

static int count_plain(const struct spot *s, uint64_t entry)
{
	struct check *c = s->c;
	uint64_t offset = entry & QCOW2_OFFSET_MASK, cut;

	if (s->ref->active && entry & QCOW2_ENTRY_ZERO)
		c->out.zero_clusters++;
	else if (s->ref->active && offset)
		c->out.data_clusters++;
	if (!offset || c->external)
		return 0;
	cut = cut_bytes(s, offset);
	c->out.cut_clusters += cut != 0;
	if (cut)
		check_say(c, QCOW2_PROBLEM_REFERENCE, offset,
			  "guest data at offset %llu: the file ends %llu bytes "
			  "too soon", (unsigned long long)offset,
			  (unsigned long long)cut);
	return check_count(c, offset, c->cluster,
			   s->ref->active + s->ref->inactive, QCOW2_USE_DATA,
			   s->at);
}

int check_l2_count(void *opaque, const struct qcow2_l2_ref *ref,
		   const uint8_t *table)
{
	struct check *c = opaque;
	uint64_t entries = 1ull << qcow2_l2_bits(c->h);
	struct spot s = { .c = c, .ref = ref };
	struct qcow2_mend m;
	int ret = 0;

	for (uint64_t i = 0; i < entries && !ret; i++) {
		s.index = i;
		s.at = ref->offset_bytes + i * qcow2_l2_entry_bytes(c->h);
		s.entry = qcow2_entry(c->h, table, i, &s.subclusters);
		if (!s.entry && !s.subclusters)
			continue;
		qcow2_mend_l2(c->h, c->r->size_bytes, s.entry, s.subclusters,
			      &m);
		if (m.why)
			complain(&s, &m);
		ret = m.entry & QCOW2_ENTRY_PACKED ? count_packed(&s, m.entry) :
						    count_plain(&s, m.entry);
	}
	return ret;
}

/* Is the flag what the counts, true and on disk, want it to be? */
static void judge(struct check *c, const char *what, uint64_t at,
		  uint64_t entry, uint64_t offset)
{
	uint64_t cluster = offset / c->cluster;
	uint64_t refs = qcow2_census_refs(&c->census, cluster);
	bool wrong = qcow2_census_wrong(&c->census, cluster);
	bool copied = entry & QCOW2_ENTRY_COPIED;

	if (copied ? refs == 1 && !wrong : refs != 1 || wrong)
		return;
	c->out.copied_harmless += refs == 1;
	check_say(c, QCOW2_PROBLEM_COPIED, at,
		  "%s entry at offset %llu: %#llx: COPIED is %s, but the "
		  "cluster has %s%llu references", what,
		  (unsigned long long)at, (unsigned long long)entry,
		  copied ? "set" : "not set",
		  refs == 1 && copied ? "a wrong refcount and " : "",
		  (unsigned long long)refs);
}

/* In an external data file, all clusters are the disk's alone. */
static void judge_external(struct check *c, uint64_t entry, uint64_t at)
{
	if (entry & (QCOW2_ENTRY_PACKED | QCOW2_ENTRY_COPIED) ||
	    !(entry & QCOW2_OFFSET_MASK))
		return;
	c->out.copied_harmless++;
	check_say(c, QCOW2_PROBLEM_COPIED, at,
		  "L2 entry at offset %llu: %#llx: COPIED is not set, though "
		  "it leads into an external data file",
		  (unsigned long long)at, (unsigned long long)entry);
}

static int judge_l2(void *opaque, const struct qcow2_l2_ref *ref,
		    const uint8_t *table)
{
	struct check *c = opaque;
	uint64_t entries = 1ull << qcow2_l2_bits(c->h), entry, sub, offset;

	for (uint64_t i = 0; ref->active && i < entries; i++) {
		entry = qcow2_entry(c->h, table, i, &sub);
		offset = entry & QCOW2_OFFSET_MASK;
		if (c->external) {
			judge_external(c, entry, ref->offset_bytes +
				       i * qcow2_l2_entry_bytes(c->h));
			continue;
		}
		if (entry & QCOW2_ENTRY_PACKED || !offset ||
		    offset & (c->cluster - 1) || offset >= c->r->size_bytes)
			continue;
		judge(c, "L2", ref->offset_bytes + i *
				       qcow2_l2_entry_bytes(c->h),
		      entry, offset);
	}
	return 0;
}

static int judge_l1(void *opaque, uint64_t index, uint64_t entry, uint64_t at)
{
	struct check *c = opaque;
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	(void)index;
	if (offset && !(offset & (c->cluster - 1)) &&
	    offset < c->r->size_bytes)
		judge(c, "L1", at, entry, offset);
	return 0;
}

int check_copied(struct check *c)
{
	struct qcow2_visitor v = { c, NULL, judge_l2,
				   qcow2_ignore_flaw };
	int ret;

	ret = qcow2_read_references(c->r, c->h->l1_offset,
				    qcow2_l1_readable(c->h, c->r->size_bytes),
				    judge_l1, c, c->err);
	if (!ret)
		ret = qcow2_visit(c->r, c->h, &v, c->err);
	return ret;
}
