/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest as it arrives, as far as it steers this process: the control page,
 * what a vCPU keeps of its work, the disk's rings, and after that the state.
 */
#ifndef FUZZ_STATE_H
#define FUZZ_STATE_H

#include <stdint.h>
#include <unistd.h>

#include "../guest/control.h"
#include "vm/vm.h"

#define STATE_MAGIC 0x54534654u
#define STATE_MEMORY (16u << 20)
#define STATE_DISK (64u << 10)

struct state_input {
	uint32_t magic;
	uint32_t slots;		/* 0: one */
	uint8_t control[sizeof(struct guest_control)];
	uint8_t vcpu[128];
	uint8_t queue[2048];
};

/* A file of STATE_DISK bytes without a name, made once. */
const char *state_disk(void);

static inline void state_config(struct vm_config *c)
{
	vm_config_defaults(c);
	c->accel = VM_ACCEL_PROCESS;
	c->source = TIDE_SOURCE_UFFD;
	c->slots = 1;
	c->rate_pages_per_s = 0;
	c->serial_path = "/dev/null";
	c->disk_path = state_disk();
	c->disk_format = "raw";
}

#endif
