/* SPDX-License-Identifier: BSD-2-Clause */
#include "slotmap.h"

const struct slot_rival *const slot_rivals[SLOT_RIVALS] = {
	&slot_linear, &slot_binary, &slot_eytzinger, &slot_btree,
	&slot_weight, &slot_redblack, &slot_radix,
};

void slot_cache_init(struct slot_cache *c, const struct slot_rival *rival,
		     const void *map)
{
	*c = (struct slot_cache){ .rival = rival, .map = map };
	for (unsigned int i = 0; i < SLOT_CACHED; i++)
		c->slot[i] = rival->span(map, 0, &c->span[i]);
}

const struct tide_slot *slot_cache_find(struct slot_cache *c, uint64_t gpa)
{
	unsigned int at;

	for (at = 0; at < SLOT_CACHED; at++)
		if (gpa - c->span[at].first <=
		    c->span[at].last - c->span[at].first)
			return c->slot[at];
	at = c->turn++ % SLOT_CACHED;
	c->slot[at] = c->rival->span(c->map, gpa, &c->span[at]);
	return c->slot[at];
}
