/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An NBD server's connection without sockets, threads or time: what a client
 * sends is a buffer, what it gets is another, and the disk is memory. Used by
 * the tests of the protocol and by its fuzz target.
 */
#ifndef TESTS_NBD_MEMORY_H
#define TESTS_NBD_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/disk.h"
#include "disk/queue.h"
#include "nbd/loop.h"

#define NBD_MEMORY_BYTES (1u << 20)
#define NBD_MEMORY_BLOCK 4096u

struct nbd_memory_disk {
	struct tide_disk disk;
	uint8_t *bytes;
	bool hole[NBD_MEMORY_BYTES / NBD_MEMORY_BLOCK];
	int fail; /* -errno: every request */
	bool hold; /* requests stay under way until release */
	struct tide_io *held[512];
	uint32_t held_count;
	uint32_t flushes, writes;
	uint32_t zero_flags; /* of the last zeroing */
};

/* One client. */
struct nbd_memory_client {
	struct nbd_conn *conn; /* NULL after the end */
	const uint8_t *in;
	size_t in_length, in_at;
	bool in_ended; /* after these bytes: the end */
	uint8_t *out;
	size_t out_length, out_room;
	size_t may_send; /* bytes that the client still takes */
	bool ended; /* the server sends no more */
	bool closed;
	size_t piece; /* at most so many bytes a recv; 0: any */
};

struct nbd_memory {
	struct nbd_common common;
	struct nbd_loop loop;
	struct nbd_memory_disk disk;
	struct nbd_memory_disk read_only;
};

/* Exports "rw" (first), "ro" and "other"; limits as given, or usual. */
void nbd_memory_init(struct nbd_memory *m, const struct nbd_limits *limits);
void nbd_memory_fini(struct nbd_memory *m);
void nbd_memory_connect(struct nbd_memory *m, struct nbd_memory_client *c);
void nbd_memory_client_fini(struct nbd_memory_client *c);
/* Let the server work until it would sleep. */
void nbd_memory_turn(struct nbd_memory *m, struct nbd_memory_client *c);
/* Complete what was held. */
void nbd_memory_release(struct nbd_memory_disk *d);

#endif
