/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Refcounts on disk against those counted: first every count of every block,
 * then every cluster in use that no block covers. Any number of entries may
 * name one block; what that costs is bounded by the clusters of the file: where
 * nothing is used, counts are looked at 64 at a time, and where there is no
 * file, a block is looked at once.
 */
#include <stdlib.h>
#include <string.h>

#include "qcow2/check/check_internal.h"
#include "qcow2/format/counts.h"

static const struct refblock *block_of(const struct check *c, uint64_t index)
{
	uint64_t low = 0, high = c->block_count, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (c->blocks[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->block_count && c->blocks[low].index == index ?
		       &c->blocks[low] : NULL;
}

static void compare(struct check *c, uint64_t cluster, uint64_t found)
{
	uint64_t refs = qcow2_census_refs(&c->census, cluster);
	uint64_t offset = cluster * c->cluster;

	if (found == refs)
		return;
	qcow2_census_set_wrong(&c->census, cluster);
	check_say(c, found < refs ? QCOW2_PROBLEM_REFCOUNT : QCOW2_PROBLEM_LEAK,
		  offset, "%scluster at offset %llu: refcount is %llu, but "
		  "%llu references were found", found < refs ? "" : "leaked ",
		  (unsigned long long)offset, (unsigned long long)found,
		  (unsigned long long)refs);
}

/* How many of the @n counts from the @i-th on are not zero; both by 64. */
static uint64_t not_zero(const uint8_t *bytes, uint64_t i, uint64_t n,
			 uint32_t order)
{
	const uint8_t *at = bytes + (i << order >> 3);
	uint64_t words = n << order >> 6, word, sum = 0;

	for (uint64_t k = 0; k < words; k++) {
		memcpy(&word, at + 8 * k, 8);
		/* Any bit of a count becomes its lowest. */
		for (uint32_t width = 1u << order; word && width > 1;) {
			width /= 2;
			word |= word >> width;
		}
		switch (order) {
		case 1:
			word &= 0x5555555555555555;
			break;
		case 2:
			word &= 0x1111111111111111;
			break;
		case 3:
			word &= 0x0101010101010101;
			break;
		case 4:
			word &= 0x0001000100010001;
			break;
		case 5:
			word &= 0x0000000100000001;
			break;
		case 6:
			word &= 1;
			break;
		default:
			break;
		}
		sum += (uint64_t)__builtin_popcountll(word);
	}
	return sum;
}

/*
 * 64 clusters from the @i-th of a block, of which the census knows nothing:
 * what is counted there is leaked. True if that is all there is to say.
 */
static bool count_unused(struct check *c, const struct refblock *b,
			 const uint8_t *bytes, uint64_t i)
{
	uint64_t cluster = (b->index << qcow2_refblock_bits(c->h)) + i, leaks;

	if (c->census.pages[cluster / CENSUS_PAGE_CLUSTERS] ||
	    cluster + 64 > c->census.clusters)
		return false;
	leaks = not_zero(bytes, i, 64, c->h->refcount_order);
	if (leaks && check_will_say(c, QCOW2_PROBLEM_LEAK))
		return false;
	c->out.found[QCOW2_PROBLEM_LEAK] += leaks;
	return true;
}

/* What is not there wastes nothing before the file grows that far. */
static void note_behind(struct check *c, const struct refblock *b,
			const uint8_t *bytes, uint64_t i, uint64_t end)
{
	uint32_t order = c->h->refcount_order;
	uint64_t counts = 0;

	for (; i < end && i % 64; i++)
		counts += qcow2_count_get(bytes, i, order) != 0;
	counts += not_zero(bytes, i, end - i, order);
	if (counts)
		check_say(c, QCOW2_PROBLEM_NOTE, b->offset_bytes,
			  "refcount block at offset %llu: %llu counts of "
			  "clusters behind the end of the file",
			  (unsigned long long)b->offset_bytes,
			  (unsigned long long)counts);
}

static int compare_block(struct check *c, const struct refblock *b,
			 uint8_t *bytes)
{
	uint32_t bits = qcow2_refblock_bits(c->h);
	uint64_t first = b->index << bits, end = 1ull << bits, inside = end;
	int ret = qcow2_read_at(c->r, b->offset_bytes, bytes, c->cluster,
				c->err);

	if (ret)
		return ret;
	if (first >= c->census.clusters)
		inside = 0;
	else if (c->census.clusters - first < end)
		inside = c->census.clusters - first;
	for (uint64_t i = 0; i < inside; i++) {
		if (!(i % 64) && count_unused(c, b, bytes, i))
			i += 63;
		else
			compare(c, first + i,
				qcow2_count_get(bytes, i,
						c->h->refcount_order));
	}
	if (inside < end)
		note_behind(c, b, bytes, inside, end);
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct refblock *x = a, *y = b;

	if (x->offset_bytes != y->offset_bytes)
		return x->offset_bytes < y->offset_bytes ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

/*
 * Blocks of clusters that are all behind the end of the file, of which there
 * may be a million entries that name one: each is read once. They are not
 * looked up any more, and so may be put into another order.
 */
static int compare_behind(struct check *c, uint64_t from, uint8_t *bytes)
{
	struct refblock *b = c->blocks;
	int ret = 0;

	if (from == c->block_count)
		return 0; /* there may be no list at all */
	qsort(b + from, c->block_count - from, sizeof(*b), by_offset);
	for (uint64_t i = from; i < c->block_count && !ret; i++)
		if (i == from || b[i].offset_bytes != b[i - 1].offset_bytes)
			ret = compare_block(c, &b[i], bytes);
	return ret;
}

static uint64_t first_behind(const struct check *c)
{
	uint64_t i = c->block_count;

	while (i && c->blocks[i - 1].index << qcow2_refblock_bits(c->h) >=
			    c->census.clusters)
		i--;
	return i;
}

static void compare_uncovered(struct check *c)
{
	uint32_t bits = qcow2_refblock_bits(c->h);
	uint64_t known = UINT64_MAX, cluster;
	bool covered = false;

	for (uint64_t p = 0; p < c->census.page_count; p++) {
		if (!c->census.pages[p])
			continue;
		for (uint64_t k = 0; k < CENSUS_PAGE_CLUSTERS; k++) {
			cluster = p * CENSUS_PAGE_CLUSTERS + k;
			if (cluster >> bits != known) {
				known = cluster >> bits;
				covered = block_of(c, known) != NULL;
			}
			if (!covered)
				compare(c, cluster, 0);
		}
	}
}

int check_counts(struct check *c)
{
	uint8_t *bytes = malloc(c->cluster);
	uint64_t behind = first_behind(c);
	int ret = 0;

	if (!bytes)
		return check_no_memory(c);
	for (uint64_t i = 0; i < behind && !ret; i++)
		ret = compare_block(c, &c->blocks[i], bytes);
	if (!ret)
		compare_uncovered(c);
	if (!ret)
		ret = compare_behind(c, behind, bytes);
	free(bytes);
	return ret;
}
