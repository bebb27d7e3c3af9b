/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests under way on one image, so that they do not run into each other.
 *
 * A plain request (read, write in place) uses the mapping as it is; a changer
 * (allocation, copy on write, zero, discard) replaces it. Plain requests never
 * wait for plain ones. A changer waits for everything registered before it
 * that shares a cluster with it, and what comes later waits for the changer:
 * so a host cluster cannot be given back while a request is still on it, and
 * two first writes into one cluster do not both allocate. Everybody waits only
 * for earlier ones and holds one registration at a time: no deadlock.
 */
#ifndef TIDE_QCOW2_DRIVER_RANGES_H
#define TIDE_QCOW2_DRIVER_RANGES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct qcow2_range {
	struct qcow2_range *prev, *next;
	uint64_t from, to; /* guest bytes, whole clusters */
	bool changer;
};

struct qcow2_ranges {
	struct qcow2_range *first, *last; /* in order of arrival */
	uint32_t changers;
	uint32_t waiting;
	pthread_cond_t left; /* with the image's lock */
};

int qcow2_ranges_init(struct qcow2_ranges *all);
void qcow2_ranges_fini(struct qcow2_ranges *all);

/*
 * Register @r for guest bytes [from, to) and wait until nothing earlier
 * conflicts. The lock is dropped while waiting: true if it was, and the caller
 * must look at the mapping again.
 */
bool qcow2_range_begin(struct qcow2_ranges *all, struct qcow2_range *r,
		       uint64_t from, uint64_t to, bool changer,
		       pthread_mutex_t *lock);
/* The same without waiting; false: there is a conflict, not registered. */
bool qcow2_range_try(struct qcow2_ranges *all, struct qcow2_range *r,
		     uint64_t from, uint64_t to, bool changer);
void qcow2_range_end(struct qcow2_ranges *all, struct qcow2_range *r);

#endif
