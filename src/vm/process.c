/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that plays the guest: the same work on the same memory layout, run
 * by threads instead of vCPUs, for hosts without /dev/kvm.
 *
 * Writes are tracked by userfaultfd, since there is no KVM to log them. A
 * thread can be stopped only where it comes to a door, between two batches of
 * pages; all its state is in guest memory, so nothing else has to move.
 */
#include <errno.h>

#include "../../guest/work.h"
#include "vm/internal.h"

/* The vCPU that this thread plays: the doors have no other way to know. */
static _Thread_local struct vm_vcpu *playing;

int machine_out(unsigned int port, uint32_t value)
{
	if (port == GUEST_PORT_SERIAL)
		vm__serial_put(playing->vm, value);
	else if (port == GUEST_PORT_BATCH)
		vm__pace(playing, value);
	return port == GUEST_PORT_BATCH && !vm__wants_run(playing->vm);
}

void machine_mmio_write(uint32_t offset, uint32_t value)
{
	vm__disk_write(playing->vm, offset, value);
}

uint32_t machine_mmio_read(uint32_t offset)
{
	return vm__disk_read(playing->vm, offset);
}

static int process_open(struct vm *vm, struct tide_error *err)
{
	if (vm->config.source != TIDE_SOURCE_UFFD)
		return tide_error_set(err, -EINVAL, "vm", TIDE_NO_OFFSET,
				      "source %s needs KVM; with accel "
				      "process only uffd can see writes",
				      tide_source_kind_name(vm->config.source));
	return 0;
}

static int nothing(struct vm *vm, struct tide_error *err)
{
	(void)vm;
	(void)err;
	return 0;
}

static void process_close(struct vm *vm)
{
	(void)vm;
}

static int process_slot(struct vm *vm, const struct tide_slot *slot,
			struct tide_error *err)
{
	(void)vm;
	(void)slot;
	(void)err;
	return 0;
}

static void process_run(struct vm_vcpu *vcpu)
{
	struct guest_memory memory = { vcpu->vm->base };
	struct tide_error err;

	/* Too small for its vCPUs, say: the guest dies of it, not we. */
	if (vm__check_control(vcpu->vm, &err)) {
		vm__fail(vcpu->vm, &err);
		return;
	}
	playing = vcpu;
	guest_work(&memory, vcpu->number);
}

static void process_kick(struct vm_vcpu *vcpu)
{
	(void)vcpu;		/* it looks at want_run at every door */
}

static size_t process_state_bytes(const struct vm *vm)
{
	(void)vm;
	return 0;
}

static int process_save(struct vm *vm, void *state, struct tide_error *err)
{
	(void)state;
	return nothing(vm, err);
}

static int process_load(struct vm *vm, const void *state, size_t len,
			struct tide_error *err)
{
	(void)state;
	if (len)
		return tide_error_set(err, -EPROTO, "vm-state", TIDE_NO_OFFSET,
				      "%zu bytes of vCPU state for a guest "
				      "that has none", len);
	return vm__check_control(vm, err);
}

const struct vm_machine_ops vm__process_ops = {
	.open = process_open,
	.make_vcpus = nothing,
	.close = process_close,
	.add_slot = process_slot,
	.remove_slot = process_slot,
	.run = process_run,
	.kick = process_kick,
	.state_bytes = process_state_bytes,
	.save = process_save,
	.load = process_load,
};
