/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TIDE_DIRTY_RANGES_H
#define TIDE_DIRTY_RANGES_H

#include <stdbool.h>

#include "bits/kernels.h"
#include "dirty/tree.h"
#include "tidemark/range.h"

/*
 * Fill at most @max maximal ranges of @tree from page *@cursor on; moves
 * *@cursor past them; returns their number. @still: no thread writes to the
 * tree, so it may be read in vectors; else by relaxed atomic loads.
 */
size_t tide__tree_ranges(const struct tide__tree *tree,
			 const struct tide__kernels *kernels, bool still,
			 uint64_t *cursor, struct tide_range *ranges,
			 size_t max);

#endif
