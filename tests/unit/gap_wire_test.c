/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wire of `tidemark bench gap`: what is sent arrives in its place, and
 * nowhere else, on every socket and in every way; or its figures mean nothing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "bench/gap_wire.h"
#include "seed.h"

#define PAGES 1500u
#define BYTES (PAGES * 4096u)

static const struct gap_socket sockets[] = {
	{ .name = "unix" },
	{ .name = "tcp", .tcp = 1 },
	{ .name = "paced", .tcp = 1, .pace_bytes_per_s = 2000000000 },
};
#define SOCKETS (sizeof(sockets) / sizeof(*sockets))

struct memories {
	unsigned char *from, *to, *want;
};

static int setup(void **state)
{
	struct memories *m = malloc(sizeof(*m));

	m->from = malloc(BYTES);
	m->to = malloc(BYTES);
	m->want = malloc(BYTES);
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct memories *m = *state;

	free(m->from);
	free(m->to);
	free(m->want);
	free(m);
	return 0;
}

/* Ascending runs, single pages to long ones; how many pages. */
static uint64_t random_ranges(uint64_t *rng, struct tide_range *r, size_t *n)
{
	uint64_t at = seed_below(rng, 3), pages = 0;
	uint64_t longest = seed_below(rng, 4) ? 3 : 300;

	for (*n = 0; at < PAGES; ++*n) {
		uint64_t count = 1 + seed_below(rng, longest);

		if (count > PAGES - at)
			count = PAGES - at;
		r[*n] = (struct tide_range){ at, count };
		pages += count;
		at += count + 1 + seed_below(rng, 4);
	}
	return pages;
}

static void send_rounds(struct memories *m, struct gap_wire *w,
			enum gap_way way, uint64_t *rng)
{
	struct tide_range r[PAGES];

	for (int round = 0; round < 4; round++) {
		uint64_t want_pages, pages, ranges;
		size_t n;

		for (size_t i = 0; i < BYTES; i += 8) {
			uint64_t noise = seed_next(rng);

			memcpy(m->from + i, &noise, 8);
		}
		memset(m->to, 0x55, BYTES);
		memset(m->want, 0x55, BYTES);
		want_pages = random_ranges(rng, r, &n);
		for (size_t i = 0; i < n; i++)
			memcpy(m->want + r[i].first * 4096,
			       m->from + r[i].first * 4096, r[i].count * 4096);
		gap_wire_send(w, r, n / 2);
		gap_wire_send(w, r + n / 2, n - n / 2);
		assert_int_equal(gap_wire_end(w, &pages, &ranges), 0);
		assert_int_equal(pages, want_pages);
		if (way != GAP_FRAME)	/* frames end after 64 pages */
			assert_int_equal(ranges, n);
		assert_memory_equal(m->to, m->want, BYTES);
	}
}

static void test_arrives(void **state)
{
	uint64_t rng = seed_of("gap_wire", 20261121);

	for (size_t s = 0; s < SOCKETS; s++)
		for (int way = 0; way < GAP_WAYS; way++) {
			struct memories *m = *state;
			struct gap_wire *w;

			assert_int_equal(gap_wire_open(&w, &sockets[s],
						       (enum gap_way)way,
						       m->from, m->to, PAGES),
					 0);
			send_rounds(m, w, (enum gap_way)way, &rng);
			assert_int_equal(gap_wire_close(w), 0);
		}
}

static void test_refuses_outside(void **state)
{
	static const struct tide_range bad[] = {
		{ 0, 0 }, { PAGES, 1 }, { PAGES - 1, 2 }, { 1, UINT64_MAX },
		{ UINT64_MAX, 2 },
	};
	struct memories *m = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		for (int way = 0; way < GAP_WAYS; way++) {
			struct tide_range good = { 3, 1 };
			uint64_t pages, ranges;
			struct gap_wire *w;

			assert_int_equal(gap_wire_open(&w, &sockets[0],
						       (enum gap_way)way,
						       m->from, m->to, PAGES),
					 0);
			gap_wire_send(w, &bad[i], 1);
			gap_wire_send(w, &good, 1);	/* too late */
			assert_int_equal(gap_wire_end(w, &pages, &ranges),
					 -EINVAL);
			assert_int_equal(pages, 0);
			assert_int_equal(gap_wire_close(w), -EINVAL);
		}
}

static void test_nothing_sent(void **state)
{
	struct memories *m = *state;

	gap_wire_close(NULL);
	for (int way = 0; way < GAP_WAYS; way++) {
		uint64_t pages = 7, ranges = 7;
		struct gap_wire *w;

		assert_int_equal(gap_wire_open(&w, &sockets[0],
					       (enum gap_way)way, m->from,
					       m->to, PAGES), 0);
		assert_int_equal(gap_wire_end(w, &pages, &ranges), 0);
		assert_int_equal(pages + ranges, 0);
		assert_int_equal(gap_wire_close(w), 0);
		assert_int_equal(gap_wire_open(&w, &sockets[1],
					       (enum gap_way)way, m->from,
					       m->to, PAGES), 0);
		assert_int_equal(gap_wire_close(w), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_arrives, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses_outside, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_nothing_sent, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
