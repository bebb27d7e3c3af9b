/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sources: who tells the dirty set what was written. Those that the library
 * has; how to bring one of your own stands in source_driver.h.
 *
 * A source watches the slots of one guest and, when asked, harvests what was
 * written since the last harvest into a set, whose page number is the guest
 * physical address divided by the page size. The set is the union of all
 * sources of a guest; a source that cannot vouch for a range marks it dirty.
 *
 * The order that makes a copy safe is: harvest, cut, then for each range of
 * the epoch first tide_source_rearm and only then read the pages. Sources that
 * re-protect while they harvest have an empty rearm; for KVM's manual log it
 * clears the log chunk by chunk. The ring's reset happens inside harvest,
 * before the pages appear in the set, so that no caller can place it wrongly:
 * whoever finds a page in the set reads it after the reset.
 *
 * Caveats:
 *  - KVM's log and ring see what vCPUs write, not what the VMM itself writes:
 *    those writes are marked by the VMM (tide_set_mark_range).
 *  - The last harvest counts only when the vCPUs have been kicked out of the
 *    guest and stand still.
 */
#ifndef TIDEMARK_SOURCE_H
#define TIDEMARK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/dirty.h"
#include "tidemark/error.h"
#include "tidemark/slots.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tide_source_kind {
	TIDE_SOURCE_LOG_MANUAL, /* KVM dirty log, manual, initially set */
	TIDE_SOURCE_LOG_LEGACY,	/* KVM dirty log, cleared by reading */
	TIDE_SOURCE_RING,	/* KVM dirty ring */
	TIDE_SOURCE_UFFD,	/* userfaultfd-WP async + PAGEMAP_SCAN */
	TIDE_SOURCE_FOREIGN,	/* the same, on another process's memory */
	TIDE_SOURCE_KINDS,
	/* The caller's own: source_driver.h. No name, and nothing to probe. */
	TIDE_SOURCE_DRIVER = 0x100,
};

/* What a source needs to know of the VM; fields it does not use may be -1. */
struct tide_source_vm {
	/*
	 * sizeof(struct tide_source_vm). As in tide_precopy_options a smaller
	 * one of an older version is accepted, and a larger one whose rest is
	 * zero. 0 stands for the size that the first version had.
	 */
	size_t struct_size;
	int vm_fd;		/* KVM VM */
	const int *vcpu_fds;	/* borrowed until destroy; ring only */
	unsigned int vcpus;
	unsigned int ring_entries;	/* as given to tide_kvm_ring_enable */
	/*
	 * Called by the KVM sources to switch dirty logging of one slot on or
	 * off (the owner of the memory slots sets their flags, since only it
	 * knows the others). 0 or -errno. NULL for uffd.
	 */
	int (*set_logging)(void *opaque, const struct tide_slot *slot, bool on);
	void *opaque;
	/*
	 * Foreign only: the process. The host addresses of its slots are
	 * addresses in it. One of its threads is stopped for well under a
	 * millisecond at tide_source_create; it keeps nothing of ours.
	 */
	int pid;
};

struct tide_source_stats {
	uint64_t harvests;
	uint64_t pages;		/* reported, with repeats */
	uint64_t assumed_dirty;	/* pages marked because nobody could vouch */
	uint64_t last_harvest_ns;
	uint64_t last_rearm_ns;
	uint64_t stopped_ns;	/* foreign: how long its thread stood still */
};

struct tide_source;

/* tide_source_kind_name: "log-manual", "log-legacy", "ring", "uffd",
 * "foreign". */
const char *tide_source_kind_name(enum tide_source_kind kind);
/* tide_source_kind_parse: the reverse. 0 or -EINVAL. */
int tide_source_kind_parse(const char *name, enum tide_source_kind *kind);

/*
 * tide_source_probe: does @kind work on this host? Tests every assumption on
 * a small mapping (for KVM: with a VM of its own). 0, or a negative errno with
 * the reason: -ENOSYS/-EOPNOTSUPP missing, -EPERM/-EACCES forbidden, -EILSEQ
 * present but wrong. Takes milliseconds; leaves nothing behind.
 */
int tide_source_probe(enum tide_source_kind kind, struct tide_error *err);

/*
 * tide_source_create: probes, then prepares a source; nothing is watched yet.
 * KVM rings must be enabled before the first vCPU exists: see
 * tide_kvm_ring_enable. The caller owns *@out. -EINVAL: what this kind needs
 * of @vm is missing, or @vm is of another version.
 */
int tide_source_create(struct tide_source **out, enum tide_source_kind kind,
		       const struct tide_source_vm *vm, struct tide_error *err);
void tide_source_destroy(struct tide_source *source);	/* NULL is fine */

/*
 * tide_source_start: watch every slot of @slots (borrowed until stop). From
 * the return on, no write is missed. All or nothing.
 */
int tide_source_start(struct tide_source *source,
		      const struct tide_slots *slots, struct tide_error *err);

/*
 * tide_source_harvest: marks in @set what was written since the last one.
 * On failure the whole of what is watched is marked (loss is never silent)
 * and the error says why. One thread at a time.
 */
int tide_source_harvest(struct tide_source *source, struct tide_set *set,
			struct tide_error *err);

/*
 * tide_source_rearm: call for a range of the epoch right before its pages are
 * read: later writes to them will be seen by the next harvest. @first and
 * @count in pages of the set. On failure the range must count as dirty.
 * Any one thread at a time. Implementations round to their own chunk and
 * remember which chunks are rearmed, so calls for every range are cheap: a
 * search among the slots (100 ns with 16,000), and KVM's call once a chunk.
 */
int tide_source_rearm(struct tide_source *source, uint64_t first,
		      uint64_t count, struct tide_error *err);

/*
 * Slots that come and go while a source watches. Added: is watched and marked
 * dirty as a whole. Remove: call before the slot is taken from the guest; it is
 * marked as a whole. Both may take long (KVM waits for a grace period) and keep
 * neither a harvest nor a rearm waiting for that time. One change at a time;
 * -ENOENT: that slot is not watched.
 */
int tide_source_slot_added(struct tide_source *source,
			   const struct tide_slot *slot, struct tide_set *set,
			   struct tide_error *err);
int tide_source_slot_removing(struct tide_source *source,
			      const struct tide_slot *slot,
			      struct tide_set *set, struct tide_error *err);

/*
 * tide_source_ring_full: the ring's vCPU left with "ring full" (exit
 * reason 31); harvest into @set soon. For the VMM's vCPU loop: it calls this
 * from the vCPU's own thread, which harvests under the source's lock and
 * returns when the vCPU may run on. Other kinds: -EINVAL.
 */
int tide_source_ring_full(struct tide_source *source, struct tide_set *set,
			  struct tide_error *err);

/* tide_source_stop: stop watching; 0 or the first error. Idempotent. */
int tide_source_stop(struct tide_source *source, struct tide_error *err);

void tide_source_get_stats(const struct tide_source *source,
			   struct tide_source_stats *stats);

/*
 * tide_kvm_ring_enable: size the rings of @vm_fd (entries, power of two), to
 * be called before the first vCPU is created. 0; -EOPNOTSUPP, -E2BIG, -EINVAL.
 */
int tide_kvm_ring_enable(int vm_fd, unsigned int entries,
			 struct tide_error *err);
/* tide_kvm_manual_enable: manual protection, initially set, on @vm_fd. */
int tide_kvm_manual_enable(int vm_fd, struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
