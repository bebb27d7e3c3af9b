/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/gate.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "disk/queue.h"

void cbt_gate_init(struct cbt_gate *g)
{
	memset(g, 0, sizeof(*g));
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->open, NULL);
}

void cbt_gate_fini(struct cbt_gate *g)
{
	pthread_cond_destroy(&g->open);
	pthread_mutex_destroy(&g->lock);
}

/* Threads take shards in turn; none is the same only for more than 16. */
static int64_t *own_shard(struct cbt_gate *g)
{
	static uint32_t threads; /* atomic */
	static __thread uint32_t number; /* 0: not yet */

	if (!number)
		number = 1 + tide__add_relaxed(&threads, 1);
	return &g->shards[number % CBT_GATE_SHARDS].inside;
}

bool cbt_gate_enter(struct cbt_gate *g)
{
	int64_t *inside = own_shard(g);

	tide__add_seqcst(inside, 1); /* with the holder's store of `held` */
	if (!tide__load_seqcst(&g->held))
		return true;
	tide__add_seqcst(inside, -1);
	return false;
}

void cbt_gate_leave(struct cbt_gate *g)
{
	/* What was done inside is seen by who counts nobody. */
	tide__add_seqcst(own_shard(g), -1);
}

void cbt_gate_wait(struct cbt_gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (tide__load_seqcst(&g->held))
		pthread_cond_wait(&g->open, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

bool cbt_gate_park(struct cbt_gate *g, struct tide_io *io)
{
	bool parked = false;

	pthread_mutex_lock(&g->lock);
	if (tide__load_seqcst(&g->held) && tide_io_park(io)) {
		io->scratch[0] = (uintptr_t)g->parked;
		g->parked = io;
		parked = true;
	}
	pthread_mutex_unlock(&g->lock);
	return parked;
}

static int64_t inside(struct cbt_gate *g)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < CBT_GATE_SHARDS; i++)
		sum += tide__load_seqcst(&g->shards[i].inside);
	return sum;
}

int cbt_gate_hold(struct cbt_gate *g, uint64_t limit_ns)
{
	const struct timespec nap = { .tv_nsec = 20000 };
	uint64_t since = tide__now_ns();

	tide__add_seqcst(&g->held, 1);
	while (inside(g)) {
		if (tide__now_ns() - since > limit_ns) {
			cbt_gate_release(g);
			return -ETIMEDOUT;
		}
		nanosleep(&nap, NULL);
	}
	return 0;
}

void cbt_gate_release(struct cbt_gate *g)
{
	struct tide_io *io = NULL, *next;

	pthread_mutex_lock(&g->lock);
	if (tide__add_seqcst(&g->held, -1) == 1) {
		io = g->parked;
		g->parked = NULL;
		pthread_cond_broadcast(&g->open);
	}
	pthread_mutex_unlock(&g->lock);
	for (; io; io = next) {
		next = (struct tide_io *)(uintptr_t)io->scratch[0];
		tide_io_again(io);
	}
}
