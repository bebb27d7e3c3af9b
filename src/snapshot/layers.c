/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/layers.h"

#include <errno.h>
#include <stdlib.h>

static bool joins(const struct snap_extent *a, const struct snap_extent *b)
{
	return a->chunk == b->chunk && a->file == b->file &&
	       a->page + a->pages == b->page &&
	       a->skip + a->pages == b->skip &&
	       a->pages <= UINT32_MAX - b->pages;
}

int snap_layer_add(struct snap_layer *l, const struct snap_extent *e)
{
	if (l->count && joins(&l->extent[l->count - 1], e)) {
		l->extent[l->count - 1].pages += e->pages;
		return 0;
	}
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		void *more = realloc(l->extent, room * sizeof(*l->extent));

		if (!more)
			return -ENOMEM;
		l->extent = more;
		l->room = room;
	}
	l->extent[l->count++] = *e;
	return 0;
}

/* What of @e lies in [from, to). */
static int add_part(struct snap_layer *l, const struct snap_extent *e,
		    uint64_t from, uint64_t to)
{
	struct snap_extent part = *e;

	if (from < e->page)
		from = e->page;
	if (to > e->page + e->pages)
		to = e->page + e->pages;
	if (from >= to)
		return 0;
	part.skip += (uint32_t)(from - e->page);
	part.page = from;
	part.pages = (uint32_t)(to - from);
	return snap_layer_add(l, &part);
}

/*
 * Of @under everything in [from, to); *@i stands at the first extent that
 * does not end before @from, and is left so for the next call.
 */
static int add_under(struct snap_layer *l, const struct snap_layer *under,
		     size_t *i, uint64_t from, uint64_t to)
{
	int ret = 0;

	while (!ret && *i < under->count && under->extent[*i].page < to) {
		const struct snap_extent *e = &under->extent[*i];

		ret = add_part(l, e, from, to);
		if (e->page + e->pages > to)
			break;
		(*i)++;
	}
	return ret;
}

int snap_layer_over(struct snap_layer *under, const struct snap_layer *over)
{
	struct snap_layer out = { 0 };
	uint64_t at = 0;
	size_t i = 0;
	int ret = 0;

	for (size_t o = 0; !ret && o < over->count; o++) {
		const struct snap_extent *e = &over->extent[o];

		ret = add_under(&out, under, &i, at, e->page);
		if (!ret)
			ret = snap_layer_add(&out, e);
		at = e->page + e->pages;
	}
	if (!ret)
		ret = add_under(&out, under, &i, at, UINT64_MAX);
	if (ret) {
		snap_layer_free(&out);
		return ret;
	}
	snap_layer_free(under);
	*under = out;
	return 0;
}

size_t snap_layer_find(const struct snap_layer *l, uint64_t page)
{
	size_t low = 0, high = l->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (l->extent[middle].page + l->extent[middle].pages > page)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

void snap_layer_free(struct snap_layer *l)
{
	free(l->extent);
	*l = (struct snap_layer){ 0 };
}
