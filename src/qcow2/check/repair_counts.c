/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Refcounts as they ought to be, in place or all anew.
 *
 * In place needs blocks that are nothing but blocks, and one for every cluster
 * in use. Else a new table and new blocks are written behind the end of the
 * file, where nothing refers to, and the header is switched over: offset and
 * length of the table stand side by side in its first sector.
 *
 * While some reference leads nowhere, what it meant may be among the clusters
 * that seem leaked. Then counts are only raised, and only in place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/check/repair_internal.h"
#include "qcow2/format/counts.h"

struct counts {
	struct repair *x;
	uint64_t *blocks; /* owned; offset of each block, 0: none */
	uint64_t entries;
	bool trusted;
	uint64_t changed; /* counts, */
	uint64_t mended; /* entries of the table */
};

static uint64_t max_count(const struct repair *x)
{
	return x->h.refcount_order == 6 ?
		       UINT64_MAX :
		       (1ull << (1u << x->h.refcount_order)) - 1;
}

static int too_narrow(struct repair *x, uint64_t cluster, uint64_t refs)
{
	return tide_error_set(x->err, -ERANGE, "qcow2-repair",
			      cluster * x->cluster,
			      "%s: the cluster at offset %llu has %llu "
			      "references, more than %u-bit refcounts can "
			      "hold; copy the image into a new one", x->r->path,
			      (unsigned long long)(cluster * x->cluster),
			      (unsigned long long)refs,
			      1u << x->h.refcount_order);
}

/* Is any cluster of block @index in use? */
static bool in_use(const struct repair *x, uint64_t index)
{
	uint32_t bits = qcow2_refblock_bits(&x->h);
	uint64_t i = index << bits, end = (index + 1) << bits;

	while (i < end && i < x->census.clusters) {
		if (!x->census.pages[i / CENSUS_PAGE_CLUSTERS]) {
			i = (i / CENSUS_PAGE_CLUSTERS + 1) *
			    CENSUS_PAGE_CLUSTERS;
			continue;
		}
		if (qcow2_census_refs(&x->census, i))
			return true;
		i++;
	}
	return false;
}

static int each_place(void *opaque, const struct qcow2_place *p)
{
	struct counts *c = opaque;
	bool block = p->section == QCOW2_SECTION_REFCOUNT_BLOCK;

	if (!block && p->section != QCOW2_SECTION_REFCOUNT_TABLE)
		return 0;
	if (!repair_alone(c->x, p->offset_bytes, p->length_bytes, p->section)) {
		/* Where nothing is in use, it is the entry that is wrong. */
		if (block && !in_use(c->x, p->owner))
			return 0;
		c->trusted = false;
	}
	if (block && p->owner < c->entries)
		c->blocks[p->owner] = p->offset_bytes;
	return 0;
}

static int each_defect(void *opaque, const struct qcow2_defect *d)
{
	struct counts *c = opaque;

	/* An entry that leads nowhere is corrected, or missed: all_covered. */
	if (d->section == QCOW2_SECTION_REFCOUNT_TABLE)
		c->trusted = false;
	return 0;
}

/* May what seems leaked be what some reference meant? */
static bool keeps_leaks(const struct repair *x)
{
	return x->found.lost_refs || x->doubtful;
}

static int fix_block(struct counts *c, uint64_t index, uint8_t *buf)
{
	struct repair *x = c->x;
	uint32_t bits = qcow2_refblock_bits(&x->h), order = x->h.refcount_order;
	uint64_t refs, disk, before = c->changed;
	int ret = qcow2_read_at(x->r, c->blocks[index], buf, x->cluster,
				x->err);

	for (uint64_t i = 0; !ret && i < 1ull << bits; i++) {
		refs = qcow2_census_refs(&x->census, (index << bits) + i);
		disk = qcow2_count_get(buf, i, order);
		if (refs > max_count(x))
			return too_narrow(x, (index << bits) + i, refs);
		if (refs == disk || (keeps_leaks(x) && refs < disk))
			continue;
		qcow2_count_set(buf, i, order, refs);
		c->changed++;
	}
	if (!ret && c->changed != before)
		ret = repair_write(x, c->blocks[index], buf, x->cluster);
	return ret;
}

static int fix_in_place(struct counts *c)
{
	uint8_t *buf = malloc(c->x->cluster);
	int ret = 0;

	if (!buf)
		return repair_no_memory(c->x);
	for (uint64_t i = 0; i < c->entries && !ret; i++)
		if (c->blocks[i] &&
		    (in_use(c->x, i) ||
		     !qcow2_is_hole(c->x->r, c->blocks[i], c->x->cluster)))
			ret = fix_block(c, i, buf);
	free(buf);
	if (!ret)
		ret = repair_sync(c->x);
	if (!ret && c->changed)
		repair_say(c->x, "refcounts: %llu corrected%s",
			   (unsigned long long)c->changed,
			   keeps_leaks(c->x) ?
				   "; what seems leaked stays" :
				   "");
	return ret;
}

static bool all_covered(const struct counts *c)
{
	uint32_t bits = qcow2_refblock_bits(&c->x->h);
	uint64_t last = (c->x->census.clusters - 1) >> bits;

	for (uint64_t i = 0; i <= last; i++)
		if ((i >= c->entries || !c->blocks[i]) && in_use(c->x, i))
			return false;
	return true;
}

/* An entry of the table with reserved bits, or that is no block's. */
static int each_entry(void *opaque, uint64_t index, uint64_t value,
		      uint64_t at)
{
	struct counts *c = opaque;
	uint8_t b[8];

	if (value == c->blocks[index])
		return 0;
	c->mended++;
	tide__put_be(b, c->blocks[index], 8);
	return repair_write(c->x, at, b, 8);
}

/*
 * The table is alone in its clusters, and every cluster in use has its block:
 * what else is in an entry means nothing, and would be taken for a block once
 * the file has grown so far.
 */
static int fix_entries(struct counts *c)
{
	struct repair *x = c->x;
	int ret = qcow2_read_references(x->r, x->h.reftable_offset, c->entries,
					each_entry, c, x->err);

	if (!ret && c->mended)
		ret = repair_sync(x);
	if (!ret && c->mended)
		repair_say(x, "refcount table: %llu entries corrected",
			   (unsigned long long)c->mended);
	return ret;
}

int repair_counts(struct repair *x)
{
	struct counts c = { .x = x, .trusted = true };
	struct qcow2_visitor v = { &c, each_place, NULL, each_defect };
	int ret;

	if (!(x->h.flaws & QCOW2_FLAW_REFTABLE))
		c.entries = (uint64_t)x->h.reftable_clusters
			    << (x->h.cluster_bits - 3);
	c.blocks = calloc(c.entries + 1, sizeof(*c.blocks));
	if (!c.blocks)
		return repair_no_memory(x);
	ret = qcow2_visit(x->r, &x->h, &v, x->err);
	if (ret)
		goto out;
	if (c.trusted && c.entries && all_covered(&c)) {
		ret = fix_entries(&c);
		if (!ret && c.mended)
			ret = repair_look(x);
		if (!ret)
			ret = fix_in_place(&c);
	} else if (keeps_leaks(x))
		repair_say(x, "kept: refcounts are not rebuilt while it is "
			   "open what is in use");
	else
		ret = repair_rebuild(x);
out:
	free(c.blocks);
	return ret;
}
