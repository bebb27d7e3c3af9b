/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A byte a cluster, by palette compression: nearly all clusters of an image are
 * the same few things - free, guest data once, guest data twice, an L2 table.
 * Each pair of uses and references that comes up gets a number, and a cluster
 * keeps the number of its pair; 0 is "nothing refers to it". An image that
 * brings up more than 255 pairs (compressed clusters that share a cluster in
 * many ways, or an attacker) gets wide pages from then on, of a pair a cluster:
 * a page that needs a pair without a number becomes one.
 *
 * Pairs are only added, so a number once given stays good.
 */
#include "qcow2/check/census.h"

#include <errno.h>
#include <stdlib.h>

int qcow2_census_init(struct qcow2_census *c, uint64_t clusters)
{
	*c = (struct qcow2_census){ .clusters = clusters, .pair_count = 1 };
	c->page_count = clusters / CENSUS_PAGE_CLUSTERS + 1;
	c->pages = calloc(c->page_count, sizeof(*c->pages));
	return c->pages ? 0 : -ENOMEM;
}

void qcow2_census_fini(struct qcow2_census *c)
{
	for (uint64_t i = 0; c->pages && i < c->page_count; i++) {
		if (c->pages[i])
			free(c->pages[i]->wide);
		free(c->pages[i]);
	}
	free(c->pages);
	*c = (struct qcow2_census){ 0 };
}

static struct qcow2_census_page *page_of(const struct qcow2_census *c,
					 uint64_t cluster)
{
	return cluster < c->clusters ? c->pages[cluster / CENSUS_PAGE_CLUSTERS]
				     : NULL;
}

static struct qcow2_census_pair get(const struct qcow2_census *c,
				    uint64_t cluster)
{
	const struct qcow2_census_page *page = page_of(c, cluster);
	uint64_t i = cluster % CENSUS_PAGE_CLUSTERS;

	if (!page)
		return (struct qcow2_census_pair){ 0 };
	return page->wide ? page->wide[i] : c->pairs[page->number[i]];
}

static bool same(const struct qcow2_census_pair *a,
		 const struct qcow2_census_pair *b)
{
	return a->refs == b->refs && a->uses == b->uses;
}

/* The pair's number, or CENSUS_PAIRS: there are too many. */
static uint32_t number_of(struct qcow2_census *c,
			  const struct qcow2_census_pair *pair)
{
	if (same(&c->pairs[c->last], pair))
		return c->last;
	for (uint32_t n = 0; n < c->pair_count; n++)
		if (same(&c->pairs[n], pair))
			return c->last = n;
	if (c->pair_count == CENSUS_PAIRS)
		return CENSUS_PAIRS;
	c->pairs[c->pair_count] = *pair;
	return c->last = c->pair_count++;
}

static int widen(const struct qcow2_census *c, struct qcow2_census_page *page)
{
	struct qcow2_census_pair *wide = calloc(CENSUS_PAGE_CLUSTERS,
						sizeof(*wide));

	if (!wide)
		return -ENOMEM;
	for (uint32_t i = 0; i < CENSUS_PAGE_CLUSTERS; i++)
		wide[i] = c->pairs[page->number[i]];
	page->wide = wide;
	return 0;
}

static int put(struct qcow2_census *c, uint64_t cluster,
	       struct qcow2_census_pair pair)
{
	struct qcow2_census_page *page =
		c->pages[cluster / CENSUS_PAGE_CLUSTERS];
	uint64_t i = cluster % CENSUS_PAGE_CLUSTERS;
	uint32_t n = page->wide ? CENSUS_PAIRS : number_of(c, &pair);

	if (n < CENSUS_PAIRS) {
		page->number[i] = (uint8_t)n;
		return 0;
	}
	if (!page->wide && widen(c, page))
		return -ENOMEM;
	page->wide[i] = pair;
	return 0;
}

int qcow2_census_add(struct qcow2_census *c, uint64_t cluster, uint64_t refs,
		     uint32_t use, uint32_t *uses_before)
{
	struct qcow2_census_page **page =
		&c->pages[cluster / CENSUS_PAGE_CLUSTERS];
	struct qcow2_census_pair pair;

	if (!*page)
		*page = calloc(1, sizeof(**page));
	if (!*page)
		return -ENOMEM;
	pair = get(c, cluster);
	*uses_before = pair.uses;
	pair.uses |= 1u << use;
	if (refs > UINT32_MAX - pair.refs)
		pair.refs = UINT32_MAX;
	else
		pair.refs += (uint32_t)refs;
	return put(c, cluster, pair);
}

int qcow2_census_take(struct qcow2_census *c, uint64_t cluster)
{
	struct qcow2_census_pair pair = get(c, cluster);

	if (!pair.refs)
		return 0;
	pair.refs--;
	return put(c, cluster, pair);
}

uint64_t qcow2_census_refs(const struct qcow2_census *c, uint64_t cluster)
{
	return get(c, cluster).refs;
}

uint32_t qcow2_census_uses(const struct qcow2_census *c, uint64_t cluster)
{
	return get(c, cluster).uses;
}

uint64_t qcow2_census_used(const struct qcow2_census *c)
{
	uint64_t used = 0;

	for (uint64_t i = 0; i < c->clusters; i++) {
		if (!c->pages[i / CENSUS_PAGE_CLUSTERS])
			i |= CENSUS_PAGE_CLUSTERS - 1;
		else
			used += get(c, i).refs != 0;
	}
	return used;
}

void qcow2_census_set_wrong(struct qcow2_census *c, uint64_t cluster)
{
	struct qcow2_census_page *page = page_of(c, cluster);
	uint64_t i = cluster % CENSUS_PAGE_CLUSTERS;

	if (page)
		page->wrong[i / 64] |= 1ull << (i % 64);
}

bool qcow2_census_wrong(const struct qcow2_census *c, uint64_t cluster)
{
	const struct qcow2_census_page *page = page_of(c, cluster);
	uint64_t i = cluster % CENSUS_PAGE_CLUSTERS;

	return page && page->wrong[i / 64] >> (i % 64) & 1;
}
