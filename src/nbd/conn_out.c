/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection: outgoing messages.
 *
 * Messages are queued as they are made, and sent by the loop at the end of its
 * turn, as many as possible with one call; a message is returned to its owner
 * when its last byte has been sent. What the stream does not take waits, and
 * with it the client's next requests (conn.c, can_take).
 */
#include "nbd/conn.h"
#include "nbd/loop.h"

#include <errno.h>
#include <string.h>

#define PARTS_AT_ONCE 64u
#define LINGER_NS UINT64_C(2000000000)

void nbd_conn_put(struct nbd_conn *c, struct nbd_out *out)
{
	out->next = NULL;
	out->at = 0;
	if (c->phase == NBD_PHASE_CLOSED) {
		out->sent(out);
		return;
	}
	for (uint32_t i = 0; i < out->count; i++)
		c->out_bytes += out->parts[i].iov_len;
	c->out_bytes += out->file_bytes;
	if (c->out_last)
		c->out_last->next = out;
	else
		c->out_first = out;
	if (!c->out_last)
		c->out_moved_ns = c->loop->now_ns;
	c->out_last = out;
	if (!c->blocked)
		nbd_loop_mark_dirty(c);
}

static int gather(const struct nbd_conn *c, struct iovec *parts)
{
	uint32_t n = 0;

	for (const struct nbd_out *o = c->out_first; o; o = o->next) {
		for (uint32_t i = o->at; i < o->count; i++) {
			if (n == PARTS_AT_ONCE)
				return (int)n;
			parts[n++] = o->parts[i];
		}
		if (o->file_bytes)
			break; /* that is next */
	}
	return (int)n;
}

void nbd_conn_pop(struct nbd_conn *c)
{
	struct nbd_out *o = c->out_first;

	c->out_first = o->next;
	if (!c->out_first)
		c->out_last = NULL;
	o->sent(o);
}

static void advance(struct nbd_conn *c, size_t n)
{
	c->out_bytes -= n;
	while (c->out_first) {
		struct nbd_out *o = c->out_first;

		while (o->at < o->count && n >= o->parts[o->at].iov_len)
			n -= o->parts[o->at++].iov_len;
		if (o->at < o->count) {
			struct iovec *part = &o->parts[o->at];

			part->iov_base = (uint8_t *)part->iov_base + n;
			part->iov_len -= n;
			return;
		}
		if (o->file_bytes)
			return;
		nbd_conn_pop(c);
	}
}

static ssize_t send_file(struct nbd_conn *c, struct nbd_out *o)
{
	ssize_t n = c->stream.ops->send_file(&c->stream, o->file, &o->file_at,
					     o->file_bytes);

	if (!n)
		return -ENODATA; /* what was promised cannot be had */
	if (n < 0)
		return n;
	c->out_bytes -= (uint64_t)n;
	o->file_bytes -= (uint64_t)n;
	if (!o->file_bytes)
		nbd_conn_pop(c);
	return n;
}

/* What is next: bytes > 0, or -errno. */
static ssize_t send_some(struct nbd_conn *c)
{
	struct nbd_out *o = c->out_first;
	struct iovec parts[PARTS_AT_ONCE];
	ssize_t n;

	if (o->at == o->count && o->file_bytes)
		return send_file(c, o);
	n = c->stream.ops->send(&c->stream, parts, gather(c, parts));
	if (n > 0)
		advance(c, (size_t)n);
	return n;
}

/* ENDING: all is answered and sent? Then we shut our half. */
static void go_on_ending(struct nbd_conn *c)
{
	if (c->phase != NBD_PHASE_ENDING || c->requests || c->out_first ||
	    c->shut)
		return;
	if (c->input_ended) {
		nbd_conn_close(c, NULL);
		return;
	}
	c->shut = true;
	c->stream.ops->end(&c->stream);
	nbd_conn_expect(c, NULL, UINT64_MAX, NULL);
	nbd_conn_set_deadline(c, LINGER_NS);
}

/* For the log; NULL: the client left, which needs no words. */
static const char *why(ssize_t code)
{
	return code == -EPIPE || code == -ECONNRESET ? NULL :
	       code == -ENODATA ? "the disk's file was made shorter under a read" :
				  strerror((int)-code);
}

void nbd_conn_flush(struct nbd_conn *c)
{
	c->blocked = false;
	while (c->out_first) {
		ssize_t n = send_some(c);

		if (n == -EAGAIN) {
			c->blocked = true;
			return;
		}
		if (n < 0) {
			nbd_conn_close(c, why(n));
			return;
		}
		c->out_moved_ns = c->loop->now_ns;
	}
	if (c->phase == NBD_PHASE_TLS && !c->tls_started)
		nbd_conn_put_on_tls(c);
	go_on_ending(c);
}

void nbd_conn_unblock(struct nbd_conn *c)
{
	if (c->phase == NBD_PHASE_TLS && c->tls_started)
		nbd_conn_handshake(c);
	if (!c->blocked)
		return;
	c->blocked = false;
	nbd_loop_mark_dirty(c);
}
