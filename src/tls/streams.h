/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS below the channels of a migration: streams (tidemark/stream.h), found by
 * the descriptors they stand on, since a door and a receiver pass on
 * descriptors.
 *
 * A stream is created by open, goes through its handshake step by step, and
 * then belongs to the channel until that ends it; one that never becomes a
 * channel is forgotten before its descriptor is closed.
 *
 * Threads: any; but a stream's handshake and peek are for one thread at a
 * time.
 */
#ifndef TIDE_TLS_STREAMS_H
#define TIDE_TLS_STREAMS_H

#include "tidemark/stream.h"
#include "tls/tls.h"

struct tls_streams;

/*
 * @creds are borrowed. @host as in tls_session_create; copied. -ENOMEM.
 */
int tls_streams_create(struct tls_streams **out, const struct tls_creds *creds,
		       const char *host, struct tide_error *err);
/* And all that were not ended. NULL is fine. */
void tls_streams_destroy(struct tls_streams *streams);

/* With the streams as opaque. */
extern const struct tide_stream_ops tls_stream_ops;

/* What struct tide__door_streams asks for; @opaque: the streams. */
int tls_streams_open(void *opaque, int fd, struct tide_error *err);
int tls_streams_shake(void *opaque, int fd, bool *wants_write,
		      struct tide_error *err);
ssize_t tls_streams_peek(void *opaque, int fd, void *to, size_t len);
void tls_streams_forget(void *opaque, int fd);

#endif
