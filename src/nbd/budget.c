/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory budget of requests, and which connection waits for it.
 *
 * A request's memory is charged to the loop's budget before it is allocated,
 * and returned once its answer has been sent. A connection may hold as much as
 * is still free, and never more than its own limit: however many clients stop
 * reading, a share is left for the next one, and a small request proceeds
 * where a large one has to wait. A connection that cannot get what it needs is
 * paused: nothing more is read from it, and paused connections resume in the
 * order in which they came.
 *
 * One that has waited for long gets returned memory before those that hold
 * some already. If that is not enough because others hold answers that their
 * clients do not read, the one that holds most of these is disconnected.
 */
#include "nbd/loop.h"

#define PATIENCE_NS UINT64_C(100000000)

void nbd_loop_pause(struct nbd_conn *c)
{
	struct nbd_loop *loop = c->loop;

	if (c->paused)
		return;
	c->paused = true;
	loop->timed = true;
	c->paused_since_ns = loop->now_ns;
	c->next_paused = NULL;
	*loop->paused_end = c;
	loop->paused_end = &c->next_paused;
}

void nbd_loop_unpause(struct nbd_conn *c)
{
	struct nbd_loop *loop = c->loop;
	struct nbd_conn **at = &loop->paused;

	if (!c->paused)
		return;
	while (*at != c)
		at = &(*at)->next_paused;
	*at = c->next_paused;
	if (!*at)
		loop->paused_end = at;
	c->paused = false;
}

static bool has_waited_long(const struct nbd_loop *loop)
{
	return loop->paused &&
	       loop->now_ns - loop->paused->paused_since_ns > PATIENCE_NS &&
	       !loop->paused->requests;
}

/* May @c hold @bytes more? See above. */
static bool may_charge(const struct nbd_conn *c, uint64_t bytes)
{
	const struct nbd_limits *l = &c->loop->common->limits;
	uint64_t max = c->loop->budget_bytes - c->loop->charged_bytes;

	if (c->requests >= l->requests)
		return false;
	if (!c->requests)
		return bytes <= max; /* its only one may be any */
	if (has_waited_long(c->loop))
		return false; /* what comes back is for those who wait */
	if (max > l->connection_bytes)
		max = l->connection_bytes;
	return c->charged_bytes + bytes <= max;
}

bool nbd_loop_charge(struct nbd_conn *c, uint64_t bytes)
{
	if (!may_charge(c, bytes)) {
		nbd_loop_pause(c);
		return false;
	}
	c->charged_bytes += bytes;
	c->loop->charged_bytes += bytes;
	return true;
}

void nbd_loop_uncharge(struct nbd_conn *c, uint64_t bytes)
{
	c->charged_bytes -= bytes;
	c->loop->charged_bytes -= bytes;
	c->loop->returned = true;
}

bool nbd_budget_resume(struct nbd_loop *loop)
{
	struct nbd_conn *list = loop->paused, *c;
	bool any = false;

	if (!loop->returned || !list)
		return false;
	loop->returned = false;
	loop->paused = NULL;
	loop->paused_end = &loop->paused;
	while ((c = list)) {
		uint64_t since = c->paused_since_ns, taken = c->taken;

		list = c->next_paused;
		c->paused = false;
		nbd_conn_continue(c);
		if (c->paused && c->taken == taken)
			c->paused_since_ns = since;
		any |= !c->paused;
		if (c->stream.has_more)
			nbd_loop_mark_dirty(c);
		nbd_loop_watch(c);
	}
	return any;
}

/* Has answers, and for as long as that has not taken a byte of them. */
static bool is_stalled(const struct nbd_conn *c, uint64_t ns)
{
	return c->out_first && c->loop->now_ns - c->out_moved_ns > ns;
}

static bool somebody_waits(const struct nbd_loop *loop, uint64_t ns)
{
	for (const struct nbd_conn *c = loop->paused; c; c = c->next_paused)
		if (loop->now_ns - c->paused_since_ns > ns &&
		    !is_stalled(c, ns))
			return true;
	return false;
}

/*
 * Somebody has waited long for memory, while another holds some of it as
 * answers that he does not read: the one who holds most is let go.
 */
void nbd_budget_let_one_go(struct nbd_loop *loop)
{
	uint64_t ns = loop->common->limits.stall_ms * 1000000ull;
	struct nbd_conn *worst = NULL;

	if (!somebody_waits(loop, ns))
		return;
	for (struct nbd_conn *c = loop->conns; c; c = c->next)
		if (is_stalled(c, ns) &&
		    (!worst || c->charged_bytes > worst->charged_bytes))
			worst = c;
	if (worst)
		nbd_conn_close(worst, "reads nothing while others wait for the "
				      "memory that it holds");
}
