/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What may stand between a channel of a migration and its socket: TLS, say.
 *
 * The library sends and receives over bare sockets unless it is given a table
 * of these calls (tide_precopy_options.stream_ops); who gives it has done the
 * handshake, on every socket, before the migration begins, and knows the other
 * side. The bytes are the same either way.
 *
 * Caveats:
 *  - Memory of a guest goes over the wire as it is. Where others can read or
 *    change what passes, a stream has to keep it from them: checksums find
 *    accidents, not intent.
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
	 * The stream on socket @fd, which becomes a channel. NULL: there is
	 * none, and the migration fails (-EINVAL); never the bare socket.
	 */
	void *(*of)(void *opaque, int fd);
	/*
	 * Bytes moved, -EAGAIN if it would have to wait, or another -errno;
	 * recv: 0 at the end of what the other side sends. None waits, and none
	 * raises SIGPIPE. After -EAGAIN, send is called with the same bytes
	 * again, or never more: what is half sent is not followed by anything.
	 */
	ssize_t (*send)(void *stream, const struct iovec *parts, int count);
	ssize_t (*recv)(void *stream, void *to, size_t len);
	/* Would recv give something without the socket? */
	bool (*has_input)(void *stream);
	/* Nothing more is sent or received; then the socket may be closed. */
	void (*end)(void *stream);
};

#ifdef __cplusplus
}
#endif

#endif
