/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Talking to the guest through its control page, and reading what its vCPUs
 * say. The VMM's own stores into guest memory are software marks.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "vm/internal.h"

#define POLL_NS 500000

static void mark_control(struct vm *vm)
{
	vm__mark(vm, GUEST_CONTROL, sizeof(struct guest_control));
}

uint64_t vm_pages_written(const struct vm *vm)
{
	uint64_t written = 0;

	for (unsigned int i = 0; i < vm->config.vcpus; i++)
		written += tide__load_relaxed(&vm__guest_vcpu(vm, i)->written);
	return written;
}

void vm_set_phase(struct vm *vm, enum vm_phase phase)
{
	tide__store_relaxed(&vm__control(vm)->phase, (uint32_t)phase);
	mark_control(vm);
}

static uint64_t send(struct vm *vm, uint64_t command)
{
	struct guest_control *control = vm__control(vm);
	uint64_t number = control->command_number + 1;

	control->command = command;
	/* Pairs with the guest's acquire in obey(). */
	tide__store_release(&control->command_number, number);
	mark_control(vm);
	return number;
}

static bool all_did(const struct vm *vm, uint64_t number)
{
	for (unsigned int i = 0; i < vm->config.vcpus; i++) {
		/* Pairs with the guest's release: its answer is complete. */
		if (tide__load_acquire(&vm__guest_vcpu(vm, i)->command_done) !=
		    number)
			return false;
	}
	return true;
}

static void collect(const struct vm *vm, struct vm_verdict *v)
{
	static const char *const kinds[] = { NULL, "content", "version" };

	memset(v, 0, sizeof(*v));
	for (unsigned int i = 0; i < vm->config.vcpus; i++) {
		const struct guest_vcpu *g = vm__guest_vcpu(vm, i);

		v->pages += g->verified;
		if (g->bad && !v->bad) {
			v->first_bad = g->first_bad;
			v->first_bad_kind = g->first_bad_kind < 3 ?
					    kinds[g->first_bad_kind] : NULL;
		}
		v->bad += g->bad;
		v->disk_reads += g->disk_reads;
		v->disk_writes += g->disk_writes;
		v->disk_bad += g->disk_bad;
	}
}

int vm_verify(struct vm *vm, uint64_t timeout_ns, struct vm_verdict *verdict,
	      struct tide_error *err)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };
	uint64_t deadline = tide__now_ns() + timeout_ns;
	uint64_t number = send(vm, GUEST_VERIFY);

	while (!all_did(vm, number)) {
		if (vm_failed(vm, err))
			return err ? err->code : -EFAULT;
		if (tide__now_ns() > deadline)
			return tide_error_set(err, -ETIMEDOUT, "vm",
					      TIDE_NO_OFFSET,
					      "the guest did not finish its "
					      "verification; is it running?");
		nanosleep(&pause, NULL);
	}
	collect(vm, verdict);
	return 0;
}

/* TSC ticks per microsecond, by the clock: good to a percent, and enough. */
static uint64_t ticks_per_us(void)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	uint64_t ns = tide__now_ns(), ticks = __builtin_ia32_rdtsc();

	nanosleep(&pause, NULL);
	ticks = __builtin_ia32_rdtsc() - ticks;
	ns = tide__now_ns() - ns;
	return ticks * 1000 / ns + 1;
}

void vm_get_stalls(const struct vm *vm, enum vm_phase phase,
		   struct vm_stalls *stalls)
{
	uint64_t rate = ticks_per_us();

	memset(stalls, 0, sizeof(*stalls));
	for (unsigned int i = 0; i < vm->config.vcpus; i++) {
		const struct guest_vcpu *g = vm__guest_vcpu(vm, i);
		uint64_t ns = g->longest[phase] * 1000 / rate;

		if (ns > stalls->longest_ns)
			stalls->longest_ns = ns;
		for (unsigned int b = 0; b < 54; b++) {
			uint64_t low = (UINT64_C(1) << b) * 1000 / rate;
			unsigned int to = low ? 63 - (unsigned int)
					  __builtin_clzll(low) : 0;

			stalls->bucket[to] += g->stalls[phase][b];
		}
	}
}

uint64_t vm_memory_hash(const struct vm *vm)
{
	struct tide_slot slot;
	uint64_t from = 0, hash = 0;

	while (tide_slots_next(vm->slots, from, &slot)) {
		uint64_t part[4] = { hash, slot.gpa_bytes, slot.len_bytes,
				     XXH3_64bits(slot.host, slot.len_bytes) };

		hash = XXH3_64bits(part, sizeof(part));
		from = slot.gpa_bytes + slot.len_bytes;
	}
	return hash;
}
