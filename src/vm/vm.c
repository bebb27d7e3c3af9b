/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Life of a VM: configuration, creation, tracking, end.
 */
#include "vm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vm/internal.h"
#include "vm/kvm_state.h"

#define MIB (1ull << 20)

_Static_assert(VM_MAX_MEMORY_BYTES + (2ull << 30) <= GUEST_MAX_BYTES &&
	       VM_MAX_SLOTS <= GUEST_MAX_REGIONS &&
	       VM_MAX_VCPUS <= GUEST_MAX_VCPUS, "the control page has room");

static const char *const patterns[GUEST_PATTERNS] = {
	[GUEST_IDLE] = "idle",	     [GUEST_SEQUENTIAL] = "sequential",
	[GUEST_UNIFORM] = "uniform", [GUEST_HOTSET] = "hotset",
	[GUEST_ZIPF] = "zipf",	     [GUEST_MIXED] = "mixed",
};

void vm_config_defaults(struct vm_config *config)
{
	*config = (struct vm_config){
		.accel = VM_ACCEL_AUTO,
		.source = TIDE_SOURCE_LOG_MANUAL,
		.memory_bytes = 256 * MIB,
		.slots = 2,
		.vcpus = 2,
		.pattern = GUEST_HOTSET,
		.rate_pages_per_s = 20000,
		.seed = 1,
	};
}

int vm_pattern_parse(const char *name, unsigned int *pattern)
{
	for (unsigned int i = 0; i < GUEST_PATTERNS; i++) {
		if (strcmp(name, patterns[i]))
			continue;
		*pattern = i;
		return 0;
	}
	return -EINVAL;
}

const char *vm_pattern_name(unsigned int pattern)
{
	return pattern < GUEST_PATTERNS ? patterns[pattern] : "?";
}

enum vm_accel vm_accel_here(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return VM_ACCEL_PROCESS;
	close(fd);
	return VM_ACCEL_KVM;
}

static int check_config(const struct vm_config *c, struct tide_error *err)
{
	const char *fault = NULL;

	if (c->memory_bytes < VM_MIN_MEMORY_BYTES ||
	    c->memory_bytes > VM_MAX_MEMORY_BYTES ||
	    c->memory_bytes % VM_MEMORY_STEP_BYTES)
		fault = "memory must be 8M to 62G in steps of 2M";
	else if (c->slots < 1 || c->slots > VM_MAX_SLOTS)
		fault = "there can be 1 to 16 memory slots";
	else if (c->memory_bytes / c->slots < VM_MIN_MEMORY_BYTES)
		fault = "every memory slot needs 8M at least";
	else if (c->vcpus < 1 || c->vcpus > VM_MAX_VCPUS)
		fault = "there can be 1 to 8 vCPUs";
	else if (c->pattern >= GUEST_PATTERNS)
		fault = "there is no such pattern";
	if (!fault)
		return 0;
	return tide_error_set(err, -EINVAL, "vm", TIDE_NO_OFFSET, "%s", fault);
}

static struct vm *alloc_vm(const struct vm_config *config)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	pthread_rwlockattr_t rw;
	pthread_condattr_t attr;

	if (!vm)
		return NULL;
	vm->config = *config;
	if (vm->config.accel == VM_ACCEL_AUTO)
		vm->config.accel = vm_accel_here();
	vm->ops = vm->config.accel == VM_ACCEL_KVM ? &vm__kvm_ops
						   : &vm__process_ops;
	vm->kvm_fd = vm->vm_fd = -1;
	vm->disk.queue_num = 8;
	for (unsigned int i = 0; i < GUEST_MAX_VCPUS; i++) {
		vm->vcpu[i].vm = vm;
		vm->vcpu[i].number = i;
		vm->vcpu[i].fd = -1;
	}
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->serial.lock, NULL);
	pthread_mutex_init(&vm->slot_lock, NULL);
	/* Else a change could wait for senders that are never idle at once. */
	pthread_rwlockattr_init(&rw);
	pthread_rwlockattr_setkind_np(
	    &rw, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&vm->memory_lock, &rw);
	pthread_rwlockattr_destroy(&rw);
	pthread_mutex_init(&vm->disk.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->changed, &attr);
	pthread_condattr_destroy(&attr);
	return vm;
}

static int open_common(struct vm *vm, struct tide_error *err)
{
	int ret = tide_slots_create(&vm->slots, err);

	if (!ret)
		ret = vm__disk_know(vm, err);
	if (!ret)
		ret = vm__serial_open(vm, err);
	if (!ret)
		ret = vm__addresses_open(vm, err);
	if (!ret)
		ret = vm->ops->open(vm, err);
	return ret;
}

int vm_create(struct vm **out, const struct vm_config *config,
	      struct tide_error *err)
{
	struct vm *vm;
	int ret = check_config(config, err);

	if (ret)
		return ret;
	vm = alloc_vm(config);
	if (!vm)
		return tide_error_set(err, -ENOMEM, "vm", TIDE_NO_OFFSET,
				      "no memory for a VM");
	ret = open_common(vm, err);
	if (!ret)
		ret = vm__disk_take(vm, err);
	if (!ret)
		ret = vm__memory_lay_out(vm, err);
	if (!ret) {
		vm__boot_fill(vm);
		ret = vm->ops->make_vcpus(vm, err);
	}
	if (!ret)
		ret = vm__threads_start(vm, err);
	if (ret) {
		vm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

int vm_create_incoming(struct vm **out, const struct vm_config *config,
		       struct tide_error *err)
{
	struct vm *vm = alloc_vm(config);
	int ret;

	if (!vm)
		return tide_error_set(err, -ENOMEM, "vm", TIDE_NO_OFFSET,
				      "no memory for a VM");
	ret = open_common(vm, err);
	if (ret) {
		vm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	vm__threads_end(vm);
	tide_source_destroy(vm->source);
	vm->ops->close(vm);
	vm__disk_leave(vm, NULL);
	vm__serial_close(vm);
	vm__addresses_close(vm);
	vm__memory_release(vm);
	tide_slots_destroy(vm->slots);
	pthread_cond_destroy(&vm->changed);
	pthread_mutex_destroy(&vm->disk.lock);
	pthread_rwlock_destroy(&vm->memory_lock);
	pthread_mutex_destroy(&vm->slot_lock);
	pthread_mutex_destroy(&vm->serial.lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

const struct tide_slots *vm_slots(const struct vm *vm)
{
	return vm->slots;
}

struct tide_set *vm_set(struct vm *vm)
{
	return vm->set;
}

enum vm_accel vm_accel(const struct vm *vm)
{
	return vm->config.accel;
}

const struct vm_config *vm_get_config(const struct vm *vm)
{
	return &vm->config;
}

struct tide_source *vm_source(struct vm *vm)
{
	return vm->source;
}

static int make_source(struct vm *vm, struct tide_error *err)
{
	const struct tide_source_vm what = {
		.struct_size = sizeof(what),
		.vm_fd = vm->vm_fd,
		.vcpu_fds = vm->vcpu_fds,
		.vcpus = vm->config.vcpus,
		.ring_entries = VM_RING_ENTRIES,
		.set_logging = vm->vm_fd >= 0 ? vm__kvm_set_logging : NULL,
		.opaque = vm,
	};

	return tide_source_create(&vm->source, vm->config.source, &what, err);
}

/*
 * The source is made once and kept: a vCPU may meet a full ring at any moment
 * afterwards, also when tracking was stopped again.
 */
int vm_track_start(struct vm *vm, struct tide_error *err)
{
	int ret = 0;

	pthread_mutex_lock(&vm->slot_lock);
	if (!vm->source)
		ret = make_source(vm, err);
	if (!ret)
		ret = tide_source_start(vm->source, vm->slots, err);
	vm->tracking |= !ret;
	pthread_mutex_unlock(&vm->slot_lock);
	return ret;
}

int vm_track_stop(struct vm *vm, struct tide_error *err)
{
	int ret;

	pthread_mutex_lock(&vm->slot_lock);
	ret = vm->source ? tide_source_stop(vm->source, err) : 0;
	vm->tracking = false;
	pthread_mutex_unlock(&vm->slot_lock);
	return ret;
}

void vm_freeze_slots(struct vm *vm)
{
	pthread_mutex_lock(&vm->slot_lock);
	vm->frozen = true;
	pthread_mutex_unlock(&vm->slot_lock);
}

void vm_hold_memory(struct vm *vm)
{
	pthread_rwlock_rdlock(&vm->memory_lock);
}

void vm_release_memory(struct vm *vm)
{
	pthread_rwlock_unlock(&vm->memory_lock);
}
