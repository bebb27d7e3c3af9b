/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cloud Hypervisor's migration protocol, version 0, as its offload daemon
 * speaks it: requests of 16 bytes and what follows them, each answered by 16
 * bytes. All integers are little-endian.
 *
 *   request: u16 command, 6 bytes (of Start: u16 version), u64 bytes to follow
 *   answer:  u16 status (1 good, 2 error), 6 bytes, u64 bytes to follow
 *
 * Taken from its documentation and tried against the tests' own peer; never
 * against the real program here.
 */
#ifndef TIDE_VMM_CLOUD_WIRE_H
#define TIDE_VMM_CLOUD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

#define CLOUD_FRAME 16u
#define CLOUD_VERSION 0u
/* A configuration or a state may be so large: they are kept in memory. */
#define CLOUD_MAX_TEXT (UINT64_C(64) << 20)
/* The peer may think so long about one request. */
#define CLOUD_LIMIT_MS 60000

enum cloud_command {
	CLOUD_START = 1,
	CLOUD_CONFIG,
	CLOUD_STATE,
	CLOUD_MEMORY,		/* contents over the wire: not for us */
	CLOUD_COMPLETE,
	CLOUD_ABANDON,
	CLOUD_MEMORY_FD,
	CLOUD_COMPLETE_PAUSED,
	CLOUD_PAGE_FAULT,
};

struct cloud_request {
	uint16_t command, version;
	uint64_t bytes;
};

void cloud_put_request(unsigned char to[CLOUD_FRAME],
		       const struct cloud_request *r);
/* -EPROTO: no command of this version. */
int cloud_get_request(const unsigned char at[CLOUD_FRAME],
		      struct cloud_request *r, struct tide_error *err);
void cloud_put_answer(unsigned char to[CLOUD_FRAME], bool good);
/* 0; -EREMOTEIO it refused; -EPROTO it is no answer to these requests. */
int cloud_get_answer(const unsigned char at[CLOUD_FRAME],
		     struct tide_error *err);

/* All of it, or -errno: -ECONNRESET the peer went, -ETIMEDOUT it is silent. */
int cloud_send(int fd, const void *from, size_t n, struct tide_error *err);
int cloud_receive(int fd, void *to, size_t n, struct tide_error *err);
/* With a descriptor along; *@got is the caller's. */
int cloud_send_fd(int fd, const void *from, size_t n, int passed,
		  struct tide_error *err);
int cloud_receive_fd(int fd, void *to, size_t n, int *got,
		     struct tide_error *err);
/* @n bytes that a peer announced, and a zero; they are there as they come. */
int cloud_receive_text(int fd, uint64_t n, unsigned char **out,
		       struct tide_error *err);

int cloud_fail(int ret, const char *what, struct tide_error *err);

#endif
