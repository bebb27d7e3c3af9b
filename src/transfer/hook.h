/* SPDX-License-Identifier: BSD-2-Clause */
/* A command of the operator's, before and after the moment of a backup. */
#ifndef TIDE_TRANSFER_HOOK_H
#define TIDE_TRANSFER_HOOK_H

#include <stdint.h>

#include "tidemark/error.h"

/*
 * hook_run: `sh -c @command`, and wait. NULL is fine. -ETIMEDOUT: it did
 * not end in time, and was killed with all that it had started; -ECHILD: it
 * ended with another status than 0.
 */
int hook_run(const char *command, uint64_t limit_ms,
	     struct tide_error *err);

#endif
