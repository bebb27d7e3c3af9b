/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stream under TLS (src/tls).
 *
 * Output is gathered into records of 16 KiB, so that a header and its data are
 * one; a record that the socket did not take is kept, and sent again before
 * anything else, as TLS requires. Input fills the buffer that was given, as
 * far as there are records.
 */
#include "nbd/stream_tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_BYTES 16384u

struct under_tls {
	struct nbd_stream below;
	struct tls_session *session;
	struct tide_error err; /* of the handshake */
	size_t length; /* of a record that has to be sent again; 0: none */
	uint8_t record[RECORD_BYTES];
};

static ssize_t under_tls_recv(struct nbd_stream *s, const struct iovec *parts,
			      int count)
{
	struct under_tls *u = s->opaque;
	ssize_t sum = 0, n = 1;

	for (int i = 0; i < count && n > 0; i++)
		for (size_t at = 0; at < parts[i].iov_len && n > 0;) {
			n = tls_recv(u->session,
				     (char *)parts[i].iov_base + at,
				     parts[i].iov_len - at);
			if (n > 0) {
				at += (size_t)n;
				sum += n;
			}
		}
	s->has_more = tls_pending(u->session) > 0;
	return sum ? sum : n;
}

static void gather(struct under_tls *u, const struct iovec *parts, int count)
{
	for (int i = 0; i < count && u->length < RECORD_BYTES; i++) {
		size_t n = RECORD_BYTES - u->length;

		if (n > parts[i].iov_len)
			n = parts[i].iov_len;
		if (n)
			memcpy(u->record + u->length, parts[i].iov_base, n);
		u->length += n;
	}
}

static ssize_t under_tls_send(struct nbd_stream *s, const struct iovec *parts,
			      int count)
{
	struct under_tls *u = s->opaque;
	ssize_t n;

	/* One that was refused is at the head of @parts still. */
	if (!u->length)
		gather(u, parts, count);
	n = tls_send(u->session, u->record, u->length);
	if (n != -EAGAIN)
		u->length = 0;
	return n;
}

static int under_tls_handshake(struct nbd_stream *s, const char **why)
{
	struct under_tls *u = s->opaque;
	int ret = tls_handshake(u->session, &u->err);

	s->wants_write = ret == -EAGAIN && tls_wants_write(u->session);
	if (ret && ret != -EAGAIN)
		*why = u->err.text;
	else if (!ret)
		s->has_more = tls_pending(u->session) > 0;
	return ret;
}

static void under_tls_peer(const struct nbd_stream *s, struct nbd_peer *peer)
{
	const struct under_tls *u = s->opaque;
	const char *identity = tls_peer(u->session);
	const char *name = tls_peer_name(u->session);

	peer->identity = *identity ? identity : NULL;
	peer->name = *name ? name : NULL;
}

static void under_tls_end(struct nbd_stream *s)
{
	struct under_tls *u = s->opaque;

	/* If it does not fit now, the client sees an end all the same. */
	tls_end(u->session);
	u->below.ops->end(&u->below);
}

static void under_tls_close(struct nbd_stream *s)
{
	struct under_tls *u = s->opaque;

	tls_session_destroy(u->session);
	u->below.ops->close(&u->below);
	free(u);
	s->fd = -1;
}

static int start(void *opaque, struct nbd_stream *s)
{
	static const struct nbd_stream_ops ops = {
		.recv = under_tls_recv, .send = under_tls_send,
		.handshake = under_tls_handshake, .peer = under_tls_peer,
		.end = under_tls_end,
		.close = under_tls_close,
	};
	struct under_tls *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return -ENOMEM;
	ret = tls_session_create(&u->session, opaque, s->fd, NULL, NULL);
	if (ret) {
		free(u);
		return ret;
	}
	u->below = *s;
	s->ops = &ops;
	s->opaque = u;
	return 0;
}

void nbd_security_tls(struct nbd_security *security,
		      const struct tls_creds *creds)
{
	security->start = start;
	security->opaque = (void *)creds;
}
