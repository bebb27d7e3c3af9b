/* SPDX-License-Identifier: BSD-2-Clause */
/* The common case in one call: what it refuses, and what a failure leaves. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/atomic.h"
#include "seed.h"
#include "tidemark/move.h"
#include "tidemark/scan.h"
#include "tidemark/source_driver.h"

#define PAGES 64u	/* a word of a bitmap */
#define BYTES (PAGES * (size_t)TIDE_PAGE_BYTES)
#define GPA (1ull << 20)

/*
 * A guest that writes, and a card that logs it: a source of the caller's own.
 */
struct writer {
	pthread_t thread;
	uint64_t log;		/* a bit a page, after its data */
	uint64_t writes, harvests;
	bool run, writing, quit;
};

struct world {
	struct tide_slots *near, *far;
	struct tide_set *set;
	char *memory;
	int fd[2][2];
	unsigned int paused, resumed, throttled;
	size_t state_bytes;	/* 0: five of them */
	int refuse;		/* what the target's resume returns */
	bool arrived;
	struct writer writer;
	struct tide_error far_err;
	int far_rc;
};

static int pause_it(void *o, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	w->paused++;
	tide__store_seqcst(&w->writer.run, false);
	while (tide__load_seqcst(&w->writer.writing))
		;
	return 0;
}

static int resume(void *o, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	w->resumed++;
	tide__store_seqcst(&w->writer.run, true);
	return 0;
}

static int save(void *o, void **state, size_t *len, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	*len = w->state_bytes ? w->state_bytes : 5;
	*state = w->state_bytes ? calloc(1, *len) : strdup("tide");
	return *state ? 0 : -ENOMEM;
}

static int load(void *o, const struct tide_slots *slots, const void *state,
		size_t len, struct tide_error *err)
{
	struct world *w = o;
	struct tide_slot s;

	(void)err;
	assert_ptr_equal(slots, w->far);
	assert_int_equal(len, w->state_bytes ? w->state_bytes : 5);
	if (!w->state_bytes)
		assert_string_equal(state, "tide");
	assert_true(tide_slots_find_id(slots, 9, &s));
	assert_memory_equal(s.host, w->memory, BYTES);
	return 0;
}

static int run(void *o, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	w->arrived = !w->refuse;
	return w->refuse;
}

static void *receive(void *o)
{
	struct world *w = o;
	const struct tide_move_target t = { load, run, w };
	const int fds[2] = { w->fd[0][1], w->fd[1][1] };

	w->far_rc = tide_move_receive(&t, fds, 2, w->far, NULL, NULL,
				      &w->far_err);
	return NULL;
}

static void begin(struct world *w)
{
	struct tide_slot slot = { .id = 9, .gpa_bytes = GPA,
				  .len_bytes = BYTES };

	memset(w, 0, sizeof(*w));
	w->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(w->memory + 3 * TIDE_PAGE_BYTES, 7, BYTES / 2);
	slot.host = w->memory;
	assert_int_equal(tide_slots_create(&w->near, NULL), 0);
	assert_int_equal(tide_slots_create(&w->far, NULL), 0);
	assert_int_equal(tide_slots_insert(w->near, &slot, NULL), 0);
	assert_int_equal(tide_set_create(&w->set, 1024, NULL), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, w->fd[i]),
				 0);
}

static int go(struct world *w, struct tide_source *source,
	      unsigned int channels, struct tide_precopy_result *result,
	      struct tide_error *err)
{
	const int near[2] = { w->fd[0][0], w->fd[1][0] };
	const struct tide_move_guest g = {
		.slots = w->near, .source = source,
		.set = source ? NULL : w->set,
		.pause = pause_it, .resume = resume, .save_state = save,
		.opaque = w,
	};
	pthread_t thread;
	int ret;

	pthread_create(&thread, NULL, receive, w);
	ret = tide_move_send(&g, near, channels, NULL, result, err);
	for (int i = 0; i < 2; i++)
		close(near[i]);
	pthread_join(thread, NULL);
	/* All sockets of the receiver were closed, whatever came. */
	assert_int_equal(fcntl(w->fd[0][1], F_GETFD), -1);
	assert_int_equal(fcntl(w->fd[1][1], F_GETFD), -1);
	return ret;
}

static int move_state(struct world *w, size_t state_bytes,
		      unsigned int channels, int refuse,
		      struct tide_precopy_result *result,
		      struct tide_error *err)
{
	begin(w);
	w->refuse = refuse;
	w->state_bytes = state_bytes;
	return go(w, NULL, channels, result, err);
}

static int move(struct world *w, unsigned int channels, int refuse,
		struct tide_precopy_result *result, struct tide_error *err)
{
	return move_state(w, 0, channels, refuse, result, err);
}

static void end(struct world *w)
{
	tide_move_unmap(w->far);
	assert_int_equal(tide_slots_count(w->far), 0);
	tide_slots_destroy(w->near);
	tide_slots_destroy(w->far);
	tide_set_destroy(w->set);
	munmap(w->memory, BYTES);
}

static void moves(void **state)
{
	struct tide_precopy_result result;
	struct tide_error err;
	struct world w;

	(void)state;
	for (unsigned int channels = 1; channels <= 2; channels++) {
		if (move(&w, channels, 0, &result, &err))
			fail_msg("%s", err.text);
		assert_int_equal(w.far_rc, 0);
		assert_int_equal(result.outcome, TIDE_PRECOPY_MOVED);
		assert_true(w.arrived && w.paused == 1 && !w.resumed);
		assert_int_equal(tide_slots_count(w.far), 1);
		end(&w);
	}
}

static void write_one(struct world *w, uint64_t *rng)
{
	uint64_t page = seed_below(rng, PAGES), word = seed_below(rng, 512);

	tide__add_relaxed((uint64_t *)(w->memory + page * TIDE_PAGE_BYTES) +
			  word, 1);
	__atomic_fetch_or(&w->writer.log, 1ull << page, __ATOMIC_RELEASE);
	tide__add_relaxed(&w->writer.writes, 1);
}

static void *write_on(void *o)
{
	struct world *w = o;
	uint64_t rng = 1;

	while (!tide__load_seqcst(&w->writer.quit)) {
		tide__store_seqcst(&w->writer.writing, true);
		if (tide__load_seqcst(&w->writer.run))
			write_one(w, &rng);
		tide__store_seqcst(&w->writer.writing, false);
		usleep(50);
	}
	return NULL;
}

static int watch(void *card, const struct tide_slot *slot,
		 struct tide_error *err)
{
	(void)card;
	(void)slot;
	(void)err;
	return 0;
}

static int harvest(void *card, struct tide_set *set, uint64_t *pages,
		   struct tide_error *err)
{
	struct writer *w = card;
	uint64_t word = __atomic_exchange_n(&w->log, 0, __ATOMIC_ACQUIRE);

	(void)err;
	w->harvests++;
	tide_set_merge_bitmap(set, GPA / TIDE_PAGE_BYTES, &word, PAGES);
	*pages += tide_bitmap_count(&word, PAGES);
	return 0;
}

/* What an embedder's own source sees is all that a move goes by. */
static void a_source_of_ones_own(void **state)
{
	const struct tide_source_driver card = {
		.struct_size = sizeof(card), .name = "card", .watch = watch,
		.unwatch = watch, .harvest = harvest,
	};
	struct tide_precopy_result result;
	struct tide_source *source;
	struct tide_error err;
	struct world w;

	(void)state;
	for (int i = 0; i < 5; i++) {
		begin(&w);
		assert_int_equal(tide_source_create_driver(&source, &card,
							 &w.writer, &err), 0);
		w.writer.run = true;
		pthread_create(&w.writer.thread, NULL, write_on, &w);
		while (tide__load_relaxed(&w.writer.writes) < 100)
			usleep(100);
		/* Compared when the state is loaded, while nobody writes. */
		if (go(&w, source, 2, &result, &err))
			fail_msg("%s", err.text);
		tide__store_seqcst(&w.writer.quit, true);
		pthread_join(w.writer.thread, NULL);
		assert_true(w.arrived && w.paused == 1);
		assert_true(w.writer.harvests >= 2);
		tide_source_destroy(source);
		end(&w);
	}
}

static void a_refusal_leaves_nothing(void **state)
{
	struct tide_error err;
	struct world w;

	(void)state;
	assert_true(move(&w, 1, -EIO, NULL, &err) < 0);
	assert_non_null(strstr(err.text, "resume failed"));
	assert_int_equal(w.far_rc, -EIO);
	assert_int_equal(w.resumed, 1);		/* it runs on here */
	assert_int_equal(tide_slots_count(w.far), 0);
	end(&w);
}

/* As much device state as may be, and a byte more. */
static void state_has_a_limit(void **state)
{
	struct tide_error err;
	struct world w;

	(void)state;
	if (move_state(&w, TIDE_PRECOPY_MAX_STATE_BYTES, 1, 0, NULL, &err))
		fail_msg("%s", err.text);
	assert_true(w.arrived);
	end(&w);
	assert_int_equal(move_state(&w, TIDE_PRECOPY_MAX_STATE_BYTES + 1, 1, 0,
				    NULL, &err), -EFBIG);
	assert_true(!w.arrived && w.resumed == 1);
	end(&w);
}

static void what_a_guest_needs(void **state)
{
	struct tide_move_guest g = { .slots = NULL };
	struct tide_precopy_result result;
	struct tide_error err;
	int none = -1;

	(void)state;
	assert_int_equal(tide_move_send(&g, &none, 1, NULL, &result, &err),
			 -EINVAL);
	assert_int_equal(result.outcome, TIDE_PRECOPY_ROLLED_BACK);
	assert_non_null(strstr(err.text, "a source or a set"));
}

/* The source joins more channels than there are sockets. */
static void too_few_sockets(void **state)
{
	struct tide_slots *slots;
	struct tide_error err;
	int pair[2];
	const struct tide_move_target t = { load, run, NULL };

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pair[0]);
	assert_int_equal(tide_move_receive(&t, pair, 0, slots, NULL, NULL,
					   &err), -EPROTO);
	assert_non_null(strstr(err.text, "more channels than the 0"));
	close(pair[1]);
	tide_slots_destroy(slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves),
		cmocka_unit_test(a_source_of_ones_own),
		cmocka_unit_test(a_refusal_leaves_nothing),
		cmocka_unit_test(state_has_a_limit),
		cmocka_unit_test(what_a_guest_needs),
		cmocka_unit_test(too_few_sockets),
	};

	return cmocka_run_group_tests_name("move", tests, NULL, NULL);
}
