/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transport streams: a layer, such as TLS, between a channel of a migration and
 * its socket.
 *
 * The library uses plain sockets unless it is given a table of these calls
 * (tide_precopy_options.stream_ops). Its owner must have completed the
 * handshake on every socket, and authenticated the other side, before the
 * migration begins. The bytes are the same either way.
 *
 * Caveats:
 *  - Guest memory is sent in the clear. On a network that others can read or
 *    change, a stream must protect it: checksums detect accidents, not attacks.
 *  - Threads: one may send while another receives on the same stream.
 */
#ifndef TIDEMARK_STREAM_H
#define TIDEMARK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct iovec;

struct tide_stream_ops {
	/*
	 * The stream on socket @fd, which becomes a channel. NULL: the
	 * migration fails (-EINVAL); there is no fallback to the bare socket.
	 */
	void *(*of)(void *opaque, int fd);
	/*
	 * Non-blocking: bytes moved, -EAGAIN, or another -errno; recv: 0 at the
	 * end of the stream. Must not raise SIGPIPE. After -EAGAIN, send is
	 * called again with the same bytes, or never: nothing else follows a
	 * partial record.
	 */
	ssize_t (*send)(void *stream, const struct iovec *parts, int count);
	ssize_t (*recv)(void *stream, void *to, size_t len);
	/* Is input buffered, so that recv needs no socket? */
	bool (*has_input)(void *stream);
	/* The last call; then the socket may be closed. */
	void (*end)(void *stream);
};

#ifdef __cplusplus
}
#endif

#endif
