/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A running VMM that is not ours, as far as a snapshot needs it: which of its
 * mappings are guest memory, stand still, the state of the devices, go on.
 *
 * Whoever pauses a VM may die. A guard process, made beforehand, lets it go on
 * then (guard.h).
 */
#ifndef TIDE_VMM_VMM_H
#define TIDE_VMM_VMM_H

#include "attach/ram.h"
#include "tidemark/error.h"
#include "vmm/guard.h"

struct vmm;

struct vmm_ops {
	const char *name;
	bool devices_later, names_memory;	/* whole, not out of looks */
	/* It stays paused until the snapshot is durable (vmm.durable). */
	bool until_durable;
	int (*open)(struct vmm *vmm, const char *path, struct tide_error *err);
	void (*close)(struct vmm *vmm);
	/* Before each snapshot, of a VMM that asks for them itself. */
	int (*await)(struct vmm *vmm, struct tide_error *err);
	/* Of what looks like memory, only what is the guest's. */
	int (*choose)(struct vmm *vmm, struct tide__ram *ram,
		      struct tide_error *err);
	/* The file of an area that was chosen: the caller's to close. */
	int (*memory)(struct vmm *vmm, size_t area);
	/* All that can be done before the pause. */
	int (*prepare)(struct vmm *vmm, struct tide_error *err);
	int (*pause)(struct vmm *vmm, struct tide_error *err);
	int (*resume)(struct vmm *vmm, struct tide_error *err);
	/*
	 * While it is paused, or, @devices_later, when it runs again; the
	 * caller frees. NULL: it has none to give.
	 */
	int (*devices)(struct vmm *vmm, void **bytes, size_t *n,
		       struct tide_error *err);
};

struct vmm {
	const struct vmm_ops *ops;
	int pid;
	int fd;			/* a connection, or -1 */
	uint64_t resumed_ns;	/* when it ran again, by its answer */
	uint64_t stood_ns;	/* how long it stood by its own clock; 0: ? */
	bool was_running, paused, private_memory;
	bool memory_only;	/* nobody will ask for its devices */
	bool durable;		/* what it is paused for is on the disk */
	struct guard guard;
	void *impl;
};

extern const struct vmm_ops vmm_process, vmm_qemu, vmm_own, vmm_cloud;

/*
 * @path: vmm_qemu's monitor, vmm_own's control socket, the socket to which
 * vmm_cloud's process will connect.
 */
int vmm_open(struct vmm *vmm, const struct vmm_ops *ops, int pid,
	     const char *path, struct tide_error *err);
/* It runs again, whatever happened. */
void vmm_close(struct vmm *vmm);
/* Before each pause, which may be after a while or never. */
int vmm_prepare(struct vmm *vmm, struct tide_error *err);
int vmm_pause(struct vmm *vmm, struct tide_error *err);
int vmm_resume(struct vmm *vmm, struct tide_error *err);

/*
 * Of a QEMU: it waits for its devices (-incoming defer); it gets them and runs.
 */
int vmm_qemu_is_incoming(struct vmm *vmm, struct tide_error *err);
int vmm_qemu_start(struct vmm *vmm, const void *devices, size_t n,
		   struct tide_error *err);

#endif
