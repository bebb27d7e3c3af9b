/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection: switching to TLS.
 *
 * The answer to STARTTLS is sent in the clear; only after that is TLS put on
 * the stream. A client waits for the answer, so any bytes that followed the
 * option were injected by somebody else, and end the connection (conn.c,
 * stash).
 */
#include "nbd/conn.h"
#include "nbd/loop.h"

#include <errno.h>
#include <string.h>

void nbd_conn_start_tls(struct nbd_conn *c)
{
	if (c->phase != NBD_PHASE_OPTIONS)
		return;	/* closed: there was no memory for the answer */
	c->phase = NBD_PHASE_TLS;
	c->tls_started = false;
}

void nbd_conn_handshake(struct nbd_conn *c)
{
	const char *why = NULL;
	int ret = c->stream.ops->handshake(&c->stream, &why);

	if (ret == -EAGAIN)
		return;
	c->stream.wants_write = false;
	if (ret) {
		nbd_conn_close(c, why ? why : strerror(-ret));
		return;
	}
	c->tls = true;
	if (c->stream.ops->peer)
		c->stream.ops->peer(&c->stream, &c->peer);
	nbd_options_begin(c);
}

void nbd_conn_put_on_tls(struct nbd_conn *c)
{
	const struct nbd_security *s = c->loop->common->security;
	int ret = s->start(s->opaque, &c->stream);

	if (ret) {
		nbd_conn_close(c, strerror(-ret));
		return;
	}
	c->tls_started = true;
	nbd_conn_handshake(c);
}
