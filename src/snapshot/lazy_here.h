/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lazy restore into memory of this process: for a VMM that opens the snapshot
 * itself. A thread serves the missing pages until all are there; then nothing
 * of it is left. Anonymous private memory that nobody has touched yet.
 */
#ifndef TIDE_SNAPSHOT_LAZY_HERE_H
#define TIDE_SNAPSHOT_LAZY_HERE_H

#include <pthread.h>

#include "snapshot/lazy.h"

struct lazy_here {
	struct lazy lazy;	/* chain, order, record, regions: the caller's */
	/*
	 * In the thread, when all is there (0), or with an error: whoever waits
	 * for a page then waits for ever, and must be ended.
	 */
	void (*done)(struct lazy_here *here, int ret,
		     const struct tide_error *err);
	void *opaque;
	pthread_t thread;
	int over;		/* atomic */
};

/*
 * From here on pages are brought in. 0; -EPERM: the kernel's own faults (a
 * vCPU's are) take a privilege, and the error says which.
 */
int lazy_here_start(struct lazy_here *here, struct tide_error *err);
/* The memory is gone, or whole: no page is brought in after it. */
void lazy_here_end(struct lazy_here *here);

#endif
