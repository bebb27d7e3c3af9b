/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Borrow a thread of another process for one call: userfaultfd.
 *
 * Everything else that tracking needs is asked of the descriptor, which can be
 * done from here: it stands for the memory of the process that made it.
 */
#ifndef TIDE_ATTACH_BORROW_H
#define TIDE_ATTACH_BORROW_H

#include <stdbool.h>
#include <stdint.h>

#include "attach/target.h"
#include "tidemark/error.h"

/* For tests: called at each point where something has just happened. */
struct tide__borrow_step {
	void (*at)(void *opaque, int point);
	void *opaque;
};

struct tide__borrowed {
	int uffd;
	uint64_t stopped_ns;	/* from the interrupt to the last instruction */
	int tries;		/* threads that were looked at */
};

/*
 * tide__borrow_uffd: a userfaultfd of process @target (its pidfd: @pidfd),
 * brought over here; the process keeps nothing. Blocks for at most @patience_ms
 * and a few milliseconds. @kernel_faults: it is to hear of those of system
 * calls, too, which takes a privilege of the process's. @step may be NULL. 0;
 * -ESRCH it ended, -EBUSY traced,
 * -EPERM, -EAGAIN no thread could be borrowed in that time.
 */
int tide__borrow_uffd(struct tide__borrowed *out,
		      const struct tide__target *target, int pidfd,
		      unsigned int patience_ms, bool kernel_faults,
		      const struct tide__borrow_step *step,
		      struct tide_error *err);

#endif
