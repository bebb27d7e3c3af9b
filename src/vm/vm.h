/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reference VMM: guest RAM in slots, vCPU threads, a serial port, a disk.
 *
 * It exists so that the memory path runs for real, and so that a VMM author
 * can read how the library is meant to be used; migrate_ops.c is the page to
 * begin with. Where there is no /dev/kvm, threads of this process play the
 * vCPUs (accel "process") and run the same work on the same memory layout.
 *
 * States: created -> running <-> paused -> gone. An incoming VM begins
 * without memory; vm_prepare_incoming and vm_load_state make it "paused".
 * Calls are for one thread, except where it is said otherwise.
 */
#ifndef TIDE_VM_VM_H
#define TIDE_VM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/dirty.h"
#include "tidemark/error.h"
#include "tidemark/slots.h"
#include "tidemark/source.h"

struct vm;

#define VM_MIN_MEMORY_BYTES (UINT64_C(8) << 20)
#define VM_MAX_MEMORY_BYTES (UINT64_C(62) << 30) /* and a gap of 2 GiB */
#define VM_MEMORY_STEP_BYTES (UINT64_C(2) << 20)
#define VM_MAX_SLOTS 16
#define VM_MAX_VCPUS 8

enum vm_accel { VM_ACCEL_AUTO, VM_ACCEL_KVM, VM_ACCEL_PROCESS };

struct vm_config {
	enum vm_accel accel;
	enum tide_source_kind source;
	uint64_t memory_bytes;
	unsigned int slots;		/* RAM is cut into so many */
	bool hole;			/* leave a gap between the slots */
	unsigned int vcpus;
	unsigned int pattern;		/* enum guest_pattern */
	uint64_t rate_pages_per_s; /* over all vCPUs; 0: as fast as it goes */
	uint64_t footprint_bytes;	/* that the pattern works on; 0: all */
	uint64_t seed;
	const char *disk_path;		/* an image; NULL: no disk */
	const char *disk_format;	/* NULL: what its first bytes say */
	const char *disk_folder;	/* where else a qcow2 one may lead to */
	uint64_t max_memory_bytes;	/* of one that arrives; 0: the host's */
	const char *serial_path;	/* NULL: standard error */
	const char *addresses_path;	/* folder for addresses.c; NULL: none */
};

struct vm_verdict {
	uint64_t pages;			/* that the guest wrote, and verified */
	uint64_t bad;
	uint64_t first_bad;		/* page number */
	const char *first_bad_kind; /* "content" or "version"; NULL if none */
	uint64_t disk_reads, disk_writes, disk_bad;
};

/* How long single page writes took, in one phase; see guest/work.c. */
struct vm_stalls {
	uint64_t longest_ns;
	uint64_t bucket[64];		/* log2 of ns */
};

enum vm_phase { VM_PHASE_NONE, VM_PHASE_BULK, VM_PHASE_DIRTY, VM_PHASE_STOP };

/* Fill with what suits a demonstration. */
void vm_config_defaults(struct vm_config *config);
int vm_pattern_parse(const char *name, unsigned int *pattern);
const char *vm_pattern_name(unsigned int pattern);
/* KVM if /dev/kvm can be opened, else process. */
enum vm_accel vm_accel_here(void);

/* A VM ready to start: memory, guest image, vCPUs. */
int vm_create(struct vm **out, const struct vm_config *config,
	      struct tide_error *err);
/*
 * One that waits to be filled by a migration; only accel, source, disk count.
 */
int vm_create_incoming(struct vm **out, const struct vm_config *config,
		       struct tide_error *err);
void vm_destroy(struct vm *vm);

/* Waits for vCPUs and for all who write; idempotent. */
int vm_pause(struct vm *vm, struct tide_error *err);
int vm_resume(struct vm *vm, struct tide_error *err); /* also the first start */
bool vm_is_running(const struct vm *vm);
/* A vCPU that crashed stops the VM; the reason. Any thread. */
bool vm_failed(struct vm *vm, struct tide_error *err);

const struct tide_slots *vm_slots(const struct vm *vm);
struct tide_set *vm_set(struct vm *vm);
enum vm_accel vm_accel(const struct vm *vm);
const struct vm_config *vm_get_config(const struct vm *vm);
/* Pages written by the guest since its start; any thread. */
uint64_t vm_pages_written(const struct vm *vm);

/* Tracking: create and start the configured source; stop and drop it. */
int vm_track_start(struct vm *vm, struct tide_error *err);
int vm_track_stop(struct vm *vm, struct tide_error *err);
struct tide_source *vm_source(struct vm *vm);
/* For the hand-over: until vm_resume slots neither come nor go. */
void vm_freeze_slots(struct vm *vm);
/* Slots' memory stays where it is; several threads at a time. */
void vm_hold_memory(struct vm *vm);
void vm_release_memory(struct vm *vm);

/*
 * Around writes of the VMM's own to guest memory, with the marks for them: a
 * pause waits for their end. false: the guest is paused, nothing may be written
 * (and there is nothing to end).
 */
bool vm_write_begin(struct vm *vm);
void vm_write_end(struct vm *vm);

/*
 * Add RAM as a new slot, or take it away; running or not, also while it is
 * migrated, from any thread. -EBUSY: it is paused to be handed over.
 */
int vm_add_slot(struct vm *vm, uint64_t gpa_bytes, uint64_t len_bytes,
		uint32_t *id, struct tide_error *err);
int vm_remove_slot(struct vm *vm, uint32_t id, struct tide_error *err);

/* vCPUs sleep so much of their time. Any thread. */
void vm_throttle(struct vm *vm, unsigned int percent);
void vm_set_phase(struct vm *vm, enum vm_phase phase);
void vm_get_stalls(const struct vm *vm, enum vm_phase phase,
		   struct vm_stalls *stalls);

/*
 * The guest, which must be running, verifies every page that it wrote.
 * -ETIMEDOUT after @timeout_ns; 0 with the verdict, good or bad.
 */
int vm_verify(struct vm *vm, uint64_t timeout_ns, struct vm_verdict *verdict,
	      struct tide_error *err);
/* XXH3 of all RAM, slot by slot with its address; the VM must be paused. */
uint64_t vm_memory_hash(const struct vm *vm);

/*
 * State of the paused VM without its RAM: malloc'ed, the caller frees. The disk
 * is let go of, for who loads the state; vm_resume takes it back, or fails.
 */
int vm_save_state(struct vm *vm, void **state, size_t *len,
		  struct tide_error *err);
/* The same of one that goes on here: its disk stays with it. */
int vm_keep_state(struct vm *vm, void **state, size_t *len,
		  struct tide_error *err);
int vm_prepare_incoming(struct vm *vm, const struct tide_slot *wanted,
			size_t count, struct tide_error *err);
/* Between rounds of a migration to here: the slots are now @wanted. */
int vm_change_incoming(struct vm *vm, const struct tide_slot *wanted,
		       size_t count, struct tide_error *err);
int vm_load_state(struct vm *vm, const void *state, size_t len,
		  struct tide_error *err);

/*
 * What a snapshot keeps of a paused guest besides its memory, and that read
 * again: slots without host addresses; @state lies in the bytes that were read,
 * for vm_load_state after vm_prepare_incoming.
 */
#define VM_STILL_SLOTS 32u
struct vm_still {
	struct tide_slot slot[VM_STILL_SLOTS];
	size_t slots;
	const void *state;
	size_t state_bytes;
};
int vm_still_save(struct vm *vm, void **bytes, size_t *len,
		  struct tide_error *err);
int vm_still_read(struct vm_still *still, const void *bytes, size_t len,
		  struct tide_error *err);

/* Bytes of memory that this process could still get. */
uint64_t vm_host_memory(void);
/*
 * An attempt to receive failed, however far it came: the VM is empty again, for
 * the next one, and nothing of the guest that did not arrive ever runs.
 */
int vm_forget_incoming(struct vm *vm, struct tide_error *err);

#endif
