/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM's dirty ring: one ring of (slot, page) entries per vCPU.
 *
 * An entry goes from free to dirty (by KVM), to harvested (by us), and back to
 * free when KVM_RESET_DIRTY_RINGS has write-protected its page again. Until
 * that reset, further writes to the page leave no trace. So a page must be
 * read after the reset; and since a cut may happen at any time in another
 * thread, it must not be in the set before the reset either. Hence the order:
 * collect from all rings into a list, reset, then mark the list.
 *
 * The harvest runs under the source's lock: the migration's thread and a vCPU
 * that left with "ring full" cannot interleave, and a reset, which works on
 * all rings at once, never meets a half-collected one. A list as long as all
 * rings together is allocated at creation.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "sources/source.h"

static const char origin[] = "kvm-ring";

struct ring {
	struct kvm_dirty_gfn *entries;
	uint32_t next;		/* first entry that was not collected yet */
};

struct rings {
	struct ring *ring;
	unsigned int count;
	uint32_t entries;	/* in each, a power of two */
	uint64_t *pages;	/* collected, of the set */
	uint64_t collected;
};

static void fini(struct tide_source *source)
{
	struct rings *r = source->impl;

	if (!r)
		return;
	for (unsigned int i = 0; r->ring && i < r->count; i++)
		if (r->ring[i].entries)
			munmap(r->ring[i].entries,
			       r->entries * sizeof(struct kvm_dirty_gfn));
	free(r->ring);
	free(r->pages);
	free(r);
	source->impl = NULL;
}

static int map_ring(const struct tide_source *source, struct rings *r,
		    unsigned int vcpu, struct tide_error *err)
{
	off_t at = (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, r->entries * sizeof(struct kvm_dirty_gfn),
		       PROT_READ | PROT_WRITE, MAP_SHARED,
		       source->vm.vcpu_fds[vcpu], at);

	if (p == MAP_FAILED)
		return tide_error_set(err, -errno, origin, vcpu,
				      "cannot map the dirty ring of vCPU %u: "
				      "%s; was it enabled before the vCPU was "
				      "made?", vcpu, strerror(errno));
	r->ring[vcpu].entries = p;
	return 0;
}

static int init(struct tide_source *source, struct tide_error *err)
{
	const struct tide_source_vm *vm = &source->vm;
	uint32_t entries = vm->ring_entries;
	struct rings *r;

	if (vm->vm_fd < 0 || !vm->set_logging || !vm->vcpus || !entries ||
	    (entries & (entries - 1)))
		return tide_error_set(err, -EINVAL, origin, TIDE_NO_OFFSET,
				      "a ring needs a VM, its vCPUs, "
				      "set_logging and a power of two entries");
	source->impl = r = calloc(1, sizeof(*r));
	if (!r)
		goto no_memory;
	r->count = vm->vcpus;
	r->entries = entries;
	r->ring = calloc(r->count, sizeof(*r->ring));
	r->pages = calloc((size_t)r->count * entries, sizeof(*r->pages));
	if (!r->ring || !r->pages)
		goto no_memory;
	for (unsigned int i = 0; i < r->count; i++) {
		int ret = map_ring(source, r, i, err);

		if (ret) {
			fini(source);
			return ret;
		}
	}
	return 0;

no_memory:
	fini(source);
	return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
			      "no memory for the rings");
}

static int set_logging(struct tide_source *source, struct tide__watched *w,
		       bool on, struct tide_error *err)
{
	int ret = source->vm.set_logging(source->vm.opaque, &w->slot, on);

	if (ret)
		return tide_error_set(err, ret, origin, w->slot.gpa_bytes,
				      "cannot switch logging of slot %" PRIu32
				      " %s: %s", w->slot.id, on ? "on" : "off",
				      strerror(-ret));
	return 0;
}

static int watch(struct tide_source *source, struct tide__watched *w,
		 struct tide_error *err)
{
	return set_logging(source, w, true, err);
}

static int unwatch(struct tide_source *source, struct tide__watched *w,
		   struct tide_error *err)
{
	return set_logging(source, w, false, err);
}

static const struct tide__watched *slot_of(const struct tide_source *source,
					   uint32_t id)
{
	const struct tide__watched *w = source->watched;

	while (w && w->slot.id != id)
		w = w->next;
	return w;
}

/*
 * Take over one entry. An entry of a slot that is gone says nothing new: the
 * whole slot was marked when it went.
 */
static void collect_entry(struct tide_source *source, struct rings *r,
			  struct kvm_dirty_gfn *entry)
{
	const struct tide__watched *w = slot_of(source, entry->slot);

	if (w && entry->offset < w->pages)
		r->pages[r->collected++] = w->first + entry->offset;
	/* Pairs with KVM's acquire of the flags in the reset. */
	tide__store_release(&entry->flags, KVM_DIRTY_GFN_F_RESET);
}

static void collect_ring(struct tide_source *source, struct rings *r,
			 struct ring *ring)
{
	for (uint32_t n = 0; n < r->entries; n++) {
		struct kvm_dirty_gfn *entry =
		    &ring->entries[ring->next & (r->entries - 1)];
		/* Pairs with KVM's release when it filled the entry. */
		uint32_t flags = tide__load_acquire(&entry->flags);

		if (!(flags & KVM_DIRTY_GFN_F_DIRTY) ||
		    (flags & KVM_DIRTY_GFN_F_RESET))
			return;
		collect_entry(source, r, entry);
		ring->next++;
	}
}

static int harvest(struct tide_source *source, struct tide_set *set,
		   struct tide_error *err)
{
	struct rings *r = source->impl;
	int ret = 0;

	r->collected = 0;
	for (unsigned int i = 0; i < r->count; i++)
		collect_ring(source, r, &r->ring[i]);
	if (ioctl(source->vm.vm_fd, KVM_RESET_DIRTY_RINGS, 0) < 0)
		ret = tide_error_set(err, -errno, origin, TIDE_NO_OFFSET,
				     "KVM_RESET_DIRTY_RINGS: %s",
				     strerror(errno));
	for (uint64_t i = 0; i < r->collected; i++)
		tide_set_mark(set, r->pages[i]);
	source->stats.pages += r->collected;
	return ret;
}

const struct tide__source_ops tide__kvm_ring_ops = {
	.init = init,
	.fini = fini,
	.watch = watch,
	.harvest = harvest,
	.unwatch = unwatch,
};

int tide_kvm_ring_enable(int vm_fd, unsigned int entries,
			 struct tide_error *err)
{
	uint64_t bytes = entries * sizeof(struct kvm_dirty_gfn);
	/* The acquire/release form first: right on every architecture. */
	static const unsigned int caps[] = { 223, KVM_CAP_DIRTY_LOG_RING };

	for (unsigned int i = 0; i < 2; i++) {
		struct kvm_enable_cap cap = { .cap = caps[i],
					      .args = { bytes } };
		int max = ioctl(vm_fd, KVM_CHECK_EXTENSION, caps[i]);

		if (max <= 0)
			continue;
		if (bytes > (uint64_t)max)
			return tide_error_set(err, -E2BIG, origin,
					      TIDE_NO_OFFSET,
					      "a dirty ring of %u entries is "
					      "too big: at most %zu here",
					      entries, (size_t)max /
					      sizeof(struct kvm_dirty_gfn));
		if (ioctl(vm_fd, KVM_ENABLE_CAP, &cap) < 0)
			return tide_error_set(err, -errno, origin,
					      TIDE_NO_OFFSET,
					      "KVM refuses a dirty ring of %u "
					      "entries: %s (power of two, and "
					      "before the first vCPU?)",
					      entries, strerror(errno));
		return 0;
	}
	return tide_error_set(err, -EOPNOTSUPP, origin, TIDE_NO_OFFSET,
			      "this KVM has no dirty ring (capabilities 192 "
			      "and 223)");
}
