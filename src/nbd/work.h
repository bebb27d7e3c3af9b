/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers for what would block a loop: above all block status, whose answer
 * may need metadata that is not in memory. A few threads serve all loops,
 * first come first served; a finished job goes back to its loop through a
 * descriptor.
 */
#ifndef TIDE_NBD_WORK_H
#define TIDE_NBD_WORK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct nbd_job {
	void (*run)(struct nbd_job *job); /* on a worker */
	void (*done)(struct nbd_job *job); /* on the loop's thread */
	struct nbd_done *home;
	struct nbd_job *next;
};

/* Where a loop's finished jobs gather. */
struct nbd_done {
	struct nbd_job *jobs; /* atomic: a stack */
	int event_fd; /* rung when the stack was empty; -1: never */
};

struct nbd_work {
	pthread_mutex_t lock; /* all below */
	pthread_cond_t wanted;
	struct nbd_job *first, *last;
	uint32_t idle, threads, max_threads;
	uint32_t queued;
	bool stop;
	pthread_t *ids;
};

/* @threads 0: jobs are run where they are given (tests). 0 or -ENOMEM. */
int nbd_work_init(struct nbd_work *w, uint32_t threads);
/* Every job given is run first. */
void nbd_work_fini(struct nbd_work *w);
void nbd_work_give(struct nbd_work *w, struct nbd_done *home,
		   struct nbd_job *job);
/* Call done for what has finished; how many. On the loop's thread. */
uint32_t nbd_done_collect(struct nbd_done *home);

#endif
