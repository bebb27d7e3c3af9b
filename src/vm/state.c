/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state blob that follows the RAM in a migration: a head that names the
 * machine, the disk's registers, and the vCPUs. All of it comes from another
 * process and is checked before it is used.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vm/internal.h"

#define MAGIC UINT64_C(0x3130544154534d56)	/* "VMSTAT01" */

struct head {
	uint64_t magic;
	uint64_t memory_bytes, rate_pages_per_s, footprint_bytes, seed;
	uint64_t span_bytes;
	uint32_t accel, source, slots, hole, vcpus, pattern;
	uint64_t disk_bytes;	/* 0: no disk */
	uint64_t driver_features, desc, driver, device;
	uint32_t status, features_sel, driver_features_sel, queue_num,
	    queue_ready, last_avail;
	uint64_t vcpu_bytes;
};

static void put_head(const struct vm *vm, struct head *h)
{
	const struct vm_config *c = &vm->config;
	const struct vm_disk *d = &vm->disk;

	*h = (struct head){
		.magic = MAGIC,
		.memory_bytes = c->memory_bytes,
		.rate_pages_per_s = c->rate_pages_per_s,
		.footprint_bytes = c->footprint_bytes,
		.seed = c->seed,
		.span_bytes = vm->span_bytes,
		.accel = c->accel,
		.source = c->source,
		.slots = c->slots,
		.hole = c->hole,
		.vcpus = c->vcpus,
		.pattern = c->pattern,
		.disk_bytes = d->bytes,
		.driver_features = d->driver_features,
		.desc = d->desc,
		.driver = d->driver,
		.device = d->device,
		.status = d->status,
		.features_sel = d->features_sel,
		.driver_features_sel = d->driver_features_sel,
		.queue_num = d->queue_num,
		.queue_ready = d->queue_ready,
		.last_avail = d->last_avail,
		.vcpu_bytes = vm->ops->state_bytes(vm),
	};
}

int vm_keep_state(struct vm *vm, void **state, size_t *len,
		  struct tide_error *err)
{
	size_t bytes = sizeof(struct head) + vm->ops->state_bytes(vm);
	char *blob = calloc(1, bytes);
	int ret;

	if (!blob)
		return tide_error_set(err, -ENOMEM, "vm-state", TIDE_NO_OFFSET,
				      "no memory for %zu bytes of state",
				      bytes);
	put_head(vm, (struct head *)blob);
	ret = vm->ops->save(vm, blob + sizeof(struct head), err);
	if (ret) {
		free(blob);
		return ret;
	}
	*state = blob;
	*len = bytes;
	return 0;
}

int vm_save_state(struct vm *vm, void **state, size_t *len,
		  struct tide_error *err)
{
	void *blob;
	size_t bytes;
	int ret = vm_keep_state(vm, &blob, &bytes, err);

	if (ret)
		return ret;
	ret = vm__disk_leave(vm, err);
	if (ret) {
		free(blob);
		return ret;
	}
	*state = blob;
	*len = bytes;
	return 0;
}

/* The slot from address 0 that this VMM itself reads, for status and more. */
static bool has_low_memory(const struct tide_slot *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (wanted[i].gpa_bytes == 0 &&
		    wanted[i].len_bytes >=
			    GUEST_VCPUS + GUEST_MAX_VCPUS * GUEST_VCPU_BYTES)
			return true;
	return false;
}

/*
 * Said before anything moves, with both numbers. The slots may yet be refused
 * for other reasons: lengths that overflow are not added up here.
 */
int vm__check_incoming(const struct vm *vm, const struct tide_slot *wanted,
		       size_t count, struct tide_error *err)
{
	uint64_t limit = vm->config.max_memory_bytes, sum = 0;
	bool host = !limit;

	if (!has_low_memory(wanted, count))
		return tide_error_set(err, -EINVAL, "vm", 0,
				      "no memory slot has the low pages that "
				      "this VMM's guests need");
	if (host)
		limit = vm_host_memory();
	for (size_t i = 0; i < count; i++) {
		sum += wanted[i].len_bytes;
		if (wanted[i].len_bytes > limit || sum > limit)
			return tide_error_set(err, -ENOMEM, "vm",
					      TIDE_NO_OFFSET, "the guest has "
					      "%" PRIu64 " bytes of memory or "
					      "more, and %s %" PRIu64, sum,
					      host ? "this host can give" :
						     "--max-memory is", limit);
	}
	return 0;
}

int vm_prepare_incoming(struct vm *vm, const struct tide_slot *wanted,
			size_t count, struct tide_error *err)
{
	uint64_t top = 0;
	int ret;

	for (size_t i = 0; i < count; i++) {
		uint64_t end = wanted[i].gpa_bytes + wanted[i].len_bytes;

		if (end < wanted[i].gpa_bytes || end > GUEST_MAX_BYTES)
			return tide_error_set(err, -EINVAL, "vm",
					      wanted[i].gpa_bytes,
					      "a slot that ends at 0x%" PRIx64
					      " is more than this VMM has",
					      end);
		if (end > top)
			top = end;
	}
	if (!top || vm->base)
		return tide_error_set(err, -EINVAL, "vm", TIDE_NO_OFFSET,
				      "no slots, or memory is there already");
	ret = vm__check_incoming(vm, wanted, count, err);
	if (ret)
		return ret;
	ret = vm__memory_reserve(vm, top + (1ull << 30), err);
	for (size_t i = 0; i < count && !ret; i++)
		ret = vm__memory_map(vm, wanted[i].gpa_bytes,
				     wanted[i].len_bytes, wanted[i].id, err);
	return ret;
}

int vm_forget_incoming(struct vm *vm, struct tide_error *err)
{
	vm__threads_end(vm);
	vm__disk_leave(vm, NULL);
	vm->quit = false;
	tide_error_clear(&vm->failure);
	vm_change_incoming(vm, NULL, 0, NULL);
	vm__memory_release(vm);
	/* vCPUs go with their machine: KVM makes each of them but once. */
	vm->ops->close(vm);
	return vm->ops->open(vm, err);
}

static int check_head(const struct vm *vm, const struct head *h, size_t len,
		      struct tide_error *err)
{
	const char *fault = NULL;

	if (h->magic != MAGIC)
		fault = "it is not a state of this VMM's version";
	else if (h->vcpus < 1 || h->vcpus > GUEST_MAX_VCPUS ||
		 h->pattern >= GUEST_PATTERNS ||
		 h->source >= TIDE_SOURCE_FOREIGN || h->queue_num < 1 ||
		 h->queue_num > 8 || (h->queue_num & (h->queue_num - 1)) ||
		 h->queue_ready > 1 || h->last_avail > UINT16_MAX)
		fault = "a field is out of bounds";
	else if (h->accel != (uint32_t)vm->config.accel)
		fault = "the other side runs on another accel";
	else if (h->disk_bytes != vm->disk.bytes)
		fault = "the disks differ in size (give both the same --disk)";
	else if (len != h->vcpu_bytes)
		fault = "its length is wrong";
	if (!fault)
		return 0;
	return tide_error_set(err, -EPROTO, "vm-state", TIDE_NO_OFFSET,
			      "cannot load the state: %s", fault);
}

static void take_head(struct vm *vm, const struct head *h)
{
	struct vm_config *c = &vm->config;
	struct vm_disk *d = &vm->disk;

	c->memory_bytes = h->memory_bytes;
	c->rate_pages_per_s = h->rate_pages_per_s;
	c->footprint_bytes = h->footprint_bytes;
	c->seed = h->seed;
	c->slots = h->slots;
	c->hole = h->hole;
	c->vcpus = h->vcpus;
	c->pattern = h->pattern;
	d->driver_features = h->driver_features;
	d->desc = h->desc;
	d->driver = h->driver;
	d->device = h->device;
	d->status = h->status;
	d->features_sel = h->features_sel;
	d->driver_features_sel = h->driver_features_sel;
	d->queue_num = h->queue_num;
	d->queue_ready = h->queue_ready;
	d->last_avail = h->last_avail;
}

int vm_load_state(struct vm *vm, const void *state, size_t len,
		  struct tide_error *err)
{
	struct head h;
	int ret;

	if (len < sizeof(h))
		return tide_error_set(err, -EPROTO, "vm-state", TIDE_NO_OFFSET,
				      "a state of %zu bytes is too short", len);
	memcpy(&h, state, sizeof(h));
	len -= sizeof(h);
	ret = check_head(vm, &h, len, err);
	if (ret)
		return ret;
	ret = vm__disk_take(vm, err);
	if (ret)
		return ret;
	take_head(vm, &h);
	ret = vm->ops->make_vcpus(vm, err);
	if (!ret)
		ret = vm->ops->load(vm, (const char *)state + sizeof(h), len,
				    err);
	if (!ret)
		ret = vm__threads_start(vm, err);
	return ret;
}
