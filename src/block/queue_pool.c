/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The queue's workers: threads that carry out blocking operations.
 *
 * They are started one by one, when there is work and nobody idle, up to
 * MOST_WORKERS, and live until the queue goes. Work is handed out under a
 * lock; what is finished goes on a stack that the queue takes as a whole, and
 * who finds the stack empty rings the event: one wakeup for many results.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomic.h"
#include "block/disk.h"
#include "block/queue_internal.h"

#define MOST_WORKERS 16

struct tide__pool {
	pthread_mutex_t lock; /* todo, idle, stop, workers */
	pthread_cond_t work;
	struct io_list todo;
	uint32_t todo_count, idle, workers;
	bool stop;
	pthread_t threads[MOST_WORKERS];
	struct tide_io *done; /* atomic: a stack by ->next */
	int event_fd;
};

int tide__io_run(struct tide_io *io)
{
	struct tide_disk *d = io->disk;

	switch (io->op) {
	case TIDE_IO_READ:
		return d->ops->read(d, io->offset_bytes, io->buf,
				    io->length_bytes, NULL);
	case TIDE_IO_WRITE:
		return d->ops->write(d, io->offset_bytes, io->buf,
				     io->length_bytes, NULL);
	case TIDE_IO_ZERO:
		return d->ops->zero(d, io->offset_bytes, io->length_bytes,
				    io->flags, NULL);
	case TIDE_IO_DISCARD:
		return d->ops->discard(d, io->offset_bytes, io->length_bytes,
				       NULL);
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

static void push_done(struct tide__pool *pool, struct tide_io *io)
{
	/* Relaxed: the exchange below orders, and corrects a stale head. */
	struct tide_io *head = tide__load_relaxed(&pool->done);

	do
		io->next = head;
	while (!tide__cas_seqcst(&pool->done, head, io)); /* with collect */
	if (!head)
		ring_event(pool->event_fd);
}

static struct tide_io *next_work(struct tide__pool *pool)
{
	struct tide_io *io;

	pthread_mutex_lock(&pool->lock);
	pool->idle++;
	while (!pool->todo.head && !pool->stop)
		pthread_cond_wait(&pool->work, &pool->lock);
	pool->idle--;
	io = io_list_take(&pool->todo);
	if (io)
		pool->todo_count--;
	pthread_mutex_unlock(&pool->lock);
	return io;
}

static void *work(void *arg)
{
	struct tide__pool *pool = arg;
	struct tide_io *io;

	while ((io = next_work(pool))) {
		io->result = tide__io_run(io);
		push_done(pool, io);
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

bool tide__pool_give(struct tide_queue *q, struct tide_io *io)
{
	struct tide__pool *pool = q->pool;
	bool taken;

	if (!pool)
		pool = q->pool = pool_create(q->event_fd);
	if (!pool)
		return false;
	pthread_mutex_lock(&pool->lock);
	if (pool->todo_count >= pool->idle && pool->workers < MOST_WORKERS)
		add_worker(pool);
	taken = pool->workers > 0;
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

void tide__pool_collect(struct tide_queue *q)
{
	struct tide_io *io, *next;

	if (!q->in_workers)
		return;
	/* Pairs with the exchange in push_done: results are seen. */
	io = tide__swap_seqcst(&q->pool->done, NULL);
	for (; io; io = next) {
		next = io->next;
		q->in_workers--;
		tide_io_complete(io, io->result);
	}
}

int tide__pool_wait(struct tide_queue *q)
{
	struct pollfd event = { .fd = q->event_fd, .events = POLLIN };
	uint64_t count;

	if (poll(&event, 1, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (read(q->event_fd, &count, sizeof(count)) < 0 && errno != EINTR)
		return -errno;
	return 0;
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
