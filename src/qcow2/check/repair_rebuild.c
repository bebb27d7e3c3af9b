/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All refcounts anew. Table and blocks take clusters of their own: behind the
 * end of the file, or, where it cannot be made longer (a block device, a full
 * file system), clusters that nothing refers to - also not the refcounts that
 * are to be replaced, which count until the header is switched over. How many
 * blocks are needed depends on where they lie, so the plan is made again until
 * it holds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/check/repair_internal.h"
#include "qcow2/format/counts.h"

struct rebuild {
	struct repair *x;
	uint64_t *own; /* owned, ascending but for the table, which is first */
	uint64_t owns, room;
	uint64_t table_clusters, blocks;
	bool holes; /* free clusters that the file has no space for will do */
	uint64_t *table; /* owned; entry: block's offset or 0 */
	uint64_t entries;
};

/*
 * The old structures are not referred to after the switch, and so not counted.
 * Until then they are not free either: the census knows what they are.
 */
static int forget(void *opaque, const struct qcow2_place *p)
{
	struct repair *x = opaque;
	uint64_t i = p->offset_bytes / x->cluster;
	uint64_t end = i + (p->length_bytes + x->cluster - 1) / x->cluster;
	int ret = 0;

	if (p->section != QCOW2_SECTION_REFCOUNT_BLOCK &&
	    p->section != QCOW2_SECTION_REFCOUNT_TABLE)
		return 0;
	for (; i < end && i < x->census.clusters && !ret; i++)
		ret = qcow2_census_take(&x->census, i);
	return ret ? repair_no_memory(x) : 0;
}

static int ignore(void *opaque, const struct qcow2_defect *d)
{
	(void)opaque;
	(void)d;
	return 0;
}

/* Is one of the clusters from @from to before @end to hold the new ones? */
static bool has_own(const struct rebuild *b, uint64_t from, uint64_t end)
{
	uint64_t low = b->table_clusters, high = b->owns;

	if (b->owns && from < b->own[0] + b->table_clusters && end > b->own[0])
		return true;
	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (b->own[mid] < from)
			low = mid + 1;
		else
			high = mid;
	}
	return low < b->owns && b->own[low] < end;
}

static uint64_t count_of(const struct rebuild *b, uint64_t cluster)
{
	return has_own(b, cluster, cluster + 1) ?
		       1 : qcow2_census_refs(&b->x->census, cluster);
}

/* Does block @index count anything? */
static bool needed(const struct rebuild *b, uint64_t index)
{
	const struct qcow2_census *census = &b->x->census;
	uint32_t bits = qcow2_refblock_bits(&b->x->h);
	uint64_t i = index << bits, end = (index + 1) << bits;

	if (has_own(b, i, end))
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

static int add_own(struct rebuild *b, uint64_t cluster)
{
	if (b->owns == b->room) {
		uint64_t room = b->room ? 2 * b->room : 64;
		void *more = reallocarray(b->own, room, sizeof(*b->own));

		if (!more)
			return repair_no_memory(b->x);
		b->own = more;
		b->room = room;
	}
	b->own[b->owns++] = cluster;
	return 0;
}

/* Entries, table clusters and blocks for the clusters that are used so far. */
static int measure(struct rebuild *b)
{
	struct repair *x = b->x;
	uint32_t bits = qcow2_refblock_bits(&x->h);
	uint64_t last = x->census.clusters - 1;

	for (uint64_t i = 0; i < b->owns; i++)
		last = b->own[i] > last ? b->own[i] : last;
	b->entries = (last >> bits) + 1;
	b->table_clusters = (b->entries * 8 + x->cluster - 1) / x->cluster;
	if (b->table_clusters * x->cluster > QCOW2_MAX_REFTABLE_BYTES)
		return tide_error_set(
			x->err, -ERANGE, "qcow2-repair", 48,
			"%s: the file is too large for a refcount "
			"table",
			x->r->path);
	b->blocks = 0;
	for (uint64_t i = 0; i < b->entries; i++)
		b->blocks += needed(b, i);
	return 0;
}

/* A row of clusters behind the end of the file. */
static int plan_behind(struct rebuild *b)
{
	uint64_t first = b->x->census.clusters, want = 2;
	int ret = 0;

	while (!ret && b->owns < want) {
		while (!ret && b->owns < want)
			ret = add_own(b, first + b->owns);
		if (!ret)
			ret = measure(b);
		want = b->table_clusters + b->blocks;
	}
	return ret ? ret : repair_extend(b->x, (first + b->owns) *
						     b->x->cluster);
}

/* Nothing refers to it, and it is not what is to be replaced. */
static bool is_free(const struct rebuild *b, uint64_t cluster)
{
	struct repair *x = b->x;

	return !qcow2_census_refs(&x->census, cluster) &&
	       !qcow2_census_uses(&x->census, cluster) &&
	       (cluster + 1) * x->cluster <= x->r->size_bytes &&
	       (b->holes ||
		!qcow2_is_hole(x->r, cluster * x->cluster, x->cluster));
}

static int no_room(const struct rebuild *b)
{
	return tide_error_set(b->x->err, -ENOSPC, "qcow2-repair",
			      b->x->r->size_bytes,
			      "%s cannot be made longer, and has no %llu free "
			      "clusters, %llu of them in a row, for new "
			      "refcounts", b->x->r->path,
			      (unsigned long long)(b->table_clusters +
						   b->blocks),
			      (unsigned long long)b->table_clusters);
}

/* The first row of @count free ones; the number of clusters: none. */
static uint64_t free_row(const struct rebuild *b, uint64_t count)
{
	uint64_t clusters = b->x->census.clusters, length = 0;

	for (uint64_t i = 0; i < clusters; i++) {
		length = is_free(b, i) ? length + 1 : 0;
		if (length == count)
			return i + 1 - count;
	}
	return clusters;
}

static int choose_inside(struct rebuild *b)
{
	uint64_t clusters = b->x->census.clusters, want = b->blocks;
	uint64_t first = free_row(b, b->table_clusters);
	int ret = 0;

	b->owns = 0;
	if (first == clusters)
		return no_room(b);
	for (uint64_t i = 0; !ret && i < b->table_clusters; i++)
		ret = add_own(b, first + i);
	for (uint64_t i = 0; !ret && want && i < clusters; i++) {
		if (!is_free(b, i) ||
		    (i >= first && i < first + b->table_clusters))
			continue;
		ret = add_own(b, i);
		want--;
	}
	if (!ret && want)
		ret = no_room(b);
	return ret;
}

/* Free clusters of the file, until those that count them are among them. */
static int try_inside(struct rebuild *b)
{
	int ret;

	b->owns = 0;
	ret = measure(b);
	while (!ret) {
		uint64_t blocks = b->blocks;

		ret = choose_inside(b);
		if (!ret)
			ret = measure(b);
		if (b->blocks <= blocks)
			break;
	}
	return ret;
}

/* Where the file system is full, only what has its space already will do. */
static int plan_inside(struct rebuild *b)
{
	int ret = try_inside(b);

	if (ret != -ENOSPC)
		return ret;
	b->holes = true;
	return try_inside(b);
}

static int write_blocks(struct rebuild *b, uint8_t *buf)
{
	struct repair *x = b->x;
	uint32_t bits = qcow2_refblock_bits(&x->h), order = x->h.refcount_order;
	uint64_t next = b->table_clusters, refs;
	int ret = 0;

	for (uint64_t i = 0; i < b->entries && !ret; i++) {
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
		b->table[i] = b->own[next++] * x->cluster;
		ret = repair_write(x, b->table[i], buf, x->cluster);
	}
	return ret;
}

static int write_table(struct rebuild *b, uint8_t *buf)
{
	struct repair *x = b->x;
	uint64_t per = x->cluster / 8;
	int ret = 0;

	for (uint64_t t = 0; t < b->table_clusters && !ret; t++) {
		memset(buf, 0, x->cluster);
		for (uint64_t k = 0; k < per && t * per + k < b->entries; k++)
			tide__put_be(buf + k * 8, b->table[t * per + k], 8);
		ret = repair_write(x, (b->own[0] + t) * x->cluster, buf,
				   x->cluster);
	}
	return ret;
}

static int switch_over(struct rebuild *b)
{
	uint8_t f[12];
	int ret = repair_sync(b->x);

	tide__put_be(f, b->own[0] * b->x->cluster, 8);
	tide__put_be(f + 8, b->table_clusters, 4);
	if (!ret)
		ret = repair_write(b->x, 48, f, 12);
	return ret ? ret : repair_sync(b->x);
}

static int write_all(struct rebuild *b)
{
	uint8_t *buf = malloc(b->x->cluster);
	int ret = 0;

	free(b->table);
	b->table = calloc(b->entries, sizeof(*b->table));
	if (!buf || !b->table)
		ret = repair_no_memory(b->x);
	if (!ret)
		ret = write_blocks(b, buf);
	if (!ret)
		ret = write_table(b, buf);
	if (!ret)
		ret = switch_over(b);
	free(buf);
	return ret;
}

int repair_rebuild(struct repair *x)
{
	struct rebuild b = { .x = x };
	struct qcow2_visitor v = { x, forget, NULL, ignore };
	bool inside = false;
	int ret = qcow2_visit(x->r, &x->h, &v, x->err);

	if (!ret) {
		/* What fails before the switch has changed nothing. */
		inside = plan_behind(&b) || write_all(&b);
		ret = inside ? plan_inside(&b) : 0;
	}
	if (!ret && inside)
		ret = write_all(&b);
	if (!ret)
		repair_say(x,
			   "refcounts: rebuilt, %llu blocks at offset %llu%s",
			   (unsigned long long)b.blocks,
			   (unsigned long long)(b.own[0] * x->cluster),
			   inside ? " and in other free clusters" : "");
	free(b.own);
	free(b.table);
	return ret;
}
