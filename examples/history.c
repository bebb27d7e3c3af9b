/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One dirty set, two backups that know nothing of each other: one every cut,
 * one every fifth. Both ask the age map what has changed since they were made
 * last, and no page is marked, copied or kept twice for it. The writers push
 * into rings of their own, so that they share no line with each other.
 *
 *	cc history.c $(pkg-config --cflags --libs tidemark) -pthread && ./a.out
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include <tidemark/age.h>
#include <tidemark/ring.h>

#define WRITERS 2u
#define PAGES 65536u
#define WRITES 20000u
#define CUTS 20

static uint32_t disk[PAGES];	/* what the writers change */

struct writer {
	pthread_t thread;
	struct tide_ring *ring;
	uint32_t number;
};

struct backup {
	const char *name;
	uint64_t cut;			/* what it holds is as of this one */
	uint32_t copy[PAGES];
	uint64_t pages, runs;
};

static void *write_pages(void *opaque)
{
	const struct timespec nap = { 0, 200000 };
	struct writer *w = opaque;

	for (uint32_t i = 0; i < WRITES; i++) {
		uint32_t page =
			(i * 7919u % (PAGES / 32)) * WRITERS + w->number;

		__atomic_fetch_add(&disk[page], 1, __ATOMIC_RELAXED);
		tide_ring_push(w->ring, page);	/* after the data */
		if (i % 256 == 0)
			nanosleep(&nap, NULL);
	}
	return NULL;
}

/* All that changed after @b's cut: into its copy, as of cut @now. */
static bool take_backup(struct tide_age *age, struct backup *b, uint64_t now)
{
	struct tide_range r[64];
	struct tide_error err;
	uint64_t cursor = 0;
	size_t n;

	while ((n = tide_age_next(age, b->cut, NULL, &cursor, r, 64)))
		for (size_t i = 0; i < n; i++)
			for (uint64_t p = r[i].first;
			     p < r[i].first + r[i].count; p++, b->pages++)
				b->copy[p] = __atomic_load_n(&disk[p],
							     __ATOMIC_RELAXED);
	/* From here on questions about this cut shall stay exact. */
	if (tide_age_keep(age, now, &err) ||
	    (b->cut && tide_age_drop(age, b->cut, &err))) {
		fprintf(stderr, "history: %s\n", err.text);
		return false;
	}
	b->cut = now;
	b->runs++;
	return true;
}

/* One cut: drain, then cut, then stamp; 0: failed. */
static uint64_t make_cut(struct tide_set *set, struct writer *w,
			 struct tide_age *age)
{
	struct tide_epoch *epoch;
	struct tide_error err;

	for (unsigned int i = 0; i < WRITERS; i++)
		tide_ring_drain(w[i].ring);
	if (tide_set_cut(set, &epoch, &err)) {
		fprintf(stderr, "history: %s\n", err.text);
		return 0;
	}
	tide_age_stamp(age, epoch);
	tide_epoch_commit(epoch);
	return tide_age_cut(age);
}

static bool whole(const struct backup *b)
{
	uint32_t wrong = 0;

	for (uint32_t p = 0; p < PAGES; p++)
		wrong += b->copy[p] != disk[p];
	printf("%s: %" PRIu64 " backups, %" PRIu64 " pages copied, %u wrong\n",
	       b->name, b->runs, b->pages, wrong);
	return !wrong;
}

int main(void)
{
	static struct backup often = { .name = "every cut" },
			     seldom = { .name = "every fifth" };
	struct writer w[WRITERS] = { 0 };
	struct tide_error err;
	struct tide_set *set;
	struct tide_age *age;
	bool good = true;

	if (tide_set_create(&set, PAGES, &err) ||
	    tide_age_create(&age, tide_set_pages(set), &err))
		return 1;
	for (uint32_t i = 0; i < WRITERS; i++) {
		w[i].number = i;
		if (tide_ring_create(&w[i].ring, set, 1024, &err) ||
		    pthread_create(&w[i].thread, NULL, write_pages, &w[i]))
			return 1;
	}
	for (int i = 1; i <= CUTS && good; i++) {
		const struct timespec while_ = { 0, 1000000 };
		uint64_t now;

		nanosleep(&while_, NULL);
		/* The last cut is made when nobody writes any more. */
		for (unsigned int k = 0; k < WRITERS && i == CUTS; k++)
			pthread_join(w[k].thread, NULL);
		now = make_cut(set, w, age);
		good = now && take_backup(age, &often, now) &&
		       (i % 5 || take_backup(age, &seldom, now));
	}
	good = good && whole(&often) && whole(&seldom);
	printf("%" PRIu64 " and %" PRIu64 " pushes found their ring full; "
	       "stamps were renewed %" PRIu64 " times\n",
	       tide_ring_overflows(w[0].ring), tide_ring_overflows(w[1].ring),
	       tide_age_renewals(age));
	if (tide_set_out_of_range(set))
		good = false;		/* somebody counts in other pages */
	for (unsigned int i = 0; i < WRITERS; i++)
		tide_ring_destroy(w[i].ring);
	tide_age_destroy(age);
	tide_set_destroy(set);
	return good ? 0 : 1;
}
