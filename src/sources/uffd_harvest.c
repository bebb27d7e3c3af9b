/* SPDX-License-Identifier: BSD-2-Clause */
#include "sources/source.h"
#include "sources/uffd_map.h"

struct reporting {
	struct tide_source *source;
	struct tide_set *set;
	uint64_t first;
};

static void report(void *opaque, uint64_t offset_bytes, uint64_t len_bytes)
{
	struct reporting *r = opaque;
	uint64_t pages = len_bytes >> TIDE__PAGE_SHIFT;

	tide_set_mark_range(r->set,
			    r->first + (offset_bytes >> TIDE__PAGE_SHIFT),
			    pages);
	r->source->stats.pages += pages;
}

int tide__uffd_harvest(struct tide_source *source, struct tide_set *set,
		       int pagemap, struct tide_error *err)
{
	int ret = 0;

	for (struct tide__watched *w = source->watched; !ret && w;
	     w = w->next) {
		struct reporting r = { source, set, w->first };

		ret = tide__uffd_scan(pagemap, w->slot.host, w->slot.len_bytes,
				      report, &r, err);
	}
	return ret;
}
