/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/kinds_cells.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "maps/kinds.h"

#define MIN_CELLS 64u
#define CELLS_PER_RUN 8u

void tide__cells_fini(struct tide__cells *c)
{
	free(c->bits);
	memset(c, 0, sizeof(*c));
}

void tide__cells_set(struct tide__cells *c, uint64_t from, uint64_t end)
{
	for (uint64_t i = from >> c->shift; i <= (end - 1) >> c->shift; i++)
		c->bits[i / 64] |= UINT64_C(1) << i % 64;
}

static void set_all(struct tide__cells *c, const struct tide__btree *tree)
{
	for (uint32_t i = 0; i < tree->leaves; i++) {
		const struct tide__leaf *w = tree->leaf[i];

		for (uint64_t j = 0; j < w->words; j++)
			tide__cells_set(c, run_start(w->v[j]),
					run_end(w->v[j]));
	}
}

static uint64_t btree_end(const struct tide__btree *tree)
{
	const struct tide__leaf *w;

	if (!tree->leaves)
		return 0;
	w = tree->leaf[tree->leaves - 1];
	return run_end(w->v[w->words - 1]);
}

/* Room for half as many runs again, and a file longer by an eighth. */
static void measure(struct tide__cells *c, uint64_t runs, uint64_t end)
{
	uint64_t clusters = end + end / 8;

	c->shift = 0;
	while (clusters >> (c->shift + 1) >= (runs + runs / 2) * CELLS_PER_RUN)
		c->shift++;
	c->n = ((clusters >> c->shift) + MIN_CELLS) & -(uint64_t)MIN_CELLS;
}

int tide__cells_reserve(struct tide__cells *c, const struct tide__btree *tree,
			uint64_t runs, uint64_t end)
{
	struct tide__cells more;
	uint64_t last = btree_end(tree);

	last = last > end ? last : end;
	if (last <= c->n << c->shift &&
	    (!c->shift || c->n >= runs * CELLS_PER_RUN))
		return 0;
	measure(&more, runs, last);
	more.bits = calloc(more.n / 64, sizeof(*more.bits));
	if (!more.bits)
		return -ENOMEM;
	set_all(&more, tree);
	free(c->bits);
	*c = more;
	return 0;
}

/* Does a run reach into [@from, @end)? */
static bool any(const struct tide__btree *tree, uint64_t from, uint64_t end)
{
	const uint64_t *run = tide__btree_last(tree, end << RUN_CLUSTER_SHIFT);

	return run && run_end(*run) > from;
}

void tide__cells_refresh(struct tide__cells *c, const struct tide__btree *tree,
			 uint64_t from, uint64_t end)
{
	if (!tree->leaves) {
		tide__cells_fini(c);
		return;
	}
	for (uint64_t i = from >> c->shift; i <= (end - 1) >> c->shift; i++)
		if (!any(tree, i << c->shift, (i + 1) << c->shift))
			c->bits[i / 64] &= ~(UINT64_C(1) << i % 64);
}
