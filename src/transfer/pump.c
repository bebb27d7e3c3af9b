/* SPDX-License-Identifier: BSD-2-Clause */
#include "transfer/pump.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

#define MAX_JOBS 64u

uint64_t piece_run(const struct piece *p, uint64_t at, bool *zero)
{
	uint64_t end = at;

	*zero = p->chunks[at >> CHUNK_SHIFT].zero;
	while (end < p->length_bytes &&
	       p->chunks[end >> CHUNK_SHIFT].zero == *zero)
		end += CHUNK_BYTES;
	return (end < p->length_bytes ? end : p->length_bytes) - at;
}

struct run {
	const struct pump *pump;
	pthread_mutex_t lock;
	pthread_cond_t turn; /* `finished` moved, or it failed */
	uint64_t given, finished;
	bool over;
	int failed;
	struct tide_error err; /* of the first failure */
};

struct worker {
	struct run *run;
	uint32_t index;
	struct piece batch[PUMP_BATCH];
	uint8_t *buf;
};

/* With the lock. */
static void fail(struct run *r, int code, const struct tide_error *err)
{
	if (!r->failed) {
		r->failed = code;
		r->err = *err;
	}
	pthread_cond_broadcast(&r->turn);
}

static bool told_to_stop(const struct run *r)
{
	return r->pump->stop && tide__load_acquire(r->pump->stop);
}

/* With the lock: false: there is none. */
static bool take_one(struct run *r, struct piece *p)
{
	struct tide_error err;
	int ret;

	if (told_to_stop(r))
		fail(r, tide_error_set(&err, -EINTR, "backup", TIDE_NO_OFFSET,
				       "it was called off"), &err);
	if (r->over || r->failed)
		return false;
	ret = r->pump->next(r->pump->opaque, p, &err);
	if (ret < 0)
		fail(r, ret, &err);
	if (ret <= 0) {
		r->over = true;
		return false;
	}
	p->number = r->given++;
	return true;
}

/*
 * With the lock: pieces that follow each other, as long as their data fits; how
 * many. One, where nothing is fetched.
 */
static size_t take(struct worker *w)
{
	size_t max = w->run->pump->fetch ? PUMP_BATCH : 1, n = 0;
	uint64_t used = 0;

	while (n < max && used + CHUNK_BYTES <= PIECE_BYTES) {
		struct piece *p = &w->batch[n];

		p->max_bytes = PIECE_BYTES - used;
		p->buf = w->buf + used;
		p->fetched = false;
		if (!take_one(w->run, p))
			break;
		n++;
		used += p->kind == PIECE_DATA ? p->length_bytes : 0;
	}
	return n;
}

/* With the lock; waits for those before it. */
static void finish(struct run *r, struct piece *list, size_t count)
{
	struct tide_error err;
	int ret;

	while (r->finished != list->number && !r->failed)
		pthread_cond_wait(&r->turn, &r->lock);
	for (size_t i = 0; i < count && !r->failed; i++) {
		ret = r->pump->finish ? r->pump->finish(r->pump->opaque,
							&list[i], &err) : 0;
		if (ret)
			fail(r, ret, &err);
		r->finished++;
	}
	pthread_cond_broadcast(&r->turn);
}

static int work(struct worker *w, size_t count, struct tide_error *err)
{
	const struct pump *p = w->run->pump;
	int ret = p->fetch ? p->fetch(p->opaque, w->index, w->batch, count,
				      err) : 0;

	for (size_t i = 0; i < count && !ret; i++)
		ret = p->work(p->opaque, w->index, &w->batch[i],
			      w->batch[i].buf, err);
	return ret;
}

static void *run_worker(void *opaque)
{
	struct worker *w = opaque;
	struct run *r = w->run;
	struct tide_error err;
	size_t count;
	int ret;

	pthread_mutex_lock(&r->lock);
	while ((count = take(w))) {
		pthread_mutex_unlock(&r->lock);
		ret = work(w, count, &err);
		pthread_mutex_lock(&r->lock);
		if (ret)
			fail(r, ret, &err);
		finish(r, w->batch, count);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

static int no_workers(struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
			      "no memory for the threads that copy");
}

int pump_run(const struct pump *pump, struct tide_error *err)
{
	uint32_t jobs = pump->jobs < MAX_JOBS ? pump->jobs : MAX_JOBS, n = 0;
	struct run r = { .pump = pump,
			 .lock = PTHREAD_MUTEX_INITIALIZER,
			 .turn = PTHREAD_COND_INITIALIZER };
	struct worker *workers = calloc(jobs, sizeof(*workers));
	pthread_t threads[MAX_JOBS];

	for (; workers && n < jobs; n++) {
		workers[n].run = &r;
		workers[n].index = n;
		if (posix_memalign((void **)&workers[n].buf, 4096,
				   PIECE_BYTES))
			break;
		if (pthread_create(&threads[n], NULL, run_worker,
				   &workers[n])) {
			free(workers[n].buf);
			break;
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		free(workers[i].buf);
	}
	free(workers);
	pthread_mutex_destroy(&r.lock);
	pthread_cond_destroy(&r.turn);
	if (!n)
		return no_workers(err);
	if (r.failed && err)
		*err = r.err;
	return r.failed;
}
