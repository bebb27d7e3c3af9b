/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the VMM and its guest share: the guest's memory layout, the control
 * page through which the VMM speaks to the guest, and the record that the
 * guest writes into every page.
 *
 * All the state of the guest's work lives in these structures, in guest RAM.
 * So it moves with the RAM, and the threads that play the guest where there is
 * no KVM need no other state. The VMM writes the fields of struct
 * guest_control, and marks the page when it does; each vCPU writes its own
 * struct guest_vcpu only.
 */
#ifndef GUEST_CONTROL_H
#define GUEST_CONTROL_H

#include <stdint.h>

#define GUEST_PAGE_BYTES 4096u
#define GUEST_MAX_VCPUS 8u
#define GUEST_MAX_REGIONS 16u
#define GUEST_MAX_BATCH 256u

/* Guest physical addresses; all of this must fit the first slot. */
#define GUEST_GDT 0x1000u
#define GUEST_PML4 0x2000u
#define GUEST_PDPT 0x3000u
#define GUEST_TSS 0x4000u		/* with an I/O bitmap that allows all */
#define GUEST_TSS_HEAD_BYTES 104u
#define GUEST_TSS_BYTES (GUEST_TSS_HEAD_BYTES + 8192u + 1u)
#define GUEST_PD 0x10000u		/* one page per GiB, 64 of them */
#define GUEST_IMAGE 0x100000u
#define GUEST_STACKS 0x180000u		/* 16 KiB per vCPU */
#define GUEST_STACK_BYTES 0x4000u
#define GUEST_QUEUE 0x1b0000u		/* the disk's ring and buffers */
#define GUEST_CONTROL 0x1c0000u
#define GUEST_VCPUS 0x1d0000u		/* GUEST_VCPU_BYTES each */
#define GUEST_VCPU_BYTES 0x2000u
#define GUEST_VERSIONS 0x200000u	/* uint32_t per work page */
#define GUEST_MAX_BYTES (64ull << 30)

/* Doors to the VMM. */
#define GUEST_PORT_SERIAL 0x3f8u
#define GUEST_PORT_BATCH 0x510u	/* value: pages written since the last */
#define GUEST_MMIO_DISK 0xfeb00000u
#define GUEST_MMIO_BYTES 0x1000u

#define GUEST_MAGIC UINT64_C(0x4b52414d45444954)	/* "TIDEMARK" */

enum guest_pattern {
	GUEST_IDLE,
	GUEST_SEQUENTIAL,
	GUEST_UNIFORM,
	GUEST_HOTSET,		/* nine writes in ten to a tenth of the pages */
	GUEST_ZIPF,
	GUEST_MIXED,		/* uniform, and the disk as well */
	GUEST_PATTERNS
};

enum guest_command {
	GUEST_RUN,
	GUEST_VERIFY,		/* each vCPU once, then on with the work */
};

enum guest_phase {		/* for the stall histograms */
	GUEST_PHASE_NONE,
	GUEST_PHASE_BULK,
	GUEST_PHASE_DIRTY,
	GUEST_PHASE_STOP,
	GUEST_PHASES
};

struct guest_region {
	uint64_t first;		/* page number */
	uint64_t count;
};

/* Written by the VMM only. */
struct guest_control {
	uint64_t magic;
	uint32_t vcpus;
	uint32_t pattern;
	uint32_t batch;		/* pages between two exits to the VMM */
	uint32_t phase;
	uint64_t command;	/* enum guest_command */
	uint64_t command_number;	/* rises with every command */
	uint64_t seed;
	uint64_t work_pages;	/* sum over the regions */
	uint64_t disk_blocks;	/* of 4 KiB; 0: no disk */
	uint32_t regions;
	uint32_t reserved;
	struct guest_region region[GUEST_MAX_REGIONS];
};

/* Written by its vCPU only. */
struct guest_vcpu {
	uint64_t command_done;	/* number of the last command carried out */
	uint64_t started;
	uint64_t rng;
	uint64_t next;		/* sequential: next work page of this vCPU */
	uint64_t written;	/* pages */
	uint64_t verified; /* by the last verify: pages that were written */
	uint64_t bad;		/* of them not as they should be */
	uint64_t first_bad;	/* page number of the first */
	uint64_t first_bad_kind; /* 1 content, 2 version (older or newer) */
	uint64_t disk_reads;
	uint64_t disk_writes;
	uint64_t disk_bad;
	/* [phase][log2 of the TSC ticks that one page write took] */
	uint32_t stalls[GUEST_PHASES][64];
	uint64_t longest[GUEST_PHASES];		/* ticks */
};
_Static_assert(sizeof(struct guest_vcpu) <= GUEST_VCPU_BYTES, "fits its page");
_Static_assert(sizeof(struct guest_control) <= GUEST_PAGE_BYTES, "one page");

/* In every page that the guest writes; the body follows from the head. */
struct guest_record {
	uint64_t magic;
	uint64_t page;
	uint64_t version;	/* as in the table at GUEST_VERSIONS */
	uint64_t checksum;	/* of the body and the fields above */
	uint64_t body[GUEST_PAGE_BYTES / 8 - 4];
};
_Static_assert(sizeof(struct guest_record) == GUEST_PAGE_BYTES, "one page");

#endif
