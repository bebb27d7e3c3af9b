/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's machine: entry point and doors, for a freestanding program in
 * ring 3 of long mode with I/O privilege level 3.
 *
 * The VMM puts each vCPU straight into long mode at _start, with its number in
 * rdi and its stack in rsp; there are no interrupts, and a fault is a triple
 * fault, which the VMM reports.
 */
#include "work.h"

int machine_out(unsigned int port, uint32_t value)
{
	if (port == GUEST_PORT_SERIAL)
		__asm__ volatile("outb %b0, %w1" : : "a"(value), "Nd"(port)
				 : "memory");
	else
		__asm__ volatile("outl %0, %w1" : : "a"(value), "Nd"(port)
				 : "memory");
	return 0;
}

void machine_mmio_write(uint32_t offset, uint32_t value)
{
	__asm__ volatile("movl %0, %1" : : "r"(value),
			 "m"(*(uint32_t *)(uintptr_t)(GUEST_MMIO_DISK + offset))
			 : "memory");
}

uint32_t machine_mmio_read(uint32_t offset)
{
	uint32_t value;

	__asm__ volatile("movl %1, %0" : "=r"(value) :
			 "m"(*(uint32_t *)(uintptr_t)(GUEST_MMIO_DISK + offset))
			 : "memory");
	return value;
}

/* gcc may call these for the structures that it copies and clears. */
void *memset(void *at, int value, unsigned long count);
void *memset(void *at, int value, unsigned long count)
{
	for (char *p = at; count--; p++) {
		*p = (char)value;
		__asm__ volatile("" : : : "memory");
	}
	return at;
}

void machine_main(unsigned long vcpu);
void machine_main(unsigned long vcpu)
{
	static const struct guest_memory memory = { (char *)0 };

	guest_work(&memory, (unsigned int)vcpu);
}

__asm__(".section .start, \"ax\"\n"
	".globl _start\n"
	"_start:\n"
	"	call machine_main\n"
	"1:	jmp 1b\n"
	".text\n");
