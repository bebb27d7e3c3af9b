/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine on KVM: memory slots, vCPUs, and what to do at each exit.
 *
 * vCPUs begin in ring 3 of long mode with I/O privilege level 3 (see
 * guest/machine.c): some KVMs emulate ring 0 instruction by instruction. There
 * is no interrupt controller, since the guest takes no interrupts.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "vm/internal.h"
#include "vm/kvm_state.h"

#define KICK_SIGNAL SIGUSR1

static void woken(int signal)
{
	(void)signal;		/* it only has to interrupt KVM_RUN */
}

static int failed(struct tide_error *err, const char *what)
{
	return tide_error_set(err, -errno, "kvm", TIDE_NO_OFFSET, "%s: %s",
			      what, strerror(errno));
}

static int kvm_open(struct vm *vm, struct tide_error *err)
{
	struct sigaction act = { .sa_handler = woken };
	int ret = 0;

	sigaction(KICK_SIGNAL, &act, NULL);
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return failed(err, "/dev/kvm");
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return failed(err, "KVM_CREATE_VM");
	vm->run_bytes = (size_t)ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	/* Needed on Intel, harmless elsewhere; above all RAM below 4 GiB. */
	ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	/* Both must be asked for before the first vCPU. */
	if (vm->config.source == TIDE_SOURCE_RING)
		ret = tide_kvm_ring_enable(vm->vm_fd, VM_RING_ENTRIES, err);
	else if (vm->config.source == TIDE_SOURCE_LOG_MANUAL)
		ret = tide_kvm_manual_enable(vm->vm_fd, err);
	return ret;
}

static int set_region(struct vm *vm, const struct tide_slot *slot,
		      uint64_t len, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot->id,
		.flags = flags,
		.guest_phys_addr = slot->gpa_bytes,
		.memory_size = len,
		.userspace_addr = (uintptr_t)slot->host,
	};

	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0
		   ? -errno : 0;
}

static int kvm_add_slot(struct vm *vm, const struct tide_slot *slot,
			struct tide_error *err)
{
	int ret = set_region(vm, slot, slot->len_bytes, 0);

	if (ret)
		return tide_error_set(err, ret, "kvm", slot->gpa_bytes,
				      "KVM refuses slot %" PRIu32 ": %s",
				      slot->id, strerror(-ret));
	return 0;
}

static int kvm_remove_slot(struct vm *vm, const struct tide_slot *slot,
			   struct tide_error *err)
{
	int ret = set_region(vm, slot, 0, 0);

	if (ret)
		return tide_error_set(err, ret, "kvm", slot->gpa_bytes,
				      "KVM keeps slot %" PRIu32 ": %s",
				      slot->id, strerror(-ret));
	return 0;
}

int vm__kvm_set_logging(void *opaque, const struct tide_slot *slot, bool on)
{
	return set_region(opaque, slot, slot->len_bytes,
			  on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
}

static void set_segment(struct kvm_segment *s, uint16_t selector, uint8_t type)
{
	*s = (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type,
		.present = 1, .dpl = 3, .s = 1, .g = 1,
	};
}

static int set_registers(struct vm_vcpu *vcpu, struct tide_error *err)
{
	struct kvm_sregs s;
	struct kvm_regs r = {
		.rip = GUEST_IMAGE,
		.rsp = GUEST_STACKS + (vcpu->number + 1) * GUEST_STACK_BYTES,
		.rdi = vcpu->number,
		.rflags = 2 | 3u << 12,		/* IOPL 3 */
	};

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return failed(err, "KVM_GET_SREGS");
	set_segment(&s.cs, 0x1b, 0xb);
	s.cs.l = 1;
	set_segment(&s.ds, 0x23, 0x3);
	s.ds.db = 1;
	s.es = s.fs = s.gs = s.ss = s.ds;
	s.gdt.base = GUEST_GDT;
	s.gdt.limit = 5 * 8 - 1;
	s.tr.type = 11;
	s.tr.present = 1;
	s.tr.base = GUEST_TSS;
	s.tr.limit = GUEST_TSS_BYTES - 1;
	s.cr0 = 0x80050033;		/* PG AM WP NE ET MP PE */
	s.cr3 = GUEST_PML4;
	s.cr4 = 0x620;			/* OSXMMEXCPT OSFXSR PAE */
	s.efer = 0xd00;			/* NXE LMA LME */
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &s) < 0)
		return failed(err, "KVM_SET_SREGS");
	if (ioctl(vcpu->fd, KVM_SET_REGS, &r) < 0)
		return failed(err, "KVM_SET_REGS");
	return 0;
}

static int make_vcpu(struct vm *vm, unsigned int i, struct tide_error *err)
{
	struct vm_vcpu *vcpu = &vm->vcpu[i];
	int ret;

	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, i);
	if (vcpu->fd < 0)
		return failed(err, "KVM_CREATE_VCPU");
	vm->vcpu_fds[i] = vcpu->fd;
	vcpu->run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return failed(err, "mapping a vCPU");
	}
	ret = vm__kvm_set_cpuid(vm, vcpu, err);
	return ret ? ret : set_registers(vcpu, err);
}

static int kvm_make_vcpus(struct vm *vm, struct tide_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < vm->config.vcpus && !ret; i++)
		ret = make_vcpu(vm, i, err);
	return ret;
}

static void kvm_close(struct vm *vm)
{
	for (unsigned int i = 0; i < GUEST_MAX_VCPUS; i++) {
		struct vm_vcpu *vcpu = &vm->vcpu[i];

		if (vcpu->run)
			munmap(vcpu->run, vm->run_bytes);
		if (vcpu->fd >= 0)
			close(vcpu->fd);
		vcpu->run = NULL;
		vcpu->fd = -1;
	}
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	vm->vm_fd = vm->kvm_fd = -1;
}

static void kvm_kick(struct vm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	/* Before the signal: a vCPU not yet in KVM_RUN must not enter it. */
	tide__store_seqcst(&run->immediate_exit, 1);
	if (vcpu->has_thread)
		pthread_kill(vcpu->thread, KICK_SIGNAL);
}

static void on_port(struct vm_vcpu *vcpu, struct kvm_run *run)
{
	const char *data = (const char *)run + run->io.data_offset;
	uint32_t value = 0;

	memcpy(&value, data, run->io.size <= 4 ? run->io.size : 4u);
	if (run->io.port == GUEST_PORT_SERIAL)
		vm__serial_put(vcpu->vm, value);
	else if (run->io.port == GUEST_PORT_BATCH)
		vm__pace(vcpu, value);
}

static void on_mmio(struct vm_vcpu *vcpu, struct kvm_run *run)
{
	uint64_t offset = run->mmio.phys_addr - GUEST_MMIO_DISK;
	uint32_t value = 0;

	if (offset >= GUEST_MMIO_BYTES || run->mmio.len != 4) {
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
		return;
	}
	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, 4);
		vm__disk_write(vcpu->vm, (uint32_t)offset, value);
	} else {
		value = vm__disk_read(vcpu->vm, (uint32_t)offset);
		memcpy(run->mmio.data, &value, 4);
	}
}

static void crash(struct vm_vcpu *vcpu, const char *what, uint64_t detail)
{
	struct tide_error err;
	struct kvm_regs regs = { 0 };

	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	tide_error_set(&err, -EFAULT, "vcpu", regs.rip,
		       "vCPU %u stopped at 0x%llx: %s (%" PRIu64 ")",
		       vcpu->number, (unsigned long long)regs.rip, what,
		       detail);
	vm__fail(vcpu->vm, &err);
}

/* False: this vCPU cannot go on. */
static bool on_exit_reason(struct vm_vcpu *vcpu, struct kvm_run *run)
{
	struct vm *vm = vcpu->vm;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		on_port(vcpu, run);
		return true;
	case KVM_EXIT_MMIO:
		on_mmio(vcpu, run);
		return true;
	case KVM_EXIT_INTR:
		return true;
	case KVM_EXIT_DIRTY_RING_FULL:
		/* On failure the source has marked everything: go on. */
		tide_source_ring_full(vm->source, vm->set, NULL);
		return true;
	case KVM_EXIT_SHUTDOWN:
		crash(vcpu, "triple fault in the guest", 0);
		return false;
	default:
		crash(vcpu, "an exit that this VMM does not know",
		      run->exit_reason);
		return false;
	}
}

static void kvm_run(struct vm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	/* Then look at want_run: a kick after the look interrupts KVM_RUN. */
	tide__store_seqcst(&run->immediate_exit, 0);
	while (vm__wants_run(vcpu->vm)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			crash(vcpu, "KVM_RUN failed", (uint64_t)errno);
			return;
		}
		if (!on_exit_reason(vcpu, run))
			return;
	}
	/*
	 * An exit for a port or MMIO is complete only after one more entry;
	 * with immediate_exit that entry runs nothing. Without it the saved
	 * registers would be those before the instruction.
	 */
	tide__store_seqcst(&run->immediate_exit, 1);
	ioctl(vcpu->fd, KVM_RUN, 0);
}

const struct vm_machine_ops vm__kvm_ops = {
	.open = kvm_open,
	.make_vcpus = kvm_make_vcpus,
	.close = kvm_close,
	.add_slot = kvm_add_slot,
	.remove_slot = kvm_remove_slot,
	.run = kvm_run,
	.kick = kvm_kick,
	.state_bytes = vm__kvm_state_bytes,
	.save = vm__kvm_save,
	.load = vm__kvm_load,
};
