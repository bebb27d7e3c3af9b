/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests under way: a list in order of arrival. See ranges.h. */
#include "qcow2/driver/ranges.h"

#include <stddef.h>

int qcow2_ranges_init(struct qcow2_ranges *all)
{
	all->first = all->last = NULL;
	all->changers = all->waiting = 0;
	return -pthread_cond_init(&all->left, NULL);
}

void qcow2_ranges_fini(struct qcow2_ranges *all)
{
	pthread_cond_destroy(&all->left);
}

static void append(struct qcow2_ranges *all, struct qcow2_range *r)
{
	r->next = NULL;
	r->prev = all->last;
	*(all->last ? &all->last->next : &all->first) = r;
	all->last = r;
	all->changers += r->changer;
}

/* Is anything that arrived before @r in its way? */
static bool conflicts(const struct qcow2_ranges *all,
		      const struct qcow2_range *r)
{
	if (!r->changer && !all->changers)
		return false;
	for (const struct qcow2_range *o = r->prev; o; o = o->prev)
		if ((o->changer || r->changer) && o->from < r->to &&
		    r->from < o->to)
			return true;
	return false;
}

bool qcow2_range_begin(struct qcow2_ranges *all, struct qcow2_range *r,
		       uint64_t from, uint64_t to, bool changer,
		       pthread_mutex_t *lock)
{
	bool waited = false;

	r->from = from;
	r->to = to;
	r->changer = changer;
	append(all, r);
	while (conflicts(all, r)) {
		all->waiting++;
		pthread_cond_wait(&all->left, lock);
		all->waiting--;
		waited = true;
	}
	return waited;
}

bool qcow2_range_try(struct qcow2_ranges *all, struct qcow2_range *r,
		     uint64_t from, uint64_t to, bool changer)
{
	r->from = from;
	r->to = to;
	r->changer = changer;
	append(all, r);
	if (!conflicts(all, r))
		return true;
	qcow2_range_end(all, r);
	return false;
}

void qcow2_range_end(struct qcow2_ranges *all, struct qcow2_range *r)
{
	*(r->prev ? &r->prev->next : &all->first) = r->next;
	*(r->next ? &r->next->prev : &all->last) = r->prev;
	all->changers -= r->changer;
	if (all->waiting)
		pthread_cond_broadcast(&all->left);
}
