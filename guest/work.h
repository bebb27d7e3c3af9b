/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's work, and the doors that its surroundings must provide: the
 * freestanding guest has machine.c for them, the process that plays a guest
 * has src/vm/process.c.
 */
#ifndef GUEST_WORK_H
#define GUEST_WORK_H

#include "control.h"

/* Base of guest physical memory: 0 inside a real guest. */
struct guest_memory {
	char *base;
};

/*
 * Never returns in a real guest; returns elsewhere when told to by machine_out.
 */
void guest_work(const struct guest_memory *memory, unsigned int vcpu);

/* The work page @index as a page number of the guest. */
uint64_t guest_page_of(const struct guest_control *control, uint64_t index);
void guest_record_fill(struct guest_record *record, uint64_t page,
		       uint64_t version);
/* 0 good, 1 bad content, 2 another version. */
int guest_record_check(const struct guest_record *record, uint64_t page,
		       uint64_t version);

/* One step of the disk's own records: write one block, read another. */
void guest_disk_step(const struct guest_memory *memory,
		     const struct guest_control *control,
		     struct guest_vcpu *me, uint64_t random);

/* Doors. machine_out returns non-zero when the work must end. */
int machine_out(unsigned int port, uint32_t value);
void machine_mmio_write(uint32_t offset, uint32_t value);
uint32_t machine_mmio_read(uint32_t offset);

#endif
