/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is in guest memory before the first instruction: page tables, the
 * guest's image, and the control page.
 *
 * The tables map guest virtual to the same physical addresses with pages of
 * 2 MiB, open to ring 3: 64 GiB and all below, so that RAM above 4 GiB and the
 * disk's registers are in reach.
 */
#include <string.h>

#include "guest_image.h"
#include "vm/internal.h"

#define PRESENT 1u
#define WRITABLE 2u
#define USER 4u
#define LARGE 0x80u
#define TABLE (PRESENT | WRITABLE | USER)
#define GIBS 64u
#define ENTRIES 512u

_Static_assert(sizeof(guest_image) <= GUEST_STACKS - GUEST_IMAGE, "fits");

struct guest_control *vm__control(const struct vm *vm)
{
	return (struct guest_control *)(vm->base + GUEST_CONTROL);
}

struct guest_vcpu *vm__guest_vcpu(const struct vm *vm, unsigned int vcpu)
{
	return (struct guest_vcpu *)(vm->base + GUEST_VCPUS +
				     vcpu * GUEST_VCPU_BYTES);
}

static void fill_page_tables(char *base)
{
	uint64_t *pml4 = (uint64_t *)(base + GUEST_PML4);
	uint64_t *pdpt = (uint64_t *)(base + GUEST_PDPT);

	pml4[0] = GUEST_PDPT | TABLE;
	for (uint64_t gib = 0; gib < GIBS; gib++) {
		uint64_t at = GUEST_PD + gib * 0x1000;
		uint64_t *pd = (uint64_t *)(base + at);

		pdpt[gib] = at | TABLE;
		for (uint64_t i = 0; i < ENTRIES; i++)
			pd[i] = (gib * ENTRIES + i) << 21 | TABLE | LARGE;
	}
}

static void fill_gdt(char *base)
{
	uint64_t *gdt = (uint64_t *)(base + GUEST_GDT);

	gdt[3] = UINT64_C(0x00affa000000ffff); /* 0x18: code, 64 bits, ring 3 */
	gdt[4] = UINT64_C(0x00cff2000000ffff);	/* 0x20: data, ring 3 */
}

/*
 * A task state of which only the I/O bitmap matters: all ports are open. Some
 * software KVMs drop the I/O privilege level on the way into ring 3; with the
 * bitmap the guest does not depend on it.
 */
static void fill_tss(char *base)
{
	char *tss = base + GUEST_TSS;

	tss[102] = GUEST_TSS_HEAD_BYTES;	/* offset of the bitmap */
	tss[GUEST_TSS_HEAD_BYTES + 8192] = (char)0xff;	/* its end marker */
}

/*
 * The pages that the pattern works on: RAM behind the version table, at most
 * @limit of them, slot by slot.
 */
static void fill_regions(const struct vm *vm, struct guest_control *control,
			 uint64_t limit)
{
	uint64_t table_end = GUEST_VERSIONS +
			     vm->config.memory_bytes / GUEST_PAGE_BYTES * 4;
	uint64_t first_free = (table_end + GUEST_PAGE_BYTES - 1) /
			      GUEST_PAGE_BYTES;
	struct tide_slot slot;
	uint64_t from = 0;

	while (control->regions < GUEST_MAX_REGIONS && limit &&
	       tide_slots_next(vm->slots, from, &slot)) {
		uint64_t first = slot.gpa_bytes / GUEST_PAGE_BYTES;
		uint64_t end = first + slot.len_bytes / GUEST_PAGE_BYTES;
		struct guest_region *r = &control->region[control->regions];

		from = slot.gpa_bytes + slot.len_bytes;
		if (first < first_free)
			first = first_free;
		if (first >= end)
			continue;
		r->first = first;
		r->count = end - first < limit ? end - first : limit;
		limit -= r->count;
		control->work_pages += r->count;
		control->regions++;
	}
}

static uint32_t batch_for(const struct vm_config *c)
{
	/* Come back every two milliseconds or so; the VMM keeps the pace. */
	uint64_t batch = c->rate_pages_per_s / c->vcpus / 500;

	if (!c->rate_pages_per_s || batch > GUEST_MAX_BATCH)
		return GUEST_MAX_BATCH;
	return batch ? (uint32_t)batch : 1;
}

void vm__boot_fill(struct vm *vm)
{
	const struct vm_config *c = &vm->config;
	struct guest_control *control = vm__control(vm);
	uint64_t limit = c->footprint_bytes / GUEST_PAGE_BYTES;

	fill_page_tables(vm->base);
	fill_gdt(vm->base);
	fill_tss(vm->base);
	memcpy(vm->base + GUEST_IMAGE, guest_image, sizeof(guest_image));
	memset(control, 0, sizeof(*control));
	control->magic = GUEST_MAGIC;
	control->vcpus = c->vcpus;
	control->pattern = c->pattern;
	control->batch = batch_for(c);
	control->seed = c->seed;
	control->disk_blocks = vm->disk.bytes / GUEST_PAGE_BYTES;
	fill_regions(vm, control, limit ? limit : UINT64_MAX);
	/* Each vCPU has the same number of pages: drop the remainder. */
	control->work_pages -= control->work_pages % c->vcpus;
}
