/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A non-blocking stream of bytes to and from a client: a socket, TLS on one,
 * or memory (tests). The owner of a connection owns its stream.
 */
#ifndef TIDE_NBD_STREAM_H
#define TIDE_NBD_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct nbd_stream;

/* Who is at the other end, as far as somebody vouches for it. */
struct nbd_peer {
	bool has_uid; /* of a Unix socket: by the kernel */
	uint32_t uid;
	/*
	 * By TLS: a certificate's names ("CN=host,O=..."), a key's name; and
	 * the short form, the common name alone. NULL: it did not say. They
	 * live until the stream is closed.
	 */
	const char *identity, *name;
};

struct nbd_stream_ops {
	/*
	 * Bytes moved (> 0); -EAGAIN: not now; other -errno: broken. recv: 0 is
	 * the end of the stream.
	 */
	ssize_t (*recv)(struct nbd_stream *s, const struct iovec *parts,
			int count);
	ssize_t (*send)(struct nbd_stream *s, const struct iovec *parts,
			int count);
	/*
	 * The same with @length bytes of a file, from *@at on, which moves; 0:
	 * the file ends there. Optional: only Unix sockets have it.
	 */
	ssize_t (*send_file)(struct nbd_stream *s, int fd, off_t *at,
			     size_t length);
	/*
	 * Only where something is put on a stream: 0: done; -EAGAIN: again when
	 * the descriptor is readable, or writable if wants_write; other -errno:
	 * failed, and *why says it in words (NULL: as strerror).
	 */
	int (*handshake)(struct nbd_stream *s, const char **why);
	/* What TLS knows of the peer, after the handshake. Optional. */
	void (*peer)(const struct nbd_stream *s, struct nbd_peer *peer);
	/* No more will be sent; what was is delivered. */
	void (*end)(struct nbd_stream *s);
	/* Frees what belongs to the stream, the descriptor too. */
	void (*close)(struct nbd_stream *s);
};

struct nbd_stream {
	const struct nbd_stream_ops *ops;
	int fd; /* for epoll; -1: there is none */
	/*
	 * There may be bytes that came from the descriptor already (TLS): ask
	 * recv again, whatever epoll says.
	 */
	bool has_more;
	bool wants_write; /* the handshake waits for that */
	void *opaque;
};

/*
 * What puts TLS on a stream. start: *@s is a stream in the clear, and becomes
 * one whose handshake is to be called; it owns what it was. 0 or -errno, and
 * then it is as before. From any loop's thread.
 */
struct nbd_security {
	int (*start)(void *opaque, struct nbd_stream *s);
	void *opaque;
};

/* A socket, made non-blocking. Owns @fd from now on. */
void nbd_stream_socket(struct nbd_stream *s, int fd);

#endif
