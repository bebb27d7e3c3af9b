/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Refcounts on disk against those counted: first every count of every block,
 * then every cluster in use that no block covers.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/check/check_internal.h"

uint64_t qcow2_count_get(const uint8_t *block, uint64_t index, uint32_t order)
{
	uint32_t per_byte;

	if (order >= 3) {
		uint32_t bytes = 1u << (order - 3);

		return tide__get_be(block + index * bytes, bytes);
	}
	/* Narrow counts fill a byte from its low end. */
	per_byte = 8u >> order;
	return block[index / per_byte] >>
		       ((index % per_byte) << order) &
	       ((1u << (1u << order)) - 1);
}

void qcow2_count_set(uint8_t *block, uint64_t index, uint32_t order,
		     uint64_t count)
{
	uint32_t per_byte, shift, mask;
	uint8_t *at;

	if (order >= 3) {
		uint32_t bytes = 1u << (order - 3);

		tide__put_be(block + index * bytes, count, bytes);
		return;
	}
	per_byte = 8u >> order;
	shift = (uint32_t)(index % per_byte) << order;
	mask = ((1u << (1u << order)) - 1) << shift;
	at = &block[index / per_byte];
	*at = (uint8_t)((*at & ~mask) | ((uint32_t)count << shift & mask));
}

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
	/* What is not there wastes nothing before the file grows that far. */
	if (cluster >= c->census.clusters) {
		check_say(c, QCOW2_PROBLEM_NOTE, offset,
			  "refcount %llu behind the end of the file, at offset "
			  "%llu", (unsigned long long)found,
			  (unsigned long long)offset);
		return;
	}
	check_say(c, found < refs ? QCOW2_PROBLEM_REFCOUNT : QCOW2_PROBLEM_LEAK,
		  offset, "%scluster at offset %llu: refcount is %llu, but "
		  "%llu references were found", found < refs ? "" : "leaked ",
		  (unsigned long long)offset, (unsigned long long)found,
		  (unsigned long long)refs);
}

/* 64 clusters from the @i-th of a block: counted as zero, and found unused? */
static bool nothing_there(const struct check *c, const struct refblock *b,
			  const uint8_t *bytes, uint64_t i)
{
	uint64_t cluster = (b->index << qcow2_refblock_bits(c->h)) + i;
	uint64_t at = i << c->h->refcount_order >> 3;
	uint64_t end = at + (8ull << c->h->refcount_order), word, any = 0;

	if (cluster < c->census.clusters &&
	    c->census.pages[cluster / CENSUS_PAGE_CLUSTERS])
		return false;
	for (; at < end; at += 8) {
		memcpy(&word, bytes + at, 8);
		any |= word;
	}
	return !any;
}

static int compare_block(struct check *c, const struct refblock *b,
			 uint8_t *bytes)
{
	uint32_t bits = qcow2_refblock_bits(c->h);
	int rc = qcow2_read_at(c->r, b->offset_bytes, bytes, c->cluster,
			       c->err);

	for (uint64_t i = 0; !rc && i < 1ull << bits; i++) {
		if (!(i % 64) && nothing_there(c, b, bytes, i)) {
			i += 63;
			continue;
		}
		compare(c, (b->index << bits) + i,
			qcow2_count_get(bytes, i, c->h->refcount_order));
	}
	return rc;
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
	int rc = 0;

	if (!bytes)
		return check_no_memory(c);
	for (uint64_t i = 0; i < c->block_count && !rc; i++)
		rc = compare_block(c, &c->blocks[i], bytes);
	if (!rc)
		compare_uncovered(c);
	free(bytes);
	return rc;
}
