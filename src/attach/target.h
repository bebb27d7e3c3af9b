/* SPDX-License-Identifier: BSD-2-Clause */
/* What a process is, before anybody touches it, and why it may not be. */
#ifndef TIDE_ATTACH_TARGET_H
#define TIDE_ATTACH_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

struct tide__target {
	int pid;
	char state;		/* R, S, D, T, t, Z */
	int tracer;		/* 0: nobody */
	int seccomp;		/* 0 off, 1 strict, 2 filter */
	bool shadow_stack;
	uint64_t started;	/* clock ticks since boot: tells pids apart */
	char name[64];		/* of the program */
};

/* Of a process, or one thread of it (@tid). 0; -ESRCH it is not there. */
int tide__target_look(struct tide__target *target, int pid, int tid,
		      struct tide_error *err);
/* 0, or why it cannot be attached to, with the way out. */
int tide__target_judge(const struct tide__target *target,
		       struct tide_error *err);

#endif
