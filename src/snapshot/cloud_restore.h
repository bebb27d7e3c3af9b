/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot of a Cloud Hypervisor goes into a new one that waits for it
 * (receive-migration): its memory in memfds of ours, its configuration and
 * devices as they were sent. Lazily (memory_mode=postcopy there) the memfds are
 * empty; it asks for each page that it misses, on a connection of its own, and
 * has to be answered before its devices are loaded.
 *
 * A page is written once, before anybody may touch it: whoever may have changed
 * it since must not find it as it was. It asks for all pages one by one, the
 * guest's faults first; what is not the lowest that it has not asked for yet is
 * taken for such a fault, and only those are recorded.
 */
#ifndef TIDE_SNAPSHOT_CLOUD_RESTORE_H
#define TIDE_SNAPSHOT_CLOUD_RESTORE_H

#include "snapshot/lazy.h"

struct snap_cloud {
	struct snap_chain *chain;
	bool lazy, paused;	/* it is not to run yet */
	/* Lazily: hints as in lazy.h, and what came of them; the caller frees
	 * lazy.touched. */
	struct lazy lazily;
	uint64_t running_ns;	/* until it said that it runs */
};

/*
 * 0; -EINVAL no snapshot of a Cloud Hypervisor; -EREMOTEIO it refused;
 * -EBADMSG the snapshot is damaged: it never gets a page that is wrong.
 */
int snap_cloud_restore(struct snap_cloud *r, const char *path,
		       struct tide_error *err);

#endif
