/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A shared secret that authenticates the sender. It precedes the stream of each
 * channel, in a frame that is not counted; the door (door.h) removes it and
 * compares it in constant time.
 *
 * It is sent in the clear: without TLS anyone who can read the wire learns it.
 */
#ifndef TIDE_PEER_TOKEN_H
#define TIDE_PEER_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"
#include "tidemark/stream.h"

#define TIDE__TOKEN_MIN_BYTES 16u
#define TIDE__TOKEN_MAX_BYTES 256u

struct tide__token {
	unsigned char bytes[TIDE__TOKEN_MAX_BYTES];	/* zeros behind it */
	size_t len;	/* 0: none */
};

/* On a connected socket, or the stream on it, before the first frame. */
int tide__token_send(const struct tide__token *token, int fd,
		     const struct tide_stream_ops *ops, void *opaque,
		     uint64_t timeout_ns, struct tide_error *err);

/* In a time that depends on neither. */
bool tide__token_is(const struct tide__token *token,
		    const unsigned char *bytes, size_t len);

#endif
