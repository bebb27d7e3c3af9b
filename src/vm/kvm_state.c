/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The full state of a vCPU, saved and loaded.
 *
 * Order matters at loading: CPUID decides which registers exist; special
 * registers before MSRs, since EFER stands in both; XCR0 before the XSAVE area
 * that it describes; events and MP state last, since setting registers clears
 * pending events. There is no LAPIC in this machine (no interrupt controller),
 * so there is none to move.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm/kvm_state.h"

#define MAX_MSRS 256u
#define MAX_CPUID 128u

struct vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	uint32_t msrs;
	struct kvm_msr_entry msr[MAX_MSRS];
	uint32_t cpuids;
	struct kvm_cpuid_entry2 cpuid[MAX_CPUID];
};

struct cpuid_room {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[MAX_CPUID];
};

struct msr_room {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static int failed(struct tide_error *err, unsigned int vcpu, const char *what)
{
	return tide_error_set(err, -errno, "kvm", vcpu, "%s of vCPU %u: %s",
			      what, vcpu, strerror(errno));
}

int vm__kvm_set_cpuid(struct vm *vm, struct vm_vcpu *vcpu,
		      struct tide_error *err)
{
	struct cpuid_room room = { .head.nent = MAX_CPUID };

	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, &room) < 0)
		return failed(err, vcpu->number, "KVM_GET_SUPPORTED_CPUID");
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, &room) < 0)
		return failed(err, vcpu->number, "KVM_SET_CPUID2");
	return 0;
}

size_t vm__kvm_state_bytes(const struct vm *vm)
{
	return vm->config.vcpus * sizeof(struct vcpu_state);
}

/* Keep the MSRs of the index list that this vCPU really has. */
static int save_msrs(struct vm *vm, int fd, struct vcpu_state *s)
{
	struct {
		struct kvm_msr_list head;
		uint32_t index[1024];
	} list = { .head.nmsrs = 1024 };

	if (ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) < 0)
		return -errno;
	s->msrs = 0;
	for (uint32_t i = 0; i < list.head.nmsrs && s->msrs < MAX_MSRS; i++) {
		struct msr_room room = { .head.nmsrs = 1,
					 .entry.index = list.index[i] };

		if (ioctl(fd, KVM_GET_MSRS, &room) == 1)
			s->msr[s->msrs++] = room.entry;
	}
	return s->msrs == MAX_MSRS ? -E2BIG : 0;
}

static int save_cpuid(int fd, struct vcpu_state *s)
{
	struct cpuid_room room = { .head.nent = MAX_CPUID };

	if (ioctl(fd, KVM_GET_CPUID2, &room) < 0)
		return -errno;
	s->cpuids = room.head.nent;
	memcpy(s->cpuid, room.entry, s->cpuids * sizeof(*s->cpuid));
	return 0;
}

static int save_one(struct vm *vm, struct vm_vcpu *vcpu, struct vcpu_state *s,
		    struct tide_error *err)
{
	const struct {
		unsigned long request;
		void *to;
		const char *what;
	} parts[] = {
		{ KVM_GET_MP_STATE, &s->mp_state, "KVM_GET_MP_STATE" },
		{ KVM_GET_REGS, &s->regs, "KVM_GET_REGS" },
		{ KVM_GET_SREGS, &s->sregs, "KVM_GET_SREGS" },
		{ KVM_GET_XSAVE, &s->xsave, "KVM_GET_XSAVE" },
		{ KVM_GET_XCRS, &s->xcrs, "KVM_GET_XCRS" },
		{ KVM_GET_DEBUGREGS, &s->debugregs, "KVM_GET_DEBUGREGS" },
		{ KVM_GET_VCPU_EVENTS, &s->events, "KVM_GET_VCPU_EVENTS" },
	};
	int ret;

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (ioctl(vcpu->fd, parts[i].request, parts[i].to) < 0)
			return failed(err, vcpu->number, parts[i].what);
	}
	ret = save_cpuid(vcpu->fd, s);
	if (!ret)
		ret = save_msrs(vm, vcpu->fd, s);
	if (ret) {
		errno = -ret;
		return failed(err, vcpu->number, "reading CPUID and MSRs");
	}
	return 0;
}

int vm__kvm_save(struct vm *vm, void *state, struct tide_error *err)
{
	struct vcpu_state *s = state;
	int ret = 0;

	for (unsigned int i = 0; i < vm->config.vcpus && !ret; i++)
		ret = save_one(vm, &vm->vcpu[i], &s[i], err);
	return ret;
}

/*
 * An MSR that cannot be set is only an error if it does not hold the wanted
 * value already: some are there to be read.
 */
static int load_msrs(const struct vm_vcpu *vcpu, const struct vcpu_state *s,
		     struct tide_error *err)
{
	for (uint32_t i = 0; i < s->msrs; i++) {
		struct msr_room room = { .head.nmsrs = 1, .entry = s->msr[i] };

		if (ioctl(vcpu->fd, KVM_SET_MSRS, &room) == 1)
			continue;
		room.head.nmsrs = 1;
		if (ioctl(vcpu->fd, KVM_GET_MSRS, &room) == 1 &&
		    room.entry.data == s->msr[i].data)
			continue;
		return tide_error_set(err, -EINVAL, "kvm", vcpu->number,
				      "MSR 0x%" PRIx32 " cannot be set to 0x%"
				      PRIx64 " here", s->msr[i].index,
				      (uint64_t)s->msr[i].data);
	}
	return 0;
}

static int load_one(struct vm_vcpu *vcpu, struct vcpu_state *s,
		    struct tide_error *err)
{
	struct cpuid_room room = { .head.nent = s->cpuids };
	const struct {
		unsigned long request;
		void *from;
		const char *what;
	} before[] = {
		{ KVM_SET_CPUID2, &room, "KVM_SET_CPUID2" },
		{ KVM_SET_SREGS, &s->sregs, "KVM_SET_SREGS" },
		{ KVM_SET_XCRS, &s->xcrs, "KVM_SET_XCRS" },
		{ KVM_SET_XSAVE, &s->xsave, "KVM_SET_XSAVE" },
	}, after[] = {
		{ KVM_SET_REGS, &s->regs, "KVM_SET_REGS" },
		{ KVM_SET_DEBUGREGS, &s->debugregs, "KVM_SET_DEBUGREGS" },
		{ KVM_SET_VCPU_EVENTS, &s->events, "KVM_SET_VCPU_EVENTS" },
		{ KVM_SET_MP_STATE, &s->mp_state, "KVM_SET_MP_STATE" },
	};
	int ret;

	memcpy(room.entry, s->cpuid, s->cpuids * sizeof(*s->cpuid));
	for (size_t i = 0; i < 4; i++) {
		if (ioctl(vcpu->fd, before[i].request, before[i].from) < 0)
			return failed(err, vcpu->number, before[i].what);
	}
	ret = load_msrs(vcpu, s, err);
	for (size_t i = 0; i < 4 && !ret; i++) {
		if (ioctl(vcpu->fd, after[i].request, after[i].from) < 0)
			ret = failed(err, vcpu->number, after[i].what);
	}
	return ret;
}

int vm__kvm_load(struct vm *vm, const void *state, size_t len,
		 struct tide_error *err)
{
	struct vcpu_state *s;
	int ret = 0;

	if (len != vm__kvm_state_bytes(vm))
		return tide_error_set(err, -EPROTO, "vm-state", TIDE_NO_OFFSET,
				      "%zu bytes of vCPU state, %zu expected",
				      len, vm__kvm_state_bytes(vm));
	s = malloc(sizeof(*s));		/* aligned, and not the caller's */
	if (!s)
		return tide_error_set(err, -ENOMEM, "vm-state", TIDE_NO_OFFSET,
				      "no memory for vCPU state");
	for (unsigned int i = 0; i < vm->config.vcpus && !ret; i++) {
		memcpy(s, (const char *)state + i * sizeof(*s), sizeof(*s));
		if (s->msrs > MAX_MSRS || s->cpuids > MAX_CPUID)
			ret = tide_error_set(err, -EPROTO, "vm-state", i,
					     "%" PRIu32 " MSRs and %" PRIu32
					     " CPUID leaves are too many",
					     s->msrs, s->cpuids);
		else
			ret = load_one(&vm->vcpu[i], s, err);
	}
	free(s);
	return ret;
}
