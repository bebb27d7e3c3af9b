/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The other side of a lookup's speed: what a change costs, what the first
 * lookups after it cost, how much memory a slot takes; and how readers fare
 * while slots change.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "slots_bench.h"
#include "tidemark/slots_inline.h"
#include "ticks.h"

#define CHANGES 64
#define FIRST 16

/* --- the library behind the candidates' interface --- */

struct ours {
	struct tide_slots *slots;
	struct tide_slots_reader *reader;
};

static void insert(void *map, const struct tide_slot *slot)
{
	tide_slots_insert(((struct ours *)map)->slots, slot, NULL);
}

static void remove_slot(void *map, uint64_t gpa)
{
	struct ours *m = map;
	struct tide_slot s;

	if (tide_slots_find_gpa(m->slots, gpa, &s))
		tide_slots_remove(m->slots, s.id, NULL);
}

static void destroy(void *map)
{
	struct ours *m = map;

	tide_slots_reader_destroy(m->reader);
	tide_slots_destroy(m->slots);
	free(m);
}

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct ours *m = calloc(1, sizeof(*m));

	if (!m || tide_slots_create(&m->slots, NULL) ||
	    tide_slots_reader_create(m->slots, &m->reader, NULL))
		return NULL;
	if (tide_slots_insert_many(m->slots, slots, n, NULL)) {
		destroy(m);
		return NULL;
	}
	return m;
}

static bool find(void *map, struct slot_cache *unused, uint64_t gpa,
		 struct tide_slot *out)
{
	(void)unused;
	return tide_slots_find_gpa(((struct ours *)map)->slots, gpa, out);
}

static bool find_cached(void *map, struct slot_cache *unused, uint64_t gpa,
			struct tide_slot *out)
{
	(void)unused;
	return tide_slots_inline_find_gpa(((struct ours *)map)->reader, gpa,
					  out);
}

static size_t bytes(const void *map)
{
	return tide_slots_bytes(((const struct ours *)map)->slots);
}

const struct slotmap slotmap_tidemark = { "tidemark", create, destroy, find,
					  find_cached, insert, remove_slot,
					  bytes, 0 };

/* --- changes --- */

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return (a > b) - (a < b);
}

static double median_ns(uint64_t *ticks, size_t n)
{
	qsort(ticks, n, sizeof(*ticks), by_value);
	return bench_ticks_ns(ticks[n / 2]);
}

struct change {
	double remove_ns, insert_ns, first_ns, bytes;
};

/* Take a slot out and put it back, CHANGES times. */
static struct change measure(const struct slotmap *m,
			     const struct slots_work *w)
{
	uint64_t out[CHANGES], in[CHANGES], first[CHANGES], seed = 7, t;
	void *map = m->create(w->slots, w->n);
	struct slot_cache cache;
	struct tide_slot got;
	struct change c = { -1, -1, -1, -1 };

	if (!map)
		return c;
	slot_cache_reset(&cache);
	for (int i = 0; i < CHANGES; i++) {
		const struct tide_slot *s =
			&w->slots[bench_random(&seed) % w->n];
		size_t from = bench_random(&seed) % (w->lookups - FIRST);

		t = bench_ticks();
		m->remove(map, s->gpa_bytes);
		out[i] = bench_ticks() - t;
		t = bench_ticks();
		m->insert(map, s);
		in[i] = bench_ticks() - t;
		slot_cache_reset(&cache);
		t = bench_ticks();
		for (size_t k = from; k < from + FIRST; k++)
			m->find_cached(map, &cache, w->gpa[k], &got);
		first[i] = bench_ticks() - t;
	}
	c.remove_ns = median_ns(out, CHANGES);
	c.insert_ns = median_ns(in, CHANGES);
	c.first_ns = median_ns(first, CHANGES) / FIRST;
	c.bytes = (double)m->bytes(map) / w->n;
	m->destroy(map);
	return c;
}

int bench_slots_change(const struct bench_options *o,
		       const struct slotmap *const *maps, size_t n_maps,
		       const uint32_t *counts, size_t n_counts)
{
	struct slots_work w;

	if (!o->json)
		printf("\nchanges: remove/insert us, then ns for each of the "
		       "first %d lookups; bytes a slot\n", FIRST);
	for (size_t k = 0; k < n_counts; k++) {
		if (slots_work_make(&w, &slots_mixes[2], false, counts[k],
				    4096, o->seed))
			return 1;
		for (size_t i = 0; i < n_maps; i++) {
			struct change c;

			if (!maps[i]->name ||
			    (maps[i]->max && w.n > maps[i]->max))
				continue;
			c = measure(maps[i], &w);
			if (o->json)
				printf("{\"table\":\"slots-change\","
				       "\"slots\":%u,\"name\":\"%s\","
				       "\"remove_ns\":%.0f,"
				       "\"insert_ns\":%.0f,\"first_ns\":%.1f,"
				       "\"bytes_per_slot\":%.1f}\n",
				       w.n, maps[i]->name, c.remove_ns,
				       c.insert_ns, c.first_ns, c.bytes);
			else
				printf("%6u  %-22s %9.2f / %9.2f us %8.1f ns "
				       "%9.1f bytes\n",
				       w.n, maps[i]->name, c.remove_ns / 1e3,
				       c.insert_ns / 1e3, c.first_ns, c.bytes);
		}
		slots_work_fini(&w);
	}
	return 0;
}

/* --- readers beside a writer --- */

#define READER_SLOTS 512

struct race {
	const struct slots_work *w;
	struct tide_slots *slots;
	void *binary; /* the rival: a sorted array under a rwlock */
	pthread_rwlock_t lock;
	bool ours;
	int stop;
	uint64_t lookups;
};

static void *read_on(void *arg)
{
	struct race *r = arg;
	struct tide_slots_reader *reader = NULL;
	struct slot_cache cache;
	struct tide_slot out;
	uint64_t n = 0;

	slot_cache_reset(&cache);
	if (tide_slots_reader_create(r->slots, &reader, NULL))
		return NULL;
	while (!tide__load_relaxed(&r->stop))
		for (size_t i = 0; i < 256; i++, n++) {
			uint64_t gpa = r->w->gpa[n % r->w->lookups];

			if (r->ours) {
				tide_slots_inline_find_gpa(reader, gpa, &out);
				continue;
			}
			pthread_rwlock_rdlock(&r->lock);
			slotmap_binary.find(r->binary, &cache, gpa, &out);
			pthread_rwlock_unlock(&r->lock);
		}
	tide__add_relaxed(&r->lookups, n);
	tide_slots_reader_destroy(reader);
	return NULL;
}

static void change_on(struct race *r, uint64_t until)
{
	const struct timespec pause = { 0, 1000000 };
	uint64_t seed = 3;

	while (tide__now_ns() < until) {
		const struct tide_slot *s =
			&r->w->slots[bench_random(&seed) % r->w->n];

		if (r->ours) {
			tide_slots_remove(r->slots, s->id, NULL);
			tide_slots_insert(r->slots, s, NULL);
		} else {
			pthread_rwlock_wrlock(&r->lock);
			slotmap_binary.remove(r->binary, s->gpa_bytes);
			slotmap_binary.insert(r->binary, s);
			pthread_rwlock_unlock(&r->lock);
		}
		nanosleep(&pause, NULL);
	}
}

static double race_once(struct race *r, bool ours, int threads, uint64_t ns)
{
	pthread_t t[4];
	uint64_t start = tide__now_ns();

	r->ours = ours;
	r->stop = 0;
	r->lookups = 0;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&t[i], NULL, read_on, r))
			return -1;
	change_on(r, start + ns);
	tide__store_relaxed(&r->stop, 1);
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	return (double)r->lookups * 1e3 / (double)(tide__now_ns() - start);
}

int bench_slots_readers(const struct bench_options *o)
{
	uint64_t ns = o->quick ? 50000000 : 500000000;
	struct slots_work w;
	struct race r = { .w = &w };
	struct ours *m;

	if (slots_work_make(&w, &slots_mixes[2], false, READER_SLOTS, 4096,
			    o->seed))
		return 1;
	m = create(w.slots, w.n);
	r.binary = slotmap_binary.create(w.slots, w.n);
	if (!m || !r.binary)
		return 1;
	r.slots = m->slots;
	pthread_rwlock_init(&r.lock, NULL);
	if (!o->json)
		printf("\nreaders of %d slots, 50/49/1 uniform, a change every "
		       "ms: million lookups a second\n", READER_SLOTS);
	for (int threads = 1; threads <= 4; threads *= 2) {
		double ours = race_once(&r, true, threads, ns);
		double lock = race_once(&r, false, threads, ns);

		printf(o->json ? "{\"table\":\"slots-readers\",\"threads\":%d,"
				 "\"tidemark_mops\":%.1f,"
				 "\"rwlock_binary_mops\":%.1f}\n" :
				 "%d threads: tidemark %.1f, binary search "
				 "under a rwlock %.1f\n",
		       threads, ours, lock);
	}
	pthread_rwlock_destroy(&r.lock);
	slotmap_binary.destroy(r.binary);
	destroy(m);
	slots_work_fini(&w);
	return 0;
}
