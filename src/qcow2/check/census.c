/* SPDX-License-Identifier: BSD-2-Clause */
#include "qcow2/check/census.h"

#include <errno.h>
#include <stdlib.h>

int qcow2_census_init(struct qcow2_census *c, uint64_t clusters)
{
	c->clusters = clusters;
	c->page_count = clusters / CENSUS_PAGE_CLUSTERS + 1;
	c->pages = calloc(c->page_count, sizeof(*c->pages));
	return c->pages ? 0 : -ENOMEM;
}

void qcow2_census_fini(struct qcow2_census *c)
{
	for (uint64_t i = 0; c->pages && i < c->page_count; i++)
		free(c->pages[i]);
	free(c->pages);
	*c = (struct qcow2_census){ 0 };
}

int qcow2_census_add(struct qcow2_census *c, uint64_t cluster, uint64_t refs,
		     uint32_t use, uint32_t *uses_before)
{
	struct qcow2_census_page **page =
		&c->pages[cluster / CENSUS_PAGE_CLUSTERS];
	uint64_t i = cluster % CENSUS_PAGE_CLUSTERS;

	if (!*page)
		*page = calloc(1, sizeof(**page));
	if (!*page)
		return -ENOMEM;
	*uses_before = (*page)->uses[i];
	(*page)->uses[i] |= (uint16_t)(1u << use);
	if (refs > UINT32_MAX - (*page)->refs[i])
		(*page)->refs[i] = UINT32_MAX;
	else
		(*page)->refs[i] += (uint32_t)refs;
	return 0;
}

uint64_t qcow2_census_refs(const struct qcow2_census *c, uint64_t cluster)
{
	const struct qcow2_census_page *page;

	if (cluster >= c->clusters)
		return 0;
	page = c->pages[cluster / CENSUS_PAGE_CLUSTERS];
	return page ? page->refs[cluster % CENSUS_PAGE_CLUSTERS] : 0;
}

static struct qcow2_census_page *page_of(const struct qcow2_census *c,
					 uint64_t cluster)
{
	return cluster < c->clusters ? c->pages[cluster / CENSUS_PAGE_CLUSTERS] :
				       NULL;
}

uint32_t qcow2_census_uses(const struct qcow2_census *c, uint64_t cluster)
{
	const struct qcow2_census_page *page = page_of(c, cluster);

	return page ? page->uses[cluster % CENSUS_PAGE_CLUSTERS] : 0;
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
