/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Self-test: do KVM's dirty log and dirty ring work correctly on this host?
 *
 * A VM of one vCPU and 100 pages (not a multiple of 64, on purpose) runs six
 * bytes of real-mode code that write one byte; the source under test must
 * report that page, and not again once it was cleared.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "sources/source.h"

#define PAGES 100u
#define TARGET 5u		/* the page that the code writes */
#define RING_ENTRIES 4096u

/* mov byte [0x5000], al; hlt */
static const unsigned char code[] = { 0xa2, 0x00, 0x50, 0xf4 };

struct probe_vm {
	int kvm, vm, vcpu;
	void *memory;
	struct kvm_run *run;
	size_t run_bytes;
	struct tide_error *err;
};

static int failed(struct probe_vm *p, const char *what)
{
	return tide_error_set(p->err, errno ? -errno : -EILSEQ, "kvm",
			      TIDE_NO_OFFSET, "self-test: %s: %s", what,
			      strerror(errno));
}

static int wrong(struct probe_vm *p, const char *what)
{
	return tide_error_set(p->err, -EILSEQ, "kvm", TIDE_NO_OFFSET,
			      "self-test: %s", what);
}

static int set_slot(struct probe_vm *p, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.flags = flags,
		.memory_size = PAGES * TIDE__PAGE_BYTES,
		.userspace_addr = (uintptr_t)p->memory,
	};

	return ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static int open_vm(struct probe_vm *p)
{
	p->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (p->kvm < 0)
		return tide_error_set(p->err, -errno, "kvm", TIDE_NO_OFFSET,
				      "/dev/kvm: %s", strerror(errno));
	p->vm = ioctl(p->kvm, KVM_CREATE_VM, 0);
	if (p->vm < 0)
		return failed(p, "KVM_CREATE_VM");
	p->memory = mmap(NULL, PAGES * TIDE__PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->memory == MAP_FAILED)
		return failed(p, "mmap");
	memcpy((char *)p->memory + 0x1000, code, sizeof(code));
	return 0;
}

static int open_vcpu(struct probe_vm *p)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };

	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	if (p->vcpu < 0)
		return failed(p, "KVM_CREATE_VCPU");
	p->run_bytes = (size_t)ioctl(p->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	p->run = mmap(NULL, p->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		      p->vcpu, 0);
	if (p->run == MAP_FAILED)
		return failed(p, "mapping the vCPU");
	if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return failed(p, "KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	if (ioctl(p->vcpu, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(p->vcpu, KVM_SET_REGS, &regs) < 0)
		return failed(p, "setting registers");
	return 0;
}

static int run_guest(struct probe_vm *p)
{
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2, .rax = 0x5a };

	if (ioctl(p->vcpu, KVM_SET_REGS, &regs) < 0)
		return failed(p, "KVM_SET_REGS");
	while (ioctl(p->vcpu, KVM_RUN, 0) < 0) {
		if (errno != EINTR)
			return failed(p, "KVM_RUN");
	}
	if (p->run->exit_reason != KVM_EXIT_HLT ||
	    *((unsigned char *)p->memory + TARGET * TIDE__PAGE_BYTES) != 0x5a)
		return wrong(p, "the test guest did not run");
	return 0;
}

static int get_log(struct probe_vm *p, uint64_t bits[2])
{
	struct kvm_dirty_log log = { .dirty_bitmap = bits };

	memset(bits, 0, 16);
	if (ioctl(p->vm, KVM_GET_DIRTY_LOG, &log) < 0)
		return failed(p, "KVM_GET_DIRTY_LOG");
	return 0;
}

/* The guest writes; the log must hold exactly that page. */
static int write_is_logged(struct probe_vm *p)
{
	uint64_t bits[2];
	int ret = run_guest(p);

	if (!ret)
		ret = get_log(p, bits);
	if (ret)
		return ret;
	if (!(bits[0] >> TARGET & 1))
		return wrong(p, "the log does not show a page that the guest "
				"wrote");
	return 0;
}

static int check_legacy(struct probe_vm *p)
{
	uint64_t bits[2];
	int ret;

	if (set_slot(p, KVM_MEM_LOG_DIRTY_PAGES) < 0)
		return failed(p, "switching the log on");
	ret = open_vcpu(p);
	if (!ret)
		ret = write_is_logged(p);
	if (!ret)
		ret = get_log(p, bits);
	if (!ret && (bits[0] | bits[1]))
		ret = wrong(p, "reading the log did not clear it");
	if (!ret)
		ret = write_is_logged(p);	/* protected again? */
	return ret;
}

static int clear_log(struct probe_vm *p, uint64_t bits[2])
{
	struct kvm_clear_dirty_log clear = { .num_pages = PAGES,
					     .dirty_bitmap = bits };

	if (ioctl(p->vm, KVM_CLEAR_DIRTY_LOG, &clear) < 0)
		return failed(p, "KVM_CLEAR_DIRTY_LOG up to the slot's end");
	return 0;
}

static int check_manual(struct probe_vm *p)
{
	uint64_t bits[2];
	int ret = tide_kvm_manual_enable(p->vm, p->err);

	if (ret)
		return ret;
	if (set_slot(p, KVM_MEM_LOG_DIRTY_PAGES) < 0)
		return failed(p, "switching the log on");
	ret = open_vcpu(p);
	if (!ret)
		ret = get_log(p, bits);
	if (!ret && (bits[0] != ~0ull || bits[1] != (1ull << (PAGES - 64)) - 1))
		ret = wrong(p, "the first log is not all ones");
	if (!ret)
		ret = clear_log(p, bits);
	if (!ret)
		ret = get_log(p, bits);
	if (!ret && (bits[0] | bits[1]))
		ret = wrong(p, "clearing the log left bits behind");
	for (int i = 0; !ret && i < 2; i++) {
		ret = write_is_logged(p);
		if (!ret)
			ret = get_log(p, bits);
		if (!ret && !bits[0])
			ret = wrong(p, "reading cleared the log");
		if (!ret)
			ret = clear_log(p, bits);
	}
	return ret;
}

/* One write through the ring source's own code path: entry, reset, entry. */
static int write_is_in_ring(struct probe_vm *p, struct kvm_dirty_gfn *ring,
			    uint32_t *next)
{
	int ret = run_guest(p), found = 0;

	if (ret)
		return ret;
	while (tide__load_acquire(&ring[*next].flags) &
	       KVM_DIRTY_GFN_F_DIRTY) {
		found |= ring[*next].offset == TARGET;
		tide__store_release(&ring[*next].flags, KVM_DIRTY_GFN_F_RESET);
		++*next;
	}
	if (!found)
		return wrong(p, "the ring does not show a page that the guest "
				"wrote");
	if (ioctl(p->vm, KVM_RESET_DIRTY_RINGS, 0) < 1)
		return wrong(p, "resetting the ring took nothing back");
	return 0;
}

static int check_ring(struct probe_vm *p)
{
	size_t bytes = RING_ENTRIES * sizeof(struct kvm_dirty_gfn);
	struct kvm_dirty_gfn *ring;
	uint32_t next = 0;
	int ret = tide_kvm_ring_enable(p->vm, RING_ENTRIES, p->err);

	if (ret)
		return ret;
	if (set_slot(p, KVM_MEM_LOG_DIRTY_PAGES) < 0)
		return failed(p, "switching the log on");
	ret = open_vcpu(p);
	if (ret)
		return ret;
	ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu,
		    (off_t)(KVM_DIRTY_LOG_PAGE_OFFSET * TIDE__PAGE_BYTES));
	if (ring == MAP_FAILED)
		return failed(p, "mapping the ring");
	for (int i = 0; !ret && i < 2; i++)
		ret = write_is_in_ring(p, ring, &next);
	munmap(ring, bytes);
	return ret;
}

static void close_vm(struct probe_vm *p)
{
	if (p->run != MAP_FAILED)
		munmap(p->run, p->run_bytes);
	if (p->vcpu >= 0)
		close(p->vcpu);
	if (p->vm >= 0)
		close(p->vm);
	if (p->kvm >= 0)
		close(p->kvm);
	if (p->memory != MAP_FAILED)
		munmap(p->memory, PAGES * TIDE__PAGE_BYTES);
}

static int probe(int (*check)(struct probe_vm *), struct tide_error *err)
{
	struct probe_vm p = { .kvm = -1, .vm = -1, .vcpu = -1, .err = err,
			      .memory = MAP_FAILED, .run = MAP_FAILED };
	int ret;

	errno = 0;
	ret = open_vm(&p);
	if (!ret)
		ret = check(&p);
	close_vm(&p);
	return ret;
}

int tide__probe_log_manual(struct tide_error *err)
{
	return probe(check_manual, err);
}

int tide__probe_log_legacy(struct tide_error *err)
{
	return probe(check_legacy, err);
}

int tide__probe_ring(struct tide_error *err)
{
	return probe(check_ring, err);
}
