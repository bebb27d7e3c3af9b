/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame of the migration stream: a head of 48 bytes, then the payload.
 *
 * All integers are little-endian. The head carries its own checksum, so a
 * length is believed only after it was checked; the payload's checksum is XXH3
 * with 64 bits. docs/format-migration.md draws the bytes and lists the types.
 */
#ifndef TIDE_PEER_FRAME_H
#define TIDE_PEER_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

#define TIDE__WIRE_MAGIC 0x45444954u	/* "TIDE" */
#define TIDE__WIRE_VERSION 1u
#define TIDE__FRAME_BYTES 48u
#define TIDE__UNIT_PAGES 64u		/* most pages with data in one frame */
#define TIDE__MAX_PAYLOAD_BYTES (1u << 20)

enum tide__frame_type {
	TIDE__FRAME_HELLO = 1,	/* source: version, page size, slots */
	TIDE__FRAME_WELCOME,	/* receiver: go on; or REFUSED */
	TIDE__FRAME_JOIN,	/* source, on every further channel */
	TIDE__FRAME_JOINED,
	TIDE__FRAME_ROUND,	/* source: round @first begins */
	TIDE__FRAME_PAGES,	/* @pages pages from @first, data as payload */
	TIDE__FRAME_ZERO,	/* @pages pages from @first are zero */
	TIDE__FRAME_ROUND_END,	/* source, on every channel */
	TIDE__FRAME_ROUND_ACK,	/* receiver: all of the round is in memory */
	TIDE__FRAME_STATE,	/* a piece of state, at offset @first */
	TIDE__FRAME_STATE_END,	/* @first: bytes of state in all */
	TIDE__FRAME_READY,	/* receiver: whole, loaded, waiting for GO */
	TIDE__FRAME_GO,
	TIDE__FRAME_DONE,	/* receiver: the guest runs here */
	TIDE__FRAME_REFUSED,	/* receiver: it does not; payload is why */
	TIDE__FRAME_CANCEL,	/* source: it is off; payload is why */
	TIDE__FRAME_SLOTS, /* source, between rounds: the slots are these */
	TIDE__FRAME_ALIVE,	/* at any time, if agreed: still here */
	TIDE__FRAME_TOKEN,	/* before the stream: token.h */
	TIDE__FRAME_TYPES
};

enum { TIDE__FRAME_ZSTD = 1 };	/* flags: the payload is compressed */

struct tide__frame {
	uint16_t type;
	uint16_t flags;
	uint64_t sequence;	/* of this direction of this channel, from 0 */
	uint64_t first;
	uint32_t pages;
	uint32_t payload_bytes;
	uint64_t payload_sum;	/* 0 if checksums are off */
};

const char *tide__frame_name(unsigned int type);

/* Store @frame's head at @bytes. */
void tide__frame_put(const struct tide__frame *frame,
		     unsigned char bytes[TIDE__FRAME_BYTES]);

/*
 * Read and check a head: magic, checksum, sequence, type, flags, sizes. 0, or
 * -EPROTO with what is wrong; *frame is then untouched.
 */
int tide__frame_get(struct tide__frame *frame,
		    const unsigned char bytes[TIDE__FRAME_BYTES],
		    uint64_t sequence, struct tide_error *err);

uint64_t tide__frame_sum(const void *data, size_t len);

#endif
