/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All refcounts anew. The new table and its blocks lie in a row behind the
 * end of the file: how many blocks they need depends on how many clusters
 * they take themselves, so the size is found by trying until it holds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/check/repair_internal.h"

struct rebuild {
	struct repair *x;
	uint64_t first; /* cluster of the new area */
	uint64_t table_clusters, blocks;
	uint64_t *table; /* owned; entry: block's offset or 0 */
	uint64_t entries;
};

/* The old structures are not referred to after the switch. */
static int forget(void *opaque, const struct qcow2_place *p)
{
	struct repair *x = opaque;
	uint64_t i = p->offset_bytes / x->cluster;
	uint64_t end = i + (p->length_bytes + x->cluster - 1) / x->cluster;
	struct qcow2_census_page *page;

	if (p->section != QCOW2_SECTION_REFCOUNT_BLOCK &&
	    p->section != QCOW2_SECTION_REFCOUNT_TABLE)
		return 0;
	for (; i < end && i < x->census.clusters; i++) {
		page = x->census.pages[i / CENSUS_PAGE_CLUSTERS];
		if (page && page->refs[i % CENSUS_PAGE_CLUSTERS])
			page->refs[i % CENSUS_PAGE_CLUSTERS]--;
	}
	return 0;
}

static int ignore(void *opaque, const struct qcow2_defect *d)
{
	(void)opaque;
	(void)d;
	return 0;
}

static uint64_t count_of(const struct rebuild *b, uint64_t cluster)
{
	if (cluster >= b->first)
		return cluster < b->first + b->table_clusters + b->blocks;
	return qcow2_census_refs(&b->x->census, cluster);
}

static bool needed(const struct rebuild *b, uint64_t index)
{
	const struct qcow2_census *census = &b->x->census;
	uint32_t bits = qcow2_refblock_bits(&b->x->h);
	uint64_t i = index << bits, end = (index + 1) << bits;

	if (end > b->first && i < b->first + b->table_clusters + b->blocks)
		return true;
	while (i < end && i < census->clusters) {
		if (!census->pages[i / CENSUS_PAGE_CLUSTERS])
			i = (i / CENSUS_PAGE_CLUSTERS + 1) *
			    CENSUS_PAGE_CLUSTERS;
		else if (qcow2_census_refs(census, i))
			return true;
		else
			i++;
	}
	return false;
}

static int plan(struct rebuild *b)
{
	struct repair *x = b->x;
	uint32_t bits = qcow2_refblock_bits(&x->h);
	uint64_t had;

	b->table_clusters = b->blocks = 1;
	do {
		had = b->table_clusters + b->blocks;
		b->entries = ((b->first + had - 1) >> bits) + 1;
		b->table_clusters = (b->entries * 8 + x->cluster - 1) /
				    x->cluster;
		if (b->table_clusters * x->cluster > QCOW2_MAX_REFTABLE_BYTES)
			return tide_error_set(x->err, -ERANGE, "qcow2-repair",
					      48, "%s: the file is too large "
					      "for a refcount table",
					      x->r->path);
		b->blocks = 0;
		for (uint64_t i = 0; i < b->entries; i++)
			b->blocks += needed(b, i);
	} while (b->table_clusters + b->blocks > had);
	return 0;
}

static int write_blocks(struct rebuild *b, uint8_t *buf)
{
	struct repair *x = b->x;
	uint32_t bits = qcow2_refblock_bits(&x->h), order = x->h.refcount_order;
	uint64_t next = b->first + b->table_clusters, refs;
	int rc = 0;

	for (uint64_t i = 0; i < b->entries && !rc; i++) {
		if (!needed(b, i))
			continue;
		memset(buf, 0, x->cluster);
		for (uint64_t k = 0; k < 1ull << bits; k++) {
			refs = count_of(b, (i << bits) + k);
			if (order < 6 && refs >> (1u << order))
				return tide_error_set(
					x->err, -ERANGE, "qcow2-repair",
					((i << bits) + k) * x->cluster,
					"%s: a cluster has %llu references, "
					"more than its refcount can hold",
					x->r->path, (unsigned long long)refs);
			qcow2_count_set(buf, k, order, refs);
		}
		b->table[i] = next * x->cluster;
		rc = repair_write(x, next++ * x->cluster, buf, x->cluster);
	}
	return rc;
}

static int write_table(struct rebuild *b, uint8_t *buf)
{
	struct repair *x = b->x;
	uint64_t per = x->cluster / 8;
	int rc = 0;

	for (uint64_t t = 0; t < b->table_clusters && !rc; t++) {
		memset(buf, 0, x->cluster);
		for (uint64_t k = 0; k < per && t * per + k < b->entries; k++)
			tide__put_be(buf + k * 8, b->table[t * per + k], 8);
		rc = repair_write(x, (b->first + t) * x->cluster, buf,
				  x->cluster);
	}
	return rc;
}

static int switch_over(struct rebuild *b)
{
	uint8_t f[12];
	int rc = repair_sync(b->x);

	tide__put_be(f, b->first * b->x->cluster, 8);
	tide__put_be(f + 8, b->table_clusters, 4);
	if (!rc)
		rc = repair_write(b->x, 48, f, 12);
	return rc ? rc : repair_sync(b->x);
}

int repair_rebuild(struct repair *x)
{
	struct rebuild b = { .x = x, .first = x->census.clusters };
	struct qcow2_visitor v = { x, forget, NULL, ignore };
	uint8_t *buf = malloc(x->cluster);
	int rc;

	if (!buf)
		return repair_no_memory(x);
	rc = qcow2_visit(x->r, &x->h, &v, x->err);
	if (!rc)
		rc = plan(&b);
	if (!rc) {
		b.table = calloc(b.entries, sizeof(*b.table));
		if (!b.table)
			rc = repair_no_memory(x);
	}
	if (!rc)
		rc = repair_extend(x, (b.first + b.table_clusters + b.blocks) *
					      x->cluster);
	if (!rc && !(rc = write_blocks(&b, buf)) && !(rc = write_table(&b, buf)))
		rc = switch_over(&b);
	if (!rc)
		repair_say(x, "refcounts: rebuilt, %llu blocks at offset %llu",
			   (unsigned long long)b.blocks,
			   (unsigned long long)(b.first * x->cluster));
	free(b.table);
	free(buf);
	return rc;
}
