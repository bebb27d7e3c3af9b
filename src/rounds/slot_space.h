/* SPDX-License-Identifier: BSD-2-Clause */
/* The space over a guest's memory slots, which may change. */
#ifndef TIDE_ROUNDS_SLOT_SPACE_H
#define TIDE_ROUNDS_SLOT_SPACE_H

#include "rounds/engine.h"

struct tide__slot_space {
	struct tide__space space;	/* first */
	const struct tide_slots *slots;
	const struct tide_precopy_ops *ops;	/* harvest, rearm, hold */
	void *opaque;
	struct tide_range skipped; /* hull of what this round did not send */
};

/* All borrowed until the space is closed. */
void tide__slot_space_init(struct tide__slot_space *s,
			   const struct tide_slots *slots,
			   const struct tide_precopy_ops *ops, void *opaque);

#endif
