/* SPDX-License-Identifier: BSD-2-Clause */
#include "nbd/work.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"

int nbd_work_init(struct nbd_work *w, uint32_t threads)
{
	memset(w, 0, sizeof(*w));
	w->ids = calloc(threads ? threads : 1, sizeof(*w->ids));
	if (!w->ids)
		return -ENOMEM;
	w->max_threads = threads;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wanted, NULL);
	return 0;
}

static void push_done(struct nbd_done *home, struct nbd_job *job)
{
	/* Relaxed: the exchange below orders, and corrects a stale head. */
	struct nbd_job *head = tide__load_relaxed(&home->jobs);
	int fd = home->event_fd;
	uint64_t one = 1;

	do
		job->next = head;
	while (!tide__cas_seqcst(&home->jobs, head, job)); /* with collect */
	if (head || fd < 0)
		return;
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

uint32_t nbd_done_collect(struct nbd_done *home)
{
	/* Pairs with the exchange in push_done: results are seen. */
	struct nbd_job *job = tide__swap_seqcst(&home->jobs, NULL), *next;
	struct nbd_job *first = NULL;
	uint32_t n = 0;

	/* The last one is on top: turned round, they come as they ended. */
	for (; job; job = next) {
		next = job->next;
		job->next = first;
		first = job;
	}
	for (; first; first = next, n++) {
		next = first->next;
		first->done(first);
	}
	return n;
}

static struct nbd_job *next_job(struct nbd_work *w)
{
	struct nbd_job *job;

	pthread_mutex_lock(&w->lock);
	w->idle++;
	while (!w->first && !w->stop)
		pthread_cond_wait(&w->wanted, &w->lock);
	w->idle--;
	job = w->first;
	if (job) {
		w->queued--;
		w->first = job->next;
		if (!w->first)
			w->last = NULL;
	}
	pthread_mutex_unlock(&w->lock);
	return job;
}

static void *worker(void *arg)
{
	struct nbd_work *w = arg;
	struct nbd_job *job;

	while ((job = next_job(w))) {
		job->run(job);
		push_done(job->home, job);
	}
	return NULL;
}

/* Under the lock. Signals are for the program's own threads. */
static void add_worker(struct nbd_work *w)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (!pthread_create(&w->ids[w->threads], NULL, worker, w))
		w->threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* False: there is nobody, and there will be nobody. */
static bool enqueue(struct nbd_work *w, struct nbd_job *job)
{
	bool taken;

	pthread_mutex_lock(&w->lock);
	if (w->queued >= w->idle && w->threads < w->max_threads)
		add_worker(w);
	taken = w->threads > 0;
	if (taken) {
		job->next = NULL;
		if (w->last)
			w->last->next = job;
		else
			w->first = job;
		w->last = job;
		w->queued++;
	}
	pthread_mutex_unlock(&w->lock);
	return taken;
}

void nbd_work_give(struct nbd_work *w, struct nbd_done *home,
		   struct nbd_job *job)
{
	job->home = home;
	if (enqueue(w, job)) {
		pthread_cond_signal(&w->wanted);
		return;
	}
	job->run(job);
	push_done(home, job);
}

void nbd_work_fini(struct nbd_work *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_mutex_unlock(&w->lock);
	pthread_cond_broadcast(&w->wanted);
	for (uint32_t i = 0; i < w->threads; i++)
		pthread_join(w->ids[i], NULL);
	pthread_cond_destroy(&w->wanted);
	pthread_mutex_destroy(&w->lock);
	free(w->ids);
}
