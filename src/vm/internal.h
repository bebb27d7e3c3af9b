/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside of the reference VMM. One struct vm; what differs between KVM and the
 * process that plays a guest stands behind struct vm_machine_ops.
 *
 * Threads: the owner's thread calls; each vCPU has one thread. `lock` covers
 * the fields marked (l). A vCPU runs guest code only while want_run is true;
 * pausing clears it, kicks, and waits until in_guest is 0.
 */
#ifndef TIDE_VM_INTERNAL_H
#define TIDE_VM_INTERNAL_H

#include <pthread.h>
#include <stdio.h>

#include "../../guest/control.h"
#include "vm/vm.h"

#define VM_RING_ENTRIES 8192u

struct vm_vcpu {
	struct vm *vm;
	unsigned int number;
	pthread_t thread;
	bool has_thread;
	int fd;			/* KVM only, else -1 */
	void *run;		/* KVM's shared page */
	uint64_t batch_start_ns;	/* for rate and throttle */
};

struct vm_disk {
	uint64_t bytes;		/* 0: no disk */
	pthread_mutex_t lock;	/* one request at a time */
	struct tide_disk *image;	/* NULL: not ours at present */
	/* Device state: moves. */
	uint32_t status, features_sel, driver_features_sel, queue_num,
	    queue_ready, last_avail;
	uint64_t driver_features, desc, driver, device;
};

struct vm_machine_ops {
	/* Before memory exists; after it, make the vCPUs. */
	int (*open)(struct vm *vm, struct tide_error *err);
	int (*make_vcpus)(struct vm *vm, struct tide_error *err);
	void (*close)(struct vm *vm);
	int (*add_slot)(struct vm *vm, const struct tide_slot *slot,
			struct tide_error *err);
	int (*remove_slot)(struct vm *vm, const struct tide_slot *slot,
			   struct tide_error *err);
	/* Run guest code until kicked or told to stop; called in its thread. */
	void (*run)(struct vm_vcpu *vcpu);
	void (*kick)(struct vm_vcpu *vcpu);
	size_t (*state_bytes)(const struct vm *vm);
	int (*save)(struct vm *vm, void *state, struct tide_error *err);
	int (*load)(struct vm *vm, const void *state, size_t len,
		    struct tide_error *err);
};

/* The lock covers all that changes. */
struct vm_serial {
	pthread_mutex_t lock;
	int fd;
	bool owned, file; /* a regular file takes everything */
	char line[1024];
	size_t used;
	uint64_t dropped; /* bytes */
};

struct vm {
	struct vm_config config;
	const struct vm_machine_ops *ops;
	int kvm_fd, vm_fd;
	size_t run_bytes;
	struct tide_slots *slots;
	struct tide_set *set;
	struct tide_source *source;	/* NULL while not tracking */
	/*
	 * slot_lock: changes of slots, and what follows. A reader of slots'
	 * memory that can meet a change holds memory_lock meanwhile.
	 */
	pthread_mutex_t slot_lock;
	bool tracking;		/* the source watches */
	bool frozen;		/* paused to be handed over: no changes */
	pthread_rwlock_t memory_lock;
	char *base;		/* address space of the guest: GPA 0 */
	uint64_t span_bytes;	/* reserved there */
	uint32_t next_slot_id;
	struct vm_vcpu vcpu[GUEST_MAX_VCPUS];
	int vcpu_fds[GUEST_MAX_VCPUS];
	struct vm_disk disk;
	struct vm_serial serial;
	struct vm_addresses *addresses;	/* NULL: not logged */
	unsigned int throttle_percent;	/* atomic */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool want_run;		/* (l) written under it, read atomically */
	bool quit;		/* (l) */
	unsigned int in_guest;	/* (l) who may touch memory */
	struct tide_error failure;	/* (l) code 0: none */
};

extern const struct vm_machine_ops vm__kvm_ops, vm__process_ops;

/* memory.c */
int vm__memory_reserve(struct vm *vm, uint64_t span_bytes,
		       struct tide_error *err);
void vm__memory_release(struct vm *vm);
int vm__memory_lay_out(struct vm *vm, struct tide_error *err);
int vm__memory_map(struct vm *vm, uint64_t gpa, uint64_t len, uint32_t id,
		   struct tide_error *err);
void vm__mark(struct vm *vm, uint64_t gpa, uint64_t len);

/* boot.c */
void vm__boot_fill(struct vm *vm);
struct guest_control *vm__control(const struct vm *vm);
struct guest_vcpu *vm__guest_vcpu(const struct vm *vm, unsigned int vcpu);

/* threads.c */
int vm__threads_start(struct vm *vm, struct tide_error *err);
void vm__threads_end(struct vm *vm);
bool vm__wants_run(const struct vm *vm);
void vm__fail(struct vm *vm, const struct tide_error *err);
/* The guest wrote @pages: sleep as rate and throttle ask. */
void vm__pace(struct vm_vcpu *vcpu, uint32_t pages);

/* control_page.c: may threads work by it; does [gpa, +len) touch it? */
int vm__check_control(const struct vm *vm, struct tide_error *err);
bool vm__is_control(uint64_t gpa, uint64_t len);

/* state.c: may an incoming guest have these slots? */
int vm__check_incoming(const struct vm *vm, const struct tide_slot *wanted,
		       size_t count, struct tide_error *err);

/* serial.c */
int vm__serial_open(struct vm *vm, struct tide_error *err);
void vm__serial_close(struct vm *vm);
/* One byte of output. Never waits. */
void vm__serial_put(struct vm *vm, uint32_t byte);

/* addresses.c: does nothing unless config.addresses_path is set. */
int vm__addresses_open(struct vm *vm, struct tide_error *err);
void vm__addresses_note(struct vm *vm, const char *kind, uint64_t gpa,
			uint64_t len);
void vm__addresses_close(struct vm *vm);

/* disk.c */
/*
 * know: how large is it? take: from now on it is written here, and nowhere
 * else; waits a little for who lets go of it. leave: all that was written is
 * durable, and somebody else may take it.
 */
int vm__disk_know(struct vm *vm, struct tide_error *err);
int vm__disk_take(struct vm *vm, struct tide_error *err);
int vm__disk_leave(struct vm *vm, struct tide_error *err);
uint32_t vm__disk_read(struct vm *vm, uint32_t offset);
void vm__disk_write(struct vm *vm, uint32_t offset, uint32_t value);

#endif
