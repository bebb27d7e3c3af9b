/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a repair will give up, found out by playing it to its end on an overlay:
 * each step decides by what the one before left, so no shorter way tells the
 * same. Neighbours with one reason are one range.
 */
#include <stdlib.h>
#include <string.h>

#include "qcow2/check/overlay.h"
#include "qcow2/check/repair_internal.h"

struct plan {
	struct qcow2_loss *items; /* owned, and the names in them */
	uint64_t count, room;
	bool no_memory;
};

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* Was @l but the continuation of the last one? */
static bool merge(struct plan *p, const struct qcow2_loss *l)
{
	struct qcow2_loss *last = p->count ? &p->items[p->count - 1] : NULL;

	if (!last || last->active != l->active || strcmp(last->why, l->why) ||
	    !same(last->snapshot, l->snapshot) ||
	    last->guest_bytes + last->length_bytes != l->guest_bytes)
		return false;
	last->length_bytes += l->length_bytes;
	return true;
}

static void keep(void *opaque, const struct qcow2_loss *l)
{
	struct plan *p = opaque;
	struct qcow2_loss *to;

	if (merge(p, l))
		return;
	if (p->count == p->room) {
		uint64_t room = p->room ? 2 * p->room : 16;
		void *more = reallocarray(p->items, room, sizeof(*p->items));

		p->no_memory |= !more;
		if (!more)
			return;
		p->items = more;
		p->room = room;
	}
	to = &p->items[p->count];
	*to = *l;
	to->snapshot = l->snapshot ? strdup(l->snapshot) : NULL;
	p->no_memory |= l->snapshot && !to->snapshot;
	p->count++;
}

int repair_plan(struct repair *x)
{
	struct plan plan = { 0 };
	struct qcow2_overlay o;
	struct repair dry = { .w = &o.w, .options = x->options,
			      .loss = keep, .loss_opaque = &plan,
			      .err = x->err };
	int ret;

	qcow2_overlay_init(&o, x->r);
	dry.r = &o.r;
	ret = repair_run(&dry);
	qcow2_header_fini(&dry.h);
	qcow2_census_fini(&dry.census);
	qcow2_overlay_fini(&o);
	if (!ret && plan.no_memory)
		ret = repair_no_memory(x);
	for (uint64_t i = 0; i < plan.count; i++) {
		if (!ret)
			x->options->loss(x->options->loss_opaque,
					 &plan.items[i]);
		free((char *)plan.items[i].snapshot);
	}
	free(plan.items);
	return ret;
}
