/* SPDX-License-Identifier: BSD-2-Clause */
/* The threads of a process, those first that are disturbed least. */
#ifndef TIDE_ATTACH_THREADS_H
#define TIDE_ATTACH_THREADS_H

#include <stddef.h>

struct tide__thread {
	int tid;
	int rank;	/* lower is better */
};

/* At most @max of them; how many. */
size_t tide__threads_list(int pid, struct tide__thread *thread, size_t max);

#endif
