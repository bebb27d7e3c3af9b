/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest RAM: one reservation of host address space as large as the guest's
 * highest address, so that host = base + GPA, with memory mapped into it only
 * where slots are. The hole below 4 GiB, where the disk's registers lie, and
 * the gaps between slots stay inaccessible.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "vm/internal.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define LOW_END (3 * GIB)	/* RAM below it, then above 4 GiB */
#define HIGH_START (4 * GIB)
#define STEP (2 * MIB)

int vm__memory_reserve(struct vm *vm, uint64_t span_bytes,
		       struct tide_error *err)
{
	void *base = mmap(NULL, span_bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return tide_error_set(err, -ENOMEM, "vm", TIDE_NO_OFFSET,
				      "no address space for a guest of 0x%"
				      PRIx64 " bytes", span_bytes);
	vm->base = base;
	vm->span_bytes = span_bytes;
	return tide_set_create(&vm->set, span_bytes / GUEST_PAGE_BYTES, err);
}

void vm__memory_release(struct vm *vm)
{
	if (vm->base)
		munmap(vm->base, vm->span_bytes);
	vm->base = NULL;
	tide_set_destroy(vm->set);
	vm->set = NULL;
}

/* Who found @slot in the map before it was taken out lets go of it first. */
static void unmap(struct vm *vm, const struct tide_slot *slot)
{
	pthread_rwlock_wrlock(&vm->memory_lock);
	mmap(slot->host, slot->len_bytes, PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	pthread_rwlock_unlock(&vm->memory_lock);
}

int vm__memory_map(struct vm *vm, uint64_t gpa, uint64_t len, uint32_t id,
		   struct tide_error *err)
{
	struct tide_slot slot = { .id = id, .gpa_bytes = gpa,
				  .len_bytes = len };
	struct tide_slot other;
	int ret;

	if (len == 0 || gpa >= vm->span_bytes || len > vm->span_bytes - gpa)
		return tide_error_set(err, -EINVAL, "vm", gpa,
				      "slot %" PRIu32 " of 0x%" PRIx64
				      " bytes lies outside the guest's 0x%"
				      PRIx64, id, len, vm->span_bytes);
	if (tide_slots_next(vm->slots, gpa, &other) &&
	    other.gpa_bytes < gpa + len)
		return tide_error_set(err, -EEXIST, "vm", gpa,
				      "slot %" PRIu32 " of 0x%" PRIx64
				      " bytes overlaps slot %" PRIu32, id, len,
				      other.id);
	slot.host = vm->base + gpa;
	/* Before it is in the map: who finds it there may read it at once. */
	if (mmap(slot.host, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		ret = tide_error_set(err, -ENOMEM, "vm", gpa,
				     "no memory for a slot of 0x%" PRIx64
				     " bytes", len);
	else
		ret = tide_slots_insert(vm->slots, &slot, err);
	if (!ret) {
		ret = vm->ops->add_slot(vm, &slot, err);
		if (ret)
			tide_slots_remove(vm->slots, id, NULL);
	}
	if (ret)
		unmap(vm, &slot);
	if (id >= vm->next_slot_id)
		vm->next_slot_id = id + 1;
	return ret;
}

/* How RAM is cut: length of slot @i of @n, in steps of 2 MiB. */
static uint64_t share(uint64_t bytes, unsigned int n, unsigned int i)
{
	uint64_t steps = bytes / STEP;

	return (steps / n + (i < steps % n)) * STEP;
}

/*
 * Place the slots one after another (with a gap of 2 MiB before each but the
 * first if a hole is wanted); what would cross 3 GiB goes on above 4 GiB.
 */
static int walk(struct vm *vm, uint64_t *end, struct tide_error *err)
{
	const struct vm_config *c = &vm->config;
	uint64_t gpa = 0;
	uint32_t id = 0;
	int ret = 0;

	for (unsigned int i = 0; i < c->slots && !ret; i++) {
		uint64_t left = share(c->memory_bytes, c->slots, i);

		if (i && c->hole)
			gpa += STEP;
		while (left && !ret) {
			uint64_t len = left;

			if (gpa >= LOW_END && gpa < HIGH_START)
				gpa = HIGH_START;
			if (gpa < LOW_END && len > LOW_END - gpa)
				len = LOW_END - gpa;
			if (vm->base)
				ret = vm__memory_map(vm, gpa, len, id, err);
			id++;
			gpa += len;
			left -= len;
		}
	}
	*end = gpa;
	return ret;
}

int vm__memory_lay_out(struct vm *vm, struct tide_error *err)
{
	uint64_t end;
	int ret;

	walk(vm, &end, NULL);		/* without memory: only measures */
	/* Room above for slots that are added later. */
	ret = vm__memory_reserve(vm, end + GIB, err);
	if (!ret)
		ret = walk(vm, &end, err);
	return ret;
}

void vm__mark(struct vm *vm, uint64_t gpa, uint64_t len)
{
	uint64_t first = gpa / GUEST_PAGE_BYTES;
	uint64_t last = (gpa + len - 1) / GUEST_PAGE_BYTES;

	if (len)
		tide_set_mark_range(vm->set, first, last - first + 1);
}

/* Under slot_lock. */
static int check_change(const struct vm *vm, struct tide_error *err)
{
	if (!vm->frozen)
		return 0;
	return tide_error_set(err, -EBUSY, "vm", TIDE_NO_OFFSET,
			      "memory cannot change while the guest is handed "
			      "over");
}

/* Under slot_lock. If KVM will not let it go, it is watched as before. */
static int remove_slot(struct vm *vm, uint32_t id, struct tide_error *err)
{
	struct tide_slot slot;
	int ret;

	if (!tide_slots_find_id(vm->slots, id, &slot))
		return tide_error_set(err, -ENOENT, "vm", TIDE_NO_OFFSET,
				      "there is no slot %" PRIu32, id);
	if (vm->tracking)
		tide_source_slot_removing(vm->source, &slot, vm->set, NULL);
	ret = vm->ops->remove_slot(vm, &slot, err);
	if (!ret)
		ret = tide_slots_remove(vm->slots, id, err);
	if (!ret)
		unmap(vm, &slot);
	else if (vm->tracking)
		tide_source_slot_added(vm->source, &slot, vm->set, NULL);
	return ret;
}

int vm_remove_slot(struct vm *vm, uint32_t id, struct tide_error *err)
{
	int ret;

	pthread_mutex_lock(&vm->slot_lock);
	ret = check_change(vm, err);
	if (!ret)
		ret = remove_slot(vm, id, err);
	pthread_mutex_unlock(&vm->slot_lock);
	return ret;
}

int vm_add_slot(struct vm *vm, uint64_t gpa_bytes, uint64_t len_bytes,
		uint32_t *id, struct tide_error *err)
{
	struct tide_slot slot;
	uint32_t number;
	int ret;

	pthread_mutex_lock(&vm->slot_lock);
	number = vm->next_slot_id;
	ret = check_change(vm, err);
	if (!ret)
		ret = vm__memory_map(vm, gpa_bytes, len_bytes, number, err);
	if (!ret && vm->tracking) {
		tide_slots_find_id(vm->slots, number, &slot);
		ret = tide_source_slot_added(vm->source, &slot, vm->set, err);
		if (ret)
			remove_slot(vm, number, NULL);
	}
	pthread_mutex_unlock(&vm->slot_lock);
	if (!ret)
		*id = number;
	return ret;
}

static bool is_wanted(const struct tide_slot *slot,
		      const struct tide_slot *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (wanted[i].id == slot->id &&
		    wanted[i].gpa_bytes == slot->gpa_bytes &&
		    wanted[i].len_bytes == slot->len_bytes)
			return true;
	return false;
}

int vm_change_incoming(struct vm *vm, const struct tide_slot *wanted,
		       size_t count, struct tide_error *err)
{
	struct tide_slot slot;
	uint64_t from = 0;
	int ret = count ? vm__check_incoming(vm, wanted, count, err) : 0;

	pthread_mutex_lock(&vm->slot_lock);
	while (!ret && tide_slots_next(vm->slots, from, &slot)) {
		from = slot.gpa_bytes + slot.len_bytes;
		if (!is_wanted(&slot, wanted, count))
			ret = remove_slot(vm, slot.id, err);
	}
	for (size_t i = 0; i < count && !ret; i++)
		if (!tide_slots_find_id(vm->slots, wanted[i].id, NULL))
			ret = vm__memory_map(vm, wanted[i].gpa_bytes,
					     wanted[i].len_bytes, wanted[i].id,
					     err);
	pthread_mutex_unlock(&vm->slot_lock);
	return ret;
}
