/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lazy restore of a stock QEMU that waits for an incoming migration: its shared
 * memory is emptied, its page faults are served from the chain, and it gets its
 * devices and runs, before its memory is there.
 */
#ifndef TIDE_SNAPSHOT_LAZY_QEMU_H
#define TIDE_SNAPSHOT_LAZY_QEMU_H

#include "attach/attach.h"
#include "snapshot/lazy.h"
#include "vmm/vmm.h"

struct lazy_qemu {
	struct lazy lazy;	/* chain and order are the caller's */
	struct vmm vmm;
	struct tide__attach attach;
	struct guard guard;
	uint64_t running_ns;	/* from the start until it runs */
	bool running;
};

/*
 * 0: all of its memory is there, and nothing of ours is left in it; or it
 * ended. An error once its memory was taken in hand ends it, and so does our
 * death: it never sees a page that is made up.
 */
int lazy_qemu_run(struct lazy_qemu *q, int pid, const char *qmp,
		  struct tide_error *err);

#endif
