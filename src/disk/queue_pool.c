/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The queue's workers: threads that carry out blocking operations.
 *
 * They are started one by one, when there is work and nobody idle, up to
 * MAX_WORKERS, and live until the queue goes. Work is handed out under a
 * lock; what is finished goes on a stack that the queue takes as a whole, and
 * who finds the stack empty rings the event: one wakeup for many results.
 *
 * Small writes into the page cache of one file wait for each other inside the
 * kernel. For such there are lanes: one worker at a time empties a lane, all
 * that has gathered there in one go, and hands results back in bunches.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomic.h"
#include "disk/disk_internal.h"
#include "disk/queue_internal.h"

#define MAX_WORKERS 16
#define BUNCH 8

struct tide__pool {
	pthread_mutex_t lock; /* todo, idle, stop, workers */
	pthread_cond_t work;
	struct io_list todo;
	uint32_t todo_count, idle, workers; /* todo_count: ready lanes, too */
	struct io_list lanes[LANES];
	uint32_t ready; /* a bit for each lane that no worker looks after */
	uint32_t busy; /* and for each that one does */
	bool stop;
	pthread_t threads[MAX_WORKERS];
	struct tide_io *done; /* atomic: a stack by ->next */
	int event_fd;
};

static int run_discard(struct tide_disk *d, const struct tide_io *io)
{
	int ret = d->ops->discard(d, io->offset_bytes, io->length_bytes, NULL);

	return ret || !(io->flags & TIDE_FUA) ? ret : d->ops->flush(d, NULL);
}

int tide__io_run(struct tide_io *io)
{
	struct tide_disk *d = io->disk;
	struct tide_vec v;

	switch (io->op) {
	case TIDE_IO_READ:
		v = tide__io_vec(io);
		return tide__disk_run_read(d, io->offset_bytes, &v, NULL);
	case TIDE_IO_WRITE:
		v = tide__io_vec(io);
		return tide__disk_run_write(d, io->offset_bytes, &v, io->flags,
					    NULL);
	case TIDE_IO_ZERO:
		return tide_disk_zero(d, io->offset_bytes, io->length_bytes,
				      io->flags, NULL);
	case TIDE_IO_DISCARD:
		return run_discard(d, io);
	case TIDE_IO_FLUSH:
		return d->ops->flush(d, NULL);
	}
	return -EINVAL;
}

static void ring_event(int fd)
{
	uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* The chain from @first to @last, linked by ->next. */
static void push_done(struct tide__pool *pool, struct tide_io *first,
		      struct tide_io *last)
{
	/* Relaxed: the exchange below orders, and corrects a stale head. */
	struct tide_io *head = tide__load_relaxed(&pool->done);

	do
		last->next = head;
	while (!tide__cas_seqcst(&pool->done, head, first)); /* with collect */
	if (!head)
		ring_event(pool->event_fd);
}

/* What a worker has to do: one request, or all that is in a lane. */
struct job {
	struct tide_io *first; /* NULL: the pool stops */
	uint32_t lane; /* LANES: none */
};

static struct tide_io *empty_lane(struct tide__pool *pool, uint32_t lane)
{
	struct tide_io *first = pool->lanes[lane].head;

	pool->lanes[lane] = (struct io_list){ 0 };
	return first;
}

static struct job next_job(struct tide__pool *pool)
{
	struct job job = { .lane = LANES };

	pthread_mutex_lock(&pool->lock);
	pool->idle++;
	while (!pool->todo_count && !pool->stop)
		pthread_cond_wait(&pool->work, &pool->lock);
	pool->idle--;
	if (pool->todo_count)
		pool->todo_count--;
	if (pool->ready) {
		job.lane = (uint32_t)__builtin_ctz(pool->ready);
		pool->ready &= ~(1u << job.lane);
		pool->busy |= 1u << job.lane;
		job.first = empty_lane(pool, job.lane);
	} else {
		job.first = io_list_take(&pool->todo);
	}
	pthread_mutex_unlock(&pool->lock);
	return job;
}

/* One after the other; @io is the first of a chain. */
static void run_chain(struct tide__pool *pool, struct tide_io *io)
{
	struct tide_io *first = NULL, *last = NULL, *next;
	uint32_t n = 0;

	for (; io; io = next) {
		next = io->next;
		io->result = tide__io_run(io);
		if (last)
			last->next = io;
		else
			first = io;
		last = io;
		if (++n % BUNCH && next)
			continue;
		push_done(pool, first, last);
		first = last = NULL;
	}
}

static void run_lane(struct tide__pool *pool, struct job *job)
{
	while (job->first) {
		run_chain(pool, job->first);
		pthread_mutex_lock(&pool->lock);
		job->first = empty_lane(pool, job->lane);
		if (!job->first)
			pool->busy &= ~(1u << job->lane);
		pthread_mutex_unlock(&pool->lock);
	}
}

static void *work(void *arg)
{
	struct tide__pool *pool = arg;
	struct job job;

	while ((job = next_job(pool)).first)
		if (job.lane < LANES) {
			run_lane(pool, &job);
		} else {
			job.first->result = tide__io_run(job.first);
			push_done(pool, job.first, job.first);
		}
	return NULL;
}

static struct tide__pool *pool_create(int event_fd)
{
	struct tide__pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pool->event_fd = event_fd;
	return pool;
}

/* Signals are for the program's own threads. */
static void add_worker(struct tide__pool *pool)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&pool->threads[pool->workers], NULL, work, pool))
		pool->workers++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Under the lock: is there, or will there be, somebody for one job more? */
static bool has_worker(struct tide__pool *pool)
{
	if (pool->todo_count >= pool->idle && pool->workers < MAX_WORKERS)
		add_worker(pool);
	return pool->workers > 0;
}

static struct tide__pool *pool_of(struct tide_queue *q)
{
	if (!q->pool)
		q->pool = pool_create(q->event_fd);
	return q->pool;
}

bool tide__pool_give(struct tide_queue *q, struct tide_io *io)
{
	struct tide__pool *pool = pool_of(q);
	bool taken;

	if (!pool)
		return false;
	pthread_mutex_lock(&pool->lock);
	taken = has_worker(pool);
	if (taken) {
		io_list_add(&pool->todo, io);
		pool->todo_count++;
	}
	pthread_mutex_unlock(&pool->lock);
	if (!taken)
		return false;
	pthread_cond_signal(&pool->work);
	q->in_workers++;
	return true;
}

bool tide__pool_expect(struct tide_io *io)
{
	if (!pool_of(io->queue))
		return false;
	io->queue->in_workers++;
	return true;
}

/* Under the lock: the queue may be destroyed as soon as @io is seen there. */
void tide__pool_push(struct tide_io *io)
{
	struct tide__pool *pool = io->queue->pool;

	pthread_mutex_lock(&pool->lock);
	push_done(pool, io, io);
	pthread_mutex_unlock(&pool->lock);
}

void tide__pool_give_in_order(struct tide_io *io)
{
	struct tide_queue *q = io->queue;
	/* Disks are far from each other in memory: any bits will do. */
	uint32_t lane = (uint32_t)((uintptr_t)io->disk >> 8) % LANES;

	io_list_add(&q->lanes[lane], io);
	q->in_workers++;
}

/* Under the lock. True: a worker is to be woken for it. */
static bool fill_lane(struct tide__pool *pool, uint32_t lane,
		      struct io_list *list)
{
	struct io_list *to = &pool->lanes[lane];

	if (to->tail)
		to->tail->next = list->head;
	else
		to->head = list->head;
	to->tail = list->tail;
	*list = (struct io_list){ 0 };
	if ((pool->busy | pool->ready) >> lane & 1)
		return false;
	pool->ready |= 1u << lane;
	pool->todo_count++;
	return true;
}

/* No memory, no threads: everything here and now. */
static void run_here(struct tide_queue *q, struct io_list *list)
{
	struct tide_io *io;

	while ((io = io_list_take(list))) {
		q->in_workers--;
		tide_io_complete(io, tide__io_run(io));
	}
}

static void turn_lane(struct tide_queue *q, uint32_t lane)
{
	struct tide__pool *pool = pool_of(q);
	bool taken = false, wake = false;

	if (pool) {
		pthread_mutex_lock(&pool->lock);
		taken = has_worker(pool);
		if (taken)
			wake = fill_lane(pool, lane, &q->lanes[lane]);
		pthread_mutex_unlock(&pool->lock);
	}
	if (!taken)
		run_here(q, &q->lanes[lane]);
	if (wake)
		pthread_cond_signal(&pool->work);
}

void tide__pool_turn(struct tide_queue *q)
{
	for (uint32_t lane = 0; lane < LANES; lane++)
		if (q->lanes[lane].head)
			turn_lane(q, lane);
}

void tide__pool_collect(struct tide_queue *q)
{
	struct tide_io *io, *next;

	if (!q->in_workers || !q->pool)
		return;
	/* Pairs with the exchange in push_done: results are seen. */
	io = tide__swap_seqcst(&q->pool->done, NULL);
	for (; io; io = next) {
		next = io->next;
		q->in_workers--;
		if (io->result == TIDE__AGAIN)
			tide__io_begin(io);
		else
			tide_io_complete(io, io->result);
	}
}

static int hear(struct tide_queue *q, int timeout_ms)
{
	struct pollfd event = { .fd = q->event_fd, .events = POLLIN };
	uint64_t count;
	int n = poll(&event, 1, timeout_ms);

	if (n <= 0)
		return n == 0 || errno == EINTR ? 0 : -errno;
	if (read(q->event_fd, &count, sizeof(count)) < 0 && errno != EINTR)
		return -errno;
	return 0;
}

void tide__pool_hear(struct tide_queue *q)
{
	if (q->pool)
		hear(q, 0);
}

int tide__pool_wait(struct tide_queue *q)
{
	return hear(q, -1);
}

void tide__pool_destroy(struct tide_queue *q)
{
	struct tide__pool *pool = q->pool;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_mutex_unlock(&pool->lock);
	pthread_cond_broadcast(&pool->work);
	for (uint32_t i = 0; i < pool->workers; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	q->pool = NULL;
}
