/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of extents, sorted by page, laid over each other: the upper wins. */
#ifndef TIDE_SNAPSHOT_LAYERS_H
#define TIDE_SNAPSHOT_LAYERS_H

#include "snapshot/format.h"

struct snap_layer {
	struct snap_extent *extent;
	size_t count, room;
};

/* Behind the last one, or joined with it. 0 or -ENOMEM. */
int snap_layer_add(struct snap_layer *l, const struct snap_extent *e);
/* @under becomes @over laid over @under. 0; -ENOMEM, and nothing changed. */
int snap_layer_over(struct snap_layer *under, const struct snap_layer *over);
/* The extent that holds @page, or the first behind it; count: none. */
size_t snap_layer_find(const struct snap_layer *l, uint64_t page);
void snap_layer_free(struct snap_layer *l);

#endif
