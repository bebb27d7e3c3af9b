/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a stopped thread's interrupted system call says in its result register:
 * the kernel's private errno values, which never reach a program.
 */
#ifndef TIDE_ATTACH_RESTART_H
#define TIDE_ATTACH_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#define TIDE__ERESTARTSYS 512
#define TIDE__ERESTARTNOINTR 513
#define TIDE__ERESTARTNOHAND 514
#define TIDE__ERESTART_RESTARTBLOCK 516

/* The call starts again from its beginning when no handler ran. */
static inline bool tide__restarts(int64_t result)
{
	return result == -TIDE__ERESTARTSYS ||
	       result == -TIDE__ERESTARTNOINTR ||
	       result == -TIDE__ERESTARTNOHAND;
}

#endif
