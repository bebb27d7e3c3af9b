/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sources of dirty pages: KVM's dirty log and dirty ring, and userfaultfd write
 * protection. For a source of your own see source_driver.h.
 *
 * A source watches the slots of one guest and, on request, harvests what was
 * written since the last harvest into a set, whose page numbers are guest
 * physical addresses divided by the page size. The set is the union of all
 * sources of a guest; a source that cannot vouch for a range marks it dirty.
 *
 * The order that makes a copy safe is: harvest, cut, then for each range of
 * the epoch first tide_source_rearm and only then read the pages. Sources that
 * re-protect while they harvest have an empty rearm; for KVM's manual log it
 * clears the log chunk by chunk. The ring is reset inside harvest, before the
 * pages appear in the set, so that a page found in the set is always read after
 * the reset.
 *
 * Caveats:
 *  - KVM's log and ring see writes by vCPUs, not by the VMM itself, which must
 *    mark its own writes (tide_set_mark_range).
 *  - The last harvest is complete only if the vCPUs have been kicked out of the
 *    guest and are stopped.
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
	/* The caller's own: source_driver.h. Not named, not probed. */
	TIDE_SOURCE_DRIVER = 0x100,
};

/* What a source needs to know about the VM; unused fields may be -1. */
struct tide_source_vm {
	/*
	 * sizeof(struct tide_source_vm); 0: that of the first version. As in
	 * tide_precopy_options, a smaller one of an older version is accepted,
	 * and a larger one whose rest is zero.
	 */
	size_t struct_size;
	int vm_fd;		/* KVM VM */
	const int *vcpu_fds;	/* borrowed until destroy; ring only */
	unsigned int vcpus;
	unsigned int ring_entries;	/* as given to tide_kvm_ring_enable */
	/*
	 * Called by the KVM sources to switch dirty logging of a slot on or off
	 * (setting a slot's flags is left to its owner, who knows the other
	 * flags). 0 or -errno. NULL for uffd.
	 */
	int (*set_logging)(void *opaque, const struct tide_slot *slot, bool on);
	void *opaque;
	/*
	 * Foreign only: the process, to which the slots' host addresses refer.
	 * tide_source_create stops one of its threads for well under a
	 * millisecond; nothing is left behind in it.
	 */
	int pid;
};

struct tide_source_stats {
	uint64_t harvests;
	uint64_t pages;		/* reported, with repeats */
	uint64_t assumed_dirty;	/* pages marked without knowing better */
	uint64_t last_harvest_ns;
	uint64_t last_rearm_ns;
	uint64_t stopped_ns;	/* foreign: how long its thread was stopped */
};

struct tide_source;

/* tide_source_kind_name: "log-manual", "log-legacy", "ring", "uffd",
 * "foreign". */
const char *tide_source_kind_name(enum tide_source_kind kind);
/* tide_source_kind_parse: the reverse. 0 or -EINVAL. */
int tide_source_kind_parse(const char *name, enum tide_source_kind *kind);

/*
 * tide_source_probe: does @kind work on this host? Tests every assumption with
 * a small mapping (for KVM: with a VM of its own). 0, or a negative errno with
 * the reason: -ENOSYS/-EOPNOTSUPP missing, -EPERM/-EACCES forbidden, -EILSEQ
 * present but wrong. Takes milliseconds; leaves nothing behind.
 */
int tide_source_probe(enum tide_source_kind kind, struct tide_error *err);

/*
 * tide_source_create: probes, then prepares a source; nothing is watched yet.
 * KVM rings must be enabled before the first vCPU exists: see
 * tide_kvm_ring_enable. The caller owns *@out. -EINVAL: @vm lacks what this
 * kind needs, or is of an unknown version.
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
 * tide_source_harvest: marks in @set what was written since the last one. On
 * failure everything watched is marked (loss is never silent) and the error
 * says why. One thread at a time.
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
 * Memory hotplug while a source watches. Added: the slot is watched from now
 * on, and marked dirty as a whole. Removing: call before the slot is taken from
 * the guest; it is marked as a whole. Both may take long (KVM waits for a grace
 * period), but do not block a harvest or rearm for that time. One change at a
 * time; -ENOENT: that slot is not watched.
 */
int tide_source_slot_added(struct tide_source *source,
			   const struct tide_slot *slot, struct tide_set *set,
			   struct tide_error *err);
int tide_source_slot_removing(struct tide_source *source,
			      const struct tide_slot *slot,
			      struct tide_set *set, struct tide_error *err);

/*
 * tide_source_ring_full: for the VMM's vCPU loop, when a vCPU exited because
 * its ring is full (exit reason 31): call it on the vCPU's own thread. It
 * harvests into @set under the source's lock, and returns when the vCPU may run
 * again. Other kinds: -EINVAL.
 */
int tide_source_ring_full(struct tide_source *source, struct tide_set *set,
			  struct tide_error *err);

/* tide_source_stop: stop watching; 0 or the first error. Idempotent. */
int tide_source_stop(struct tide_source *source, struct tide_error *err);

void tide_source_get_stats(const struct tide_source *source,
			   struct tide_source_stats *stats);

/*
 * tide_kvm_ring_enable: set the size of @vm_fd's rings (entries, a power of
 * two), before the first vCPU is created. 0; -EOPNOTSUPP, -E2BIG, -EINVAL.
 */
int tide_kvm_ring_enable(int vm_fd, unsigned int entries,
			 struct tide_error *err);
/* tide_kvm_manual_enable: manual protection, initially set, on @vm_fd. */
int tide_kvm_manual_enable(int vm_fd, struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
