/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control page of a guest that came from elsewhere, before threads of this
 * process work by it.
 *
 * In a vCPU a wrong page number harms the guest alone. A thread that plays the
 * guest takes base + number as an address of ours: so each region has to lie
 * in memory that is there, above what steers the threads, and every divisor
 * has to be there. Nothing but the VMM writes the page after this: no region
 * holds it, and the disk does not reach it (vm__is_control).
 */
#include <errno.h>
#include <inttypes.h>

#include "vm/internal.h"

bool vm__is_control(uint64_t gpa, uint64_t len)
{
	return gpa < GUEST_CONTROL + GUEST_PAGE_BYTES &&
	       len > (gpa < GUEST_CONTROL ? GUEST_CONTROL - gpa : 0);
}

/* Page by page the same host address as base + GPA: any slots will do. */
static bool is_there(const struct vm *vm, uint64_t first, uint64_t bytes)
{
	uint64_t at = first, end = first + bytes;

	while (at < end) {
		struct tide_slot_piece piece;
		uint64_t covered;

		if (tide_slots_split(vm->slots, at, end - at, &piece, 1,
				     &covered) != 1 || !covered)
			return false;
		at += covered;
	}
	return true;
}

static const char *fault_of(const struct vm *vm, const struct guest_control *c)
{
	uint64_t pages = 0, max = GUEST_MAX_BYTES / GUEST_PAGE_BYTES, low;

	if (c->magic != GUEST_MAGIC || c->vcpus != vm->config.vcpus ||
	    c->pattern >= GUEST_PATTERNS)
		return "it is not the page of this guest";
	/* A thread can be paused only between two batches. */
	if (c->regions > GUEST_MAX_REGIONS || c->work_pages > max ||
	    c->work_pages < c->vcpus || c->batch > GUEST_MAX_BATCH)
		return "its counts are out of bounds";
	if (c->disk_blocks > vm->disk.bytes / GUEST_PAGE_BYTES)
		return "its disk is larger than the disk here";
	low = GUEST_VERSIONS + c->work_pages * sizeof(uint32_t);
	if (!is_there(vm, GUEST_VERSIONS, low - GUEST_VERSIONS))
		return "its table of versions is not in memory";
	for (uint32_t i = 0; i < c->regions; i++) {
		const struct guest_region *r = &c->region[i];

		if (r->first > max || r->count > max ||
		    r->first * GUEST_PAGE_BYTES < low ||
		    !is_there(vm, r->first * GUEST_PAGE_BYTES,
			      r->count * GUEST_PAGE_BYTES))
			return "a region of it is not in memory";
		pages += r->count;
	}
	return pages >= c->work_pages ? NULL : "its regions are too few";
}

int vm__check_control(const struct vm *vm, struct tide_error *err)
{
	const char *fault;

	if (!is_there(vm, 0, GUEST_VERSIONS))
		fault = "it is not in memory";
	else
		fault = fault_of(vm, vm__control(vm));
	if (!fault)
		return 0;
	return tide_error_set(err, -EPROTO, "vm-state", GUEST_CONTROL,
			      "cannot run the guest's work by its control "
			      "page: %s", fault);
}
