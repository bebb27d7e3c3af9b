/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk that is to stand still: whoever waits for its writes keeps nobody else
 * waiting, not the tick of the server, and not who offers its points.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cbt_world.h"
#include "cli/serve_hold.h"

struct asking {
	pthread_t thread;
	struct serve_disk *d;
	json_t *request, *answer;
};

static void *ask_hold(void *arg)
{
	struct asking *a = arg;

	a->answer = serve_hold(a->d, a->request);
	return NULL;
}

static enum serve_hold_state state_of(struct serve_disk *d)
{
	enum serve_hold_state state;

	pthread_mutex_lock(&d->lock);
	state = d->hold.state;
	pthread_mutex_unlock(&d->lock);
	return state;
}

static void begin(struct asking *a, struct serve_disk *d)
{
	a->d = d;
	a->request = json_pack("{s:i}", "limit_ms", 60000);
	assert_int_equal(pthread_create(&a->thread, NULL, ask_hold, a), 0);
	while (state_of(d) != SERVE_TAKING)
		usleep(1000);
}

static bool has(const json_t *answer, const char *key)
{
	return json_object_get(answer, key);
}

static void end(struct asking *a, const char *key)
{
	pthread_join(a->thread, NULL);
	assert_true(has(a->answer, key));
	json_decref(a->answer);
	json_decref(a->request);
}

static void refused(json_t *answer, const char *why)
{
	const char *text = json_string_value(json_object_get(answer, "error"));

	assert_non_null(text);
	assert_non_null(strstr(text, why));
	json_decref(answer);
}

/* A write is under way for as long as it is looked at. */
static void test_waiting(void **state)
{
	static struct serve_disk d = { .name = "d" };
	struct serve_disks disks = { .list = &d, .count = 1 };
	struct asking a;
	struct world w;
	json_t *empty = json_object(), *answer;

	(void)state;
	world_init(&w, MAX_BYTES);
	world_open(&w);
	pthread_mutex_init(&d.lock, NULL);
	d.cbt = w.c;
	assert_true(cbt_gate_enter(&w.c->gate));
	begin(&a, &d);
	serve_hold_tick(&disks, false);
	serve_offer(&d);
	refused(serve_hold(&d, a.request), "held already");
	refused(serve_release(&disks, &d, empty), "not held");
	assert_int_equal(state_of(&d), SERVE_TAKING);
	cbt_gate_leave(&w.c->gate);
	end(&a, "held");
	assert_false(cbt_gate_enter(&w.c->gate));
	answer = serve_release(&disks, &d, empty);
	assert_true(has(answer, "done"));
	json_decref(answer);
	assert_true(cbt_gate_enter(&w.c->gate));
	/* The server ends meanwhile: nothing stays held. */
	begin(&a, &d);
	serve_hold_tick(&disks, true);
	cbt_gate_leave(&w.c->gate);
	end(&a, "error");
	assert_int_equal(state_of(&d), SERVE_FREE);
	assert_true(cbt_gate_enter(&w.c->gate));
	cbt_gate_leave(&w.c->gate);
	json_decref(empty);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	pthread_mutex_destroy(&d.lock);
	world_fini(&w);
}

/* Away, although the store fails: nobody is told that it stays. */
static void test_moved(void **state)
{
	static struct serve_disk d = { .name = "d" };
	struct serve_disks disks = { .list = &d, .count = 1 };
	json_t *limit = json_pack("{s:i}", "limit_ms", 60000);
	json_t *moved = json_pack("{s:b, s:s}", "moved", 1, "to", "there");
	json_t *answer;
	struct world w;

	(void)state;
	world_init(&w, MAX_BYTES);
	world_open(&w);
	pthread_mutex_init(&d.lock, NULL);
	d.cbt = w.c;
	answer = serve_hold(&d, limit);
	assert_true(has(answer, "held"));
	json_decref(answer);
	world_fail_with = 28;
	answer = serve_release(&disks, &d, moved);
	world_fail_with = 0;
	assert_true(has(answer, "done"));
	assert_true(has(answer, "warning"));
	json_decref(answer);
	assert_true(tide_disk_write(w.d, 0, "", 1, NULL) < 0);
	json_decref(moved);
	json_decref(limit);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	pthread_mutex_destroy(&d.lock);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_moved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
