/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state of a guest that arrives, with the pages that steer this process
 * while it plays the guest. What is taken is run for a moment, asked what a
 * status asks, paused, saved, and forgotten for the next: none of it may hold
 * the process or touch what is not the guest's.
 */
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct vm *vm, uint64_t gpa, const void *from, size_t bytes)
{
	struct tide_slot slot;

	if (!tide_slots_find_gpa(vm_slots(vm), gpa, &slot))
		abort();
	memcpy((char *)slot.host + (gpa - slot.gpa_bytes), from, bytes);
}

static void run_for_a_moment(struct vm *vm)
{
	struct timespec moment = { .tv_nsec = 300000 };
	struct vm_stalls stalls;
	void *blob;
	size_t len;

	vm_resume(vm, NULL);
	nanosleep(&moment, NULL);
	vm_pages_written(vm);
	vm_get_stalls(vm, VM_PHASE_BULK, &stalls);
	vm_pause(vm, NULL);
	if (vm_save_state(vm, &blob, &len, NULL))
		abort();
	free(blob);
}

static bool arrive(struct vm *vm, const struct state_input *in,
		   const uint8_t *state, size_t len)
{
	const uint64_t half = STATE_MEMORY / 2;
	struct tide_slot wanted[2] = {
		{ 0, 0, 0, in->slots ? half : STATE_MEMORY, NULL },
		{ 1, 0, half + (2u << 20), half, NULL },
	};
	struct tide_error err;

	if (vm_prepare_incoming(vm, wanted, in->slots ? 2 : 1, &err))
		abort();
	put(vm, GUEST_CONTROL, in->control, sizeof(in->control));
	put(vm, GUEST_VCPUS, in->vcpu, sizeof(in->vcpu));
	put(vm, GUEST_QUEUE, in->queue, sizeof(in->queue));
	return !vm_load_state(vm, state, len, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_input in;
	struct vm_config c;
	struct vm *vm;

	if (size < sizeof(in))
		return 0;
	memcpy(&in, data, sizeof(in));
	if (in.magic != STATE_MAGIC)
		return 0;
	state_config(&c);
	c.max_memory_bytes = 2 * STATE_MEMORY;
	if (vm_create_incoming(&vm, &c, NULL))
		abort();
	/* Twice: what one leaves behind is the next one's. */
	for (int i = 0; i < 2; i++) {
		if (arrive(vm, &in, data + sizeof(in), size - sizeof(in)))
			run_for_a_moment(vm);
		if (vm_forget_incoming(vm, NULL))
			abort();
	}
	vm_destroy(vm);
	return 0;
}
