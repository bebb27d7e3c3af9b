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

#include "tidemark/move.h"

#define BYTES (64 * (size_t)TIDE_PAGE_BYTES)

struct world {
	struct tide_slots *near, *far;
	struct tide_set *set;
	char *memory;
	int fd[2][2];
	unsigned int paused, resumed, throttled;
	size_t state_bytes;	/* 0: five of them */
	int refuse;		/* what the target's resume returns */
	bool arrived;
	struct tide_error far_err;
	int far_rc;
};

static int pause_it(void *o, struct tide_error *err)
{
	(void)err;
	((struct world *)o)->paused++;
	return 0;
}

static int resume(void *o, struct tide_error *err)
{
	(void)err;
	((struct world *)o)->resumed++;
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

static int move_state(struct world *w, size_t state_bytes,
		      unsigned int channels, int refuse,
		struct tide_precopy_result *result, struct tide_error *err)
{
	struct tide_slot slot = { .id = 9, .gpa_bytes = 1 << 20,
				  .len_bytes = BYTES };
	struct tide_move_guest g = {
		.pause = pause_it, .resume = resume, .save_state = save,
		.opaque = w,
	};
	pthread_t thread;
	int near[2], rc;

	memset(w, 0, sizeof(*w));
	w->refuse = refuse;
	w->state_bytes = state_bytes;
	w->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(w->memory + 3 * TIDE_PAGE_BYTES, 7, BYTES / 2);
	slot.host = w->memory;
	assert_int_equal(tide_slots_create(&w->near, NULL), 0);
	assert_int_equal(tide_slots_create(&w->far, NULL), 0);
	assert_int_equal(tide_slots_insert(w->near, &slot, NULL), 0);
	assert_int_equal(tide_set_create(&w->set, 1024, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, w->fd[i]),
				 0);
		near[i] = w->fd[i][0];
	}
	g.slots = w->near;
	g.set = w->set;
	pthread_create(&thread, NULL, receive, w);
	rc = tide_move_send(&g, near, channels, NULL, result, err);
	for (int i = 0; i < 2; i++)
		close(near[i]);
	pthread_join(thread, NULL);
	/* All sockets of the receiver were closed, whatever came. */
	assert_int_equal(fcntl(w->fd[0][1], F_GETFD), -1);
	assert_int_equal(fcntl(w->fd[1][1], F_GETFD), -1);
	return rc;
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
		cmocka_unit_test(a_refusal_leaves_nothing),
		cmocka_unit_test(state_has_a_limit),
		cmocka_unit_test(what_a_guest_needs),
		cmocka_unit_test(too_few_sockets),
	};

	return cmocka_run_group_tests_name("move", tests, NULL, NULL);
}
