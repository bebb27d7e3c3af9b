/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Taking snapshots of a running process, one after the other: the first by
 * comparing all its memory with the newest that is there, each next one of what
 * was written since.
 */
#ifndef TIDE_SNAPSHOT_CAPTURE_H
#define TIDE_SNAPSHOT_CAPTURE_H

#include "snapshot/chain.h"
#include "snapshot/memory.h"
#include "snapshot/write.h"
#include "tidemark/dirty.h"
#include "tidemark/source.h"
#include "vmm/vmm.h"

typedef int snap_moment(void *taking,
			int (*begin)(void *begin_opaque,
				     struct tide_error *err),
			void *begin_opaque, struct tide_error *err);

struct snap_capture_options {
	int pid;		/* 0: @vm or @cloud say it */
	/* One at most, see vmm_open: a QEMU's, our own VMM's, a Cloud's. */
	const char *qmp, *vm, *cloud;
	const char *folder;
	uint64_t min_bytes;	/* see ram.h */
	bool memory_only;
	bool ignore_sharers;	/* others map it, and do not write */
	/*
	 * Disks of the same moment: calls @moment once with a function that
	 * begins it, which is called while the VM stands still. When it returns
	 * 0 they are durable, and it is noted which belong to this snapshot.
	 */
	int (*disks)(void *opaque, const char *name, const struct snap_id *id,
		     snap_moment *moment, void *taking,
		     struct tide_error *err);
	void *opaque;
};

struct snap_result {
	uint64_t pages;		/* stored, with repeats, without zeroes */
	uint64_t live_pages;	/* looked at while it ran */
	uint64_t final_pages;	/* copied while it stood */
	uint64_t file_bytes, devices_bytes;
	uint64_t paused_ns;	/* from the request to "it runs again" */
	uint64_t stood_ns;	/* of it, by the VMM's own clock; 0: it has none */
	uint64_t disks_ns, devices_ns, copy_ns;	/* parts of it */
	uint64_t all_ns;
	bool base;
};

struct snap_capture {
	struct snap_capture_options options;
	struct vmm vmm;
	struct snap_memory memory;
	struct tide_source *source;
	struct tide_slots *slots;
	struct tide_set *set;
	char program[64];
	/* The newest snapshot, whose pages the set's clean ones are. */
	struct snap_id parent;
	uint64_t sequence;
	bool everything;	/* nobody knows what is clean */
	unsigned char *held;	/* pages that were copied in the pause */
	size_t held_room;
	struct tide_range *run;	/* what they are */
	size_t runs, run_room;
	int lock;
	uint64_t stopped_ns;	/* by attaching */
	struct tide_error unwatched;	/* code 0: it is watched */
};

int snap_capture_open(struct snap_capture *c,
		      const struct snap_capture_options *options,
		      struct tide_error *err);
/* On failure nothing of it is left, and the next one looks at everything. */
int snap_capture_take(struct snap_capture *c, const char *name,
		      struct snap_result *result, struct tide_error *err);
void snap_capture_close(struct snap_capture *c);

#endif
