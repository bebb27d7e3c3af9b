/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection: incoming bytes, and closing. The diagram of its phases is in
 * conn.h; outgoing messages are in conn_out.c.
 *
 * Whatever happens, each request that was charged to the loop is returned
 * exactly once: by nbd_request_finish, called when its answer has been sent,
 * or by whoever finds that it never will be. A closed connection stays in
 * memory until the last of its requests has come back from the disk.
 */
#include "nbd/conn.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "nbd/loop.h"

#define TURN_BYTES (1u << 20) /* then it is another connection's turn */
#define DIRECT_BYTES 4096u /* less of a payload is not worth a part */
#define OPTION_OUTPUT_BYTES 65536u /* unread answers of the handshake */
/*
 * Held by one who does not read. Not less: there are clients of one thread that
 * read nothing while they send, and had some requests under way before.
 */
#define UNREAD_BYTES (8u << 20)

void nbd_conn_set_deadline(struct nbd_conn *c, uint64_t ns)
{
	c->deadline_ns = ns ? c->loop->now_ns + ns : 0;
	c->loop->timed |= ns > 0;
}

struct nbd_conn *nbd_conn_create(struct nbd_loop *loop,
				 const struct nbd_stream *stream)
{
	struct nbd_conn *c = calloc(1, sizeof(*c));
	struct nbd_stream taken = *stream;

	if (!c) {
		taken.ops->close(&taken);
		return NULL;
	}
	c->loop = loop;
	c->stream = taken;
	c->number = 1 + tide__add_relaxed(&loop->common->connection_numbers, 1);
	nbd_conn_set_deadline(c,
			      loop->common->limits.handshake_ms * 1000000ull);
	return c;
}

void nbd_conn_deselect(struct nbd_conn *c)
{
	for (uint32_t i = 0; i < c->selected_count; i++)
		nbd_context_put(c->selected[i].context);
	c->selected_count = 0;
	nbd_export_put(c->selected_for);
	c->selected_for = NULL;
}

void nbd_conn_destroy(struct nbd_conn *c)
{
	assert(c->phase == NBD_PHASE_CLOSED && !c->requests);
	nbd_conn_deselect(c);
	nbd_export_put(c->export);
	free(c);
}

bool nbd_conn_is_over(const struct nbd_conn *c)
{
	return c->phase == NBD_PHASE_CLOSED && !c->requests;
}

void nbd_conn_expect(struct nbd_conn *c, void *into, uint64_t want,
		     void (*step)(struct nbd_conn *c))
{
	assert(want);
	c->into = into;
	c->have = 0;
	c->want = want;
	c->step = step;
}

static bool can_take(const struct nbd_conn *c)
{
	switch (c->phase) {
	case NBD_PHASE_FLAGS:
	case NBD_PHASE_OPTIONS:
		return c->out_bytes < OPTION_OUTPUT_BYTES;
	case NBD_PHASE_TRANSMISSION:
		/*
		 * Who does not read has his answers; more would only be held.
		 */
		return !c->paused &&
		       !(c->blocked && c->charged_bytes > UNREAD_BYTES);
	default:
		return false;
	}
}

size_t nbd_conn_feed(struct nbd_conn *c, const uint8_t *bytes, size_t length)
{
	size_t used = 0;

	while (used < length && can_take(c)) {
		uint64_t n = c->want - c->have;

		if (n > length - used)
			n = length - used;
		if (c->into)
			memcpy(c->into + c->have, bytes + used, n);
		c->have += n;
		used += n;
		if (c->have == c->want)
			c->step(c);
	}
	return used;
}

bool nbd_conn_wants_input(const struct nbd_conn *c)
{
	if (c->input_ended || c->stash)
		return false;
	if (c->phase == NBD_PHASE_ENDING)
		return c->shut;
	if (c->phase == NBD_PHASE_TLS)
		return c->tls_started;
	return can_take(c);
}

static void drop_stash(struct nbd_conn *c)
{
	free(c->stash);
	c->stash = NULL;
}

/* What was received and may not be taken yet waits in memory of its own. */
static void stash(struct nbd_conn *c, const uint8_t *bytes, size_t length)
{
	if (c->phase == NBD_PHASE_ENDING || c->phase == NBD_PHASE_CLOSED)
		return;
	if (c->phase == NBD_PHASE_TLS) {
		/* They would be taken for what came under TLS. */
		nbd_conn_close(c, "sent more behind its request for TLS");
		return;
	}
	c->stash = malloc(length);
	if (!c->stash) {
		nbd_conn_close(c, "no memory for what it sent");
		return;
	}
	memcpy(c->stash, bytes, length);
	c->stash_at = 0;
	c->stash_end = (uint32_t)length;
}

static void input_ended(struct nbd_conn *c)
{
	c->input_ended = true;
	if (c->phase != NBD_PHASE_TRANSMISSION)
		nbd_conn_close(c, NULL);
	else
		nbd_conn_end(c);
}

/* @n bytes came: first into the payload, @direct of it, then into scratch. */
static void take(struct nbd_conn *c, size_t n, size_t direct)
{
	size_t payload = n < direct ? n : direct, used;

	c->have += payload;
	n -= payload;
	if (payload && c->have == c->want)
		c->step(c);
	if (!n)
		return;
	used = nbd_conn_feed(c, c->loop->scratch, n);
	if (used < n)
		stash(c, c->loop->scratch + used, n - used);
}

/* How much of what is collected is worth being received in its place. */
static size_t direct_bytes(const struct nbd_conn *c)
{
	uint64_t left = c->want - c->have;

	return c->incoming && c->into && left >= DIRECT_BYTES ? left : 0;
}

void nbd_conn_read(struct nbd_conn *c)
{
	size_t moved = 0, asked;

	if (c->phase == NBD_PHASE_TLS && c->tls_started)
		nbd_conn_handshake(c);
	if (c->phase == NBD_PHASE_TLS)
		return;
	while (nbd_conn_wants_input(c) && moved < TURN_BYTES) {
		size_t direct = direct_bytes(c);
		struct iovec parts[] = {
			{ c->into ? c->into + c->have : NULL, direct },
			{ c->loop->scratch, NBD_SCRATCH_BYTES },
		};
		ssize_t n = c->stream.ops->recv(&c->stream, parts + !direct,
						direct ? 2 : 1);

		if (n == -EAGAIN)
			return;
		if (n == 0)
			input_ended(c);
		if (n < 0)
			nbd_conn_close(c, strerror((int)-n));
		if (n <= 0)
			return;
		moved += (size_t)n;
		asked = direct + NBD_SCRATCH_BYTES;
		take(c, (size_t)n, direct);
		/* Less than asked: the next would say "not now". */
		if ((size_t)n < asked && !c->stream.has_more)
			return;
	}
	if (c->stream.has_more && c->phase != NBD_PHASE_CLOSED)
		nbd_loop_mark_dirty(c);
}

bool nbd_conn_continue(struct nbd_conn *c)
{
	bool waits = c->want && c->have == c->want;

	if (!can_take(c) || (!waits && !c->stash))
		return false;
	if (waits)
		c->step(c);
	/* A step may end the connection, which frees the stash. */
	if (c->stash)
		c->stash_at += (uint32_t)nbd_conn_feed(
			c, c->stash + c->stash_at, c->stash_end - c->stash_at);
	if (c->stash && c->stash_at == c->stash_end)
		drop_stash(c);
	return true;
}

/* A request whose payload will not come. */
static void drop_incoming(struct nbd_conn *c)
{
	struct nbd_request *r = c->incoming;

	c->incoming = NULL;
	c->into = NULL;
	if (r)
		nbd_request_finish(r);
}

static void drop_input(struct nbd_conn *c)
{
	drop_incoming(c);
	drop_stash(c);
	free(c->option_data);
	c->option_data = NULL;
	nbd_loop_unpause(c);
}

void nbd_conn_end(struct nbd_conn *c)
{
	if (c->phase == NBD_PHASE_ENDING || c->phase == NBD_PHASE_CLOSED)
		return;
	c->phase = NBD_PHASE_ENDING;
	nbd_conn_set_deadline(c, c->loop->common->limits.drain_ms * 1000000ull);
	drop_input(c);
	if (!c->blocked)
		nbd_loop_mark_dirty(c);
}

static void log_end(struct nbd_conn *c)
{
	char text[64];

	if (!c->loop->common->log)
		return;
	snprintf(text, sizeof(text), "after %" PRIu64 " requests", c->taken);
	nbd_loop_log(c, "ended", text);
}

static enum nbd_stage stage_of(const struct nbd_conn *c)
{
	return c->phase == NBD_PHASE_TRANSMISSION ? NBD_STAGE_TRANSMISSION :
	       c->phase == NBD_PHASE_ENDING	  ? NBD_STAGE_END :
						    NBD_STAGE_HANDSHAKE;
}

void nbd_conn_close(struct nbd_conn *c, const char *why)
{
	if (c->phase == NBD_PHASE_CLOSED)
		return;
	if (why) {
		nbd_loop_log(c, "dropped", why);
		tide__add_relaxed(&c->loop->common->dropped[stage_of(c)], 1);
	} else if (c->export) {
		log_end(c);
	}
	c->phase = NBD_PHASE_CLOSED;
	c->peer.identity = c->peer.name = NULL; /* the stream's */
	c->stream.ops->close(&c->stream);
	drop_input(c);
	while (c->out_first)
		nbd_conn_pop(c);
	c->out_bytes = 0;
	c->loop->closed_any = true;
}

void nbd_conn_tick(struct nbd_conn *c, uint64_t now_ns)
{
	if (c->phase == NBD_PHASE_CLOSED || !c->deadline_ns ||
	    now_ns < c->deadline_ns)
		return;
	if (c->shut)
		nbd_conn_close(c, NULL);
	else if (c->phase == NBD_PHASE_ENDING)
		nbd_conn_close(c, "did not take its last answers in time");
	else
		nbd_conn_close(c, "did not end its handshake in time");
}
