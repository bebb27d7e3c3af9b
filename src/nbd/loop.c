/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A loop without its thread: connections, budget, and one turn. Tests and the
 * fuzz target drive this part by hand, over memory.
 */
#include "nbd/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "disk/queue.h"

#define QUEUE_DEPTH 256u
#define KEPT_BUFFER_BYTES (UINT64_C(16) << 20)
#define KEPT_REQUESTS 256u

void nbd_limits_fill(struct nbd_limits *l)
{
	if (!l->connections)
		l->connections = 1024;
	if (!l->requests)
		l->requests = 256;
	if (!l->connection_bytes)
		l->connection_bytes = UINT64_C(64) << 20;
	if (!l->total_bytes)
		l->total_bytes = UINT64_C(512) << 20;
	if (!l->handshake_ms)
		l->handshake_ms = 10000;
	if (!l->drain_ms)
		l->drain_ms = 10000;
	if (!l->stall_ms)
		l->stall_ms = 30000;
}

void nbd_refused(struct nbd_common *common, enum nbd_refusal why)
{
	tide__add_relaxed(&common->refused[why], 1);
}

/* What the largest request costs, whatever was asked for: it must fit once. */
static uint64_t budget_of(const struct nbd_common *common)
{
	uint64_t share = common->limits.total_bytes / common->loops;
	uint64_t min = 2ull * NBD_LARGEST_PAYLOAD;

	return share < min ? min : share;
}

int nbd_loop_init(struct nbd_loop *loop, struct nbd_common *common,
		  struct tide_error *err)
{
	int ret;

	memset(loop, 0, sizeof(*loop));
	loop->common = common;
	loop->epoll_fd = loop->wake_fd = loop->done.event_fd = -1;
	loop->paused_end = &loop->paused;
	loop->buffers.max_kept_bytes = KEPT_BUFFER_BYTES;
	loop->budget_bytes = budget_of(common);
	loop->now_ns = tide__now_ns();
	loop->scratch = malloc(NBD_SCRATCH_BYTES);
	if (!loop->scratch)
		return tide_error_set(err, -ENOMEM, "nbd", TIDE_NO_OFFSET,
				      "no memory for a loop");
	ret = tide_queue_create(QUEUE_DEPTH, &loop->queue, err);
	if (ret)
		free(loop->scratch);
	return ret;
}

/* For the few places that need not be fast: until all is quiet. */
static void finish_all(struct nbd_loop *loop)
{
	while (loop->conns) {
		for (struct nbd_conn *c = loop->conns; c; c = c->next)
			nbd_conn_close(c, NULL);
		if (!nbd_loop_turn(loop) && tide_queue_pending(loop->queue))
			tide_queue_poll(loop->queue, true);
	}
}

void nbd_loop_fini(struct nbd_loop *loop)
{
	struct nbd_request *r;

	finish_all(loop);
	tide_queue_destroy(loop->queue);
	while ((r = loop->free_requests)) {
		loop->free_requests = r->next;
		free(r);
	}
	nbd_buffers_fini(&loop->buffers);
	free(loop->scratch);
	free(loop->counts);
}

void nbd_loop_log(struct nbd_conn *c, const char *what, const char *text)
{
	const struct nbd_common *common = c->loop->common;

	if (common->log)
		common->log(common->log_opaque, &(struct nbd_event){
			.what = what, .warning = !strcmp(what, "dropped") ||
				   !strcmp(what, "denied"),
			.client = c->number,
			.export = c->export ? c->export->name : NULL,
			.peer = c->peer, .text = text });
}

/* Places for connections are counted over all loops; taken here. */
static bool take_place(struct nbd_common *common)
{
	/* Only a count: whoever comes first has the place. */
	if (tide__add_relaxed(&common->connections, 1) <
	    common->limits.connections)
		return true;
	tide__add_relaxed(&common->connections, -1);
	return false;
}

void nbd_loop_share(struct nbd_loop *loop)
{
	const struct nbd_export *first = NULL;
	bool several = false;

	for (const struct nbd_conn *c = loop->conns; c; c = c->next) {
		if (!first)
			first = c->export;
		several |= c->export && c->export != first;
	}
	tide__queue_in_place(loop->queue, !several);
}

static void link_conn(struct nbd_loop *loop, struct nbd_conn *c)
{
	c->next = loop->conns;
	if (c->next)
		c->next->previous = c;
	loop->conns = c;
	tide__add_relaxed(&loop->conn_count, 1); /* only for balance */
}

struct nbd_conn *nbd_loop_add(struct nbd_loop *loop,
			      const struct nbd_stream *stream)
{
	struct nbd_stream refused = *stream;
	struct nbd_conn *c;

	if (loop->draining || !take_place(loop->common)) {
		nbd_refused(loop->common, NBD_REFUSED_LIMIT);
		refused.ops->close(&refused);
		return NULL;
	}
	c = nbd_conn_create(loop, stream);
	if (!c) {
		nbd_refused(loop->common, NBD_REFUSED_MEMORY);
		tide__add_relaxed(&loop->common->connections, -1);
		return NULL;
	}
	link_conn(loop, c);
	nbd_options_greet(c);
	/* Without memory for the greeting it is closed, and swept later. */
	return c->phase == NBD_PHASE_CLOSED ? NULL : c;
}

static void remove_conn(struct nbd_loop *loop, struct nbd_conn *c)
{
	if (c->previous)
		c->previous->next = c->next;
	else
		loop->conns = c->next;
	if (c->next)
		c->next->previous = c->previous;
	tide__add_relaxed(&loop->conn_count, -1);
	nbd_loop_share(loop);
	tide__add_relaxed(&loop->common->connections, -1);
	nbd_conn_destroy(c);
}

struct nbd_request *nbd_loop_get_request(struct nbd_loop *loop)
{
	struct nbd_request *r = loop->free_requests;

	if (!r)
		return malloc(sizeof(*r));
	loop->free_requests = r->next;
	loop->free_request_count--;
	return r;
}

void nbd_loop_put_request(struct nbd_loop *loop, struct nbd_request *r)
{
	if (loop->free_request_count == KEPT_REQUESTS) {
		free(r);
		return;
	}
	r->next = loop->free_requests;
	loop->free_requests = r;
	loop->free_request_count++;
}

void nbd_loop_mark_dirty(struct nbd_conn *c)
{
	if (c->in_dirty)
		return;
	c->in_dirty = true;
	c->next_dirty = c->loop->dirty;
	c->loop->dirty = c;
}

/* True: somebody went on, and the queue may have to be told of it. */
static bool flush_dirty(struct nbd_loop *loop)
{
	struct nbd_conn *c;
	bool any = false;

	while ((c = loop->dirty)) {
		loop->dirty = c->next_dirty;
		c->in_dirty = false;
		if (c->phase == NBD_PHASE_CLOSED)
			continue;
		nbd_conn_flush(c);
		/* What waited until its answers were read goes on. */
		any |= nbd_conn_continue(c);
		/* What a TLS record held more, epoll does not tell. */
		if (c->stream.has_more && nbd_conn_wants_input(c)) {
			nbd_conn_read(c);
			any = true;
		}
		nbd_loop_watch(c);
	}
	return any;
}

static void sweep(struct nbd_loop *loop)
{
	struct nbd_conn *next;

	loop->closed_any = false;
	for (struct nbd_conn *c = loop->conns; c; c = next) {
		next = c->next;
		if (nbd_conn_is_over(c))
			remove_conn(loop, c);
	}
}

static void tick(struct nbd_loop *loop)
{
	if (loop->now_ns - loop->ticked_ns < NBD_TICK_NS)
		return;
	loop->ticked_ns = loop->now_ns;
	for (struct nbd_conn *c = loop->conns; c; c = c->next)
		nbd_conn_tick(c, loop->now_ns);
	nbd_budget_let_one_go(loop);
	loop->timed = loop->paused;
	for (struct nbd_conn *c = loop->conns; c && !loop->timed; c = c->next)
		loop->timed = c->deadline_ns;
}

/* Clients of exports that are served no more. What they asked is finished. */
static void hang_up(struct nbd_loop *loop)
{
	uint32_t closes = tide__load_seqcst(&loop->common->closes);

	if (closes == loop->seen_closes)
		return;
	for (struct nbd_conn *c = loop->conns; c; c = c->next)
		if (c->phase != NBD_PHASE_CLOSED && c->export &&
		    tide__load_seqcst(&c->export->closed))
			nbd_conn_close(c, "its disk is served elsewhere now");
	tide__store_seqcst(&loop->seen_closes, closes);
}

bool nbd_loop_turn(struct nbd_loop *loop)
{
	bool again;

	loop->now_ns = tide__now_ns();
	tick(loop);
	hang_up(loop);
	nbd_done_collect(&loop->done);
	tide_queue_poll(loop->queue, false);
	again = flush_dirty(loop);
	again |= nbd_budget_resume(loop);
	if (loop->closed_any && !loop->dirty)
		sweep(loop);
	tide__store_relaxed(&loop->shown_bytes, loop->charged_bytes);
	return again || loop->dirty || loop->closed_any;
}

void nbd_loop_drain(struct nbd_loop *loop)
{
	loop->draining = true;
	for (struct nbd_conn *c = loop->conns; c; c = c->next) {
		nbd_conn_end(c);
		nbd_loop_watch(c);
	}
}
