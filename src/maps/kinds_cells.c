/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/kinds_cells.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "maps/kinds.h"

#define FEWEST 64u
#define A_RUN 8u

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

static void set_all(struct tide__cells *c, const struct tide__sheet *sheet)
{
	for (uint32_t i = 0; i < sheet->windows; i++) {
		const struct tide__window *w = sheet->window[i];

		for (uint64_t j = 0; j < w->words; j++)
			tide__cells_set(c, run_start(w->v[j]),
					run_end(w->v[j]));
	}
}

static uint64_t sheet_end(const struct tide__sheet *sheet)
{
	const struct tide__window *w;

	if (!sheet->windows)
		return 0;
	w = sheet->window[sheet->windows - 1];
	return run_end(w->v[w->words - 1]);
}

/* Room for half as many runs again, and a file longer by an eighth. */
static void measure(struct tide__cells *c, uint64_t runs, uint64_t end)
{
	uint64_t clusters = end + end / 8;

	c->shift = 0;
	while (clusters >> (c->shift + 1) >= (runs + runs / 2) * A_RUN)
		c->shift++;
	c->n = ((clusters >> c->shift) + FEWEST) & -(uint64_t)FEWEST;
}

int tide__cells_reserve(struct tide__cells *c, const struct tide__sheet *sheet,
			uint64_t runs, uint64_t end)
{
	struct tide__cells more;
	uint64_t last = sheet_end(sheet);

	last = last > end ? last : end;
	if (last <= c->n << c->shift && (!c->shift || c->n >= runs * A_RUN))
		return 0;
	measure(&more, runs, last);
	more.bits = calloc(more.n / 64, sizeof(*more.bits));
	if (!more.bits)
		return -ENOMEM;
	set_all(&more, sheet);
	free(c->bits);
	*c = more;
	return 0;
}

/* Does a run reach into [@from, @end)? */
static bool any(const struct tide__sheet *sheet, uint64_t from, uint64_t end)
{
	const uint64_t *run = tide__sheet_last(sheet, end << RUN_CLUSTER_SHIFT);

	return run && run_end(*run) > from;
}

void tide__cells_review(struct tide__cells *c, const struct tide__sheet *sheet,
			uint64_t from, uint64_t end)
{
	if (!sheet->windows) {
		tide__cells_fini(c);
		return;
	}
	for (uint64_t i = from >> c->shift; i <= (end - 1) >> c->shift; i++)
		if (!any(sheet, i << c->shift, (i + 1) << c->shift))
			c->bits[i / 64] &= ~(UINT64_C(1) << i % 64);
}
