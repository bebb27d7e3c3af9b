/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attached to a process: the descriptors by which its memory is tracked and
 * read. Nothing of it is in the process; it ends with tide__attach_close, or
 * with us, however we end.
 */
#ifndef TIDE_ATTACH_ATTACH_H
#define TIDE_ATTACH_ATTACH_H

#include "attach/borrow.h"
#include "attach/target.h"

struct tide__attach {
	struct tide__target target;
	int pidfd;
	int uffd;	/* its; with asynchronous write protection */
	int pagemap;	/* its /proc/PID/pagemap */
	uint64_t stopped_ns;
};

/*
 * tide__attach_open: 0, and @a is to be closed; -ESRCH no such process, -EBUSY
 * traced by another, -EAGAIN stopped or at no good place, -EPERM,
 * -EOPNOTSUPP; the error says the way out. @step: see borrow.h.
 */
int tide__attach_open(struct tide__attach *a, int pid,
		      const struct tide__borrow_step *step,
		      struct tide_error *err);
/*
 * The same to serve its missing pages instead of tracking: its userfaultfd has
 * had no features asked for yet.
 */
int tide__attach_serve(struct tide__attach *a, int pid,
		       struct tide_error *err);
/* It tracks no more. Idempotent. */
void tide__attach_close(struct tide__attach *a);
/* False: the process has ended. */
bool tide__attach_alive(const struct tide__attach *a);

#endif
