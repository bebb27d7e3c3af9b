/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that does one thing when we die, and nothing if we dismiss it.
 *
 * It is of a session of its own, holds one end of a pipe, and waits. The pipe
 * ends with us, however we end.
 */
#ifndef TIDE_VMM_GUARD_H
#define TIDE_VMM_GUARD_H

#include <sys/types.h>

#include "tidemark/error.h"

struct guard {
	pid_t pid;
	int pipe;
};

#define GUARD_NONE { -1, -1 }

/*
 * @deed runs in the guard, with @fd (or -1) open and @what as it was when the
 * guard was made; only calls that may follow a fork. 0 or -errno.
 */
int guard_start(struct guard *g, void (*deed)(int fd, const void *what),
		int fd, const void *what, struct tide_error *err);
void guard_dismiss(struct guard *g);
/* It does its deed now, and we do not wait for it. */
void guard_let_act(struct guard *g);

#endif
