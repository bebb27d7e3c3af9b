/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A Cloud Hypervisor that waits for its guest (receive-migration): we are the
 * one that sends. Each call is a request; whoever may have to serve page faults
 * before its answer comes asks and hears in two steps.
 */
#ifndef TIDE_VMM_CLOUD_GIVE_H
#define TIDE_VMM_CLOUD_GIVE_H

#include "vmm/cloud_wire.h"

/* A socket, or -errno. @faults: one more connection, on which it asks. */
int cloud_give_connect(const char *path, bool faults, struct tide_error *err);
/* @text: @bytes of it (NULL: none). */
int cloud_give_ask(int fd, enum cloud_command command, const void *text,
		   uint64_t bytes, struct tide_error *err);
/* 0; -EREMOTEIO: it refused. */
int cloud_give_hear(int fd, struct tide_error *err);
/* Both. */
int cloud_give(int fd, enum cloud_command command, const void *text,
	       uint64_t bytes, struct tide_error *err);
int cloud_give_memory(int fd, uint32_t slot, int memory,
		      struct tide_error *err);

struct cloud_fault {
	bool over;		/* it hung up, or said that it is done */
	uint64_t gpa, bytes;
};

/* The next page that it misses. 0; -EPROTO: it is none. */
int cloud_fault_hear(int fd, struct cloud_fault *f, struct tide_error *err);
int cloud_fault_answer(int fd, bool good, struct tide_error *err);

#endif
