/* SPDX-License-Identifier: BSD-2-Clause */
/* Options from callers built for another version of the library. */
#ifndef TIDE_ROUNDS_OPTIONS_H
#define TIDE_ROUNDS_OPTIONS_H

#include "tidemark/precopy.h"

/*
 * *@own from the caller's: what an older, smaller struct lacks is the default;
 * a newer, larger one must ask for nothing that is not known here (zeros).
 * -EINVAL with the reason.
 */
int tide__options_take(struct tide_precopy_options *own,
		       const struct tide_precopy_options *theirs,
		       struct tide_error *err);

#endif
