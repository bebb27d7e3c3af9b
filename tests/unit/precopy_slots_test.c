/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots that come and go while a guest is moved, in the engine alone: scripts
 * hang on its calls of harvest and rearm, so that every change falls where it
 * hurts. Nothing is marked by the script: what must not be lost the engine has
 * to see by itself.
 */
#include <errno.h>
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

#include "tidemark/precopy.h"

#define PAGE 4096ull
#define SPAN (4096 * PAGE)	/* address space of the guest: GPA 0 on */

struct world {
	struct tide_slots *near, *far;
	unsigned char *near_memory, *far_memory;
	struct tide_set *set;
	unsigned int harvests, rearms;
	int held;
	bool paused;
	void (*script)(struct world *w);	/* at each harvest and rearm */
	bool refuse_changes, may_give_up;
	int fd[2];
	struct tide_precopy_options options;
	struct tide_precopy_result near_result, far_result;
	struct tide_error near_err, far_err;
	int near_rc, far_rc;
};

static struct tide_slot slot_at(const unsigned char *memory, uint32_t id,
				uint64_t first, uint64_t count)
{
	return (struct tide_slot){ id, 0, first * PAGE, count * PAGE,
				   (void *)(memory + first * PAGE) };
}

/* A slot with data in every page. */
static void plug(struct world *w, uint32_t id, uint64_t first, uint64_t count)
{
	struct tide_slot s = slot_at(w->near_memory, id, first, count);

	for (uint64_t p = 0; p < count; p++)
		memset((char *)s.host + p * PAGE, (int)(id * 50 + p % 50 + 1),
		       64);
	assert_int_equal(tide_slots_insert(w->near, &s, NULL), 0);
}

static int harvest(void *opaque, struct tide_set *set, struct tide_error *err)
{
	struct world *w = opaque;

	(void)set;
	(void)err;
	w->harvests++;
	w->rearms = 0;
	w->script(w);
	return 0;
}

static int rearm(void *opaque, uint64_t first, uint64_t count,
		 struct tide_error *err)
{
	struct world *w = opaque;

	(void)first;
	(void)count;
	(void)err;
	w->rearms++;
	w->script(w);
	return 0;
}

static int stop(void *opaque, struct tide_error *err)
{
	(void)opaque;
	(void)err;
	return 0;
}

static int pause_it(void *opaque, struct tide_error *err)
{
	((struct world *)opaque)->paused = true;
	return stop(opaque, err);
}

static int save(void *opaque, void **state, size_t *len, struct tide_error *err)
{
	(void)opaque;
	(void)err;
	*state = calloc(1, 8);
	*len = 8;
	return 0;
}

static void hold(void *opaque)
{
	((struct world *)opaque)->held++;
}

static void release(void *opaque)
{
	((struct world *)opaque)->held--;
}

static bool find(const struct tide_slot *list, size_t count,
		 const struct tide_slot *slot)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].id == slot->id &&
		    list[i].gpa_bytes == slot->gpa_bytes &&
		    list[i].len_bytes == slot->len_bytes)
			return true;
	return false;
}

static int prepare(void *opaque, const struct tide_slot *wanted, size_t count,
		   struct tide_slots *slots, struct tide_error *err)
{
	struct world *w = opaque;
	struct tide_slot s;
	uint64_t from = 0;

	while (tide_slots_next(slots, from, &s)) {
		from = s.gpa_bytes + s.len_bytes;
		if (find(wanted, count, &s))
			continue;
		tide_slots_remove(slots, s.id, NULL);
		madvise(s.host, s.len_bytes, MADV_DONTNEED);
	}
	for (size_t i = 0; i < count; i++) {
		if (tide_slots_find_id(slots, wanted[i].id, NULL))
			continue;
		s = wanted[i];
		s.host = w->far_memory + s.gpa_bytes;
		if (tide_slots_insert(slots, &s, err))
			return err->code;
	}
	return 0;
}

static int change(void *opaque, const struct tide_slot *wanted, size_t count,
		  struct tide_slots *slots, struct tide_error *err)
{
	struct world *w = opaque;

	if (w->refuse_changes)
		return tide_error_set(err, -ENOMEM, "test", TIDE_NO_OFFSET,
				      "no room for more");
	return prepare(opaque, wanted, count, slots, err);
}

static int load(void *opaque, const void *state, size_t len,
		struct tide_error *err)
{
	(void)opaque;
	(void)state;
	(void)len;
	(void)err;
	return 0;
}

static int accept_one(void *opaque, struct tide_error *err)
{
	(void)err;
	return ((struct world *)opaque)->fd[1];
}

static void *receive(void *opaque)
{
	static const struct tide_receive_ops ops = {
		.prepare = prepare, .load_state = load, .resume = stop,
		.change = change,
	};
	struct world *w = opaque;

	w->far_rc = tide_receive_run(accept_one, w->far, &ops, w, &w->options,
				     &w->far_result, &w->far_err);
	return NULL;
}

static void begin(struct world *w, void (*script)(struct world *))
{
	*w = (struct world){ .script = script };
	w->near_memory = mmap(NULL, SPAN, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w->far_memory = mmap(NULL, SPAN, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(tide_slots_create(&w->near, NULL), 0);
	assert_int_equal(tide_slots_create(&w->far, NULL), 0);
	assert_int_equal(tide_set_create(&w->set, SPAN / PAGE, NULL), 0);
	plug(w, 1, 0, 512);
	plug(w, 2, 1024, 512);
}

static void move(struct world *w)
{
	static const struct tide_precopy_ops ops = {
		.harvest = harvest, .rearm = rearm, .pause = pause_it,
		.resume = stop, .save_state = save, .hold = hold,
		.release = release,
	};
	pthread_t thread;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, w->fd), 0);
	tide_precopy_defaults(&w->options);
	w->options.downtime_target_ns = 1;	/* dirty rounds first */
	w->options.max_rounds = 6;
	w->options.auto_stop_over_target = !w->may_give_up;
	pthread_create(&thread, NULL, receive, w);
	w->near_rc = tide_precopy_run(w->fd, 1, w->near, w->set, &ops, w,
				      &w->options, &w->near_result,
				      &w->near_err);
	pthread_join(thread, NULL);
	close(w->fd[0]);
	assert_int_equal(w->held, 0);
}

/* The same slots on both sides, with the same in them. */
static void assert_moved(struct world *w)
{
	struct tide_slot a, b;
	uint64_t from = 0;

	if (w->near_rc)
		fail_msg("source: %s", w->near_err.text);
	if (w->far_rc)
		fail_msg("receiver: %s", w->far_err.text);
	assert_int_equal(tide_slots_count(w->near), tide_slots_count(w->far));
	while (tide_slots_next(w->near, from, &a)) {
		from = a.gpa_bytes + a.len_bytes;
		assert_true(tide_slots_find_id(w->far, a.id, &b));
		assert_int_equal(a.gpa_bytes, b.gpa_bytes);
		assert_int_equal(a.len_bytes, b.len_bytes);
		assert_memory_equal(a.host, b.host, a.len_bytes);
	}
}

static void end(struct world *w)
{
	tide_slots_destroy(w->near);
	tide_slots_destroy(w->far);
	tide_set_destroy(w->set);
	munmap(w->near_memory, SPAN);
	munmap(w->far_memory, SPAN);
}

/* Slot 2 is away while its turn comes in the first round, and back after it. */
static void away_for_a_moment(struct world *w)
{
	struct tide_slot s = slot_at(w->near_memory, 2, 1024, 512);

	if (w->harvests == 1 && w->rearms == 3)
		assert_int_equal(tide_slots_remove(w->near, 2, NULL), 0);
	if (w->harvests == 2 && w->rearms == 0)
		assert_int_equal(tide_slots_insert(w->near, &s, NULL), 0);
}

/* 3 comes, 2 goes, 3 grows and moves, 4 comes in the middle of a round. */
static void come_and_go(struct world *w)
{
	if (w->harvests == 2 && w->rearms == 0)
		plug(w, 3, 2048, 300);
	if (w->harvests == 3 && w->rearms == 0) {
		assert_int_equal(tide_slots_remove(w->near, 2, NULL), 0);
		memset(w->near_memory, 0x77, 100);
		tide_set_mark(w->set, 0);
	}
	if (w->harvests == 3 && w->rearms == 1)
		plug(w, 4, 600, 10);
	if (w->harvests == 4 && w->rearms == 0) {
		memset(w->near_memory + 2400 * PAGE, 0x55, 64);
		assert_int_equal(tide_slots_resize(w->near, 3, 400 * PAGE,
						   NULL), 0);
	}
}

static void changes_are_followed(void **state)
{
	static void (*const scripts[])(struct world *) = { away_for_a_moment,
							   come_and_go };
	struct world w;

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin(&w, scripts[i]);
		move(&w);
		assert_moved(&w);
		end(&w);
	}
}

/* 3 comes, and a page of 1 is written in every round. */
static void one_comes(struct world *w)
{
	if (w->rearms == 0)
		tide_set_mark(w->set, 0);
	if (w->harvests == 2 && w->rearms == 0)
		plug(w, 3, 2048, 300);
}

/* What the receiver has is not sent again because something else changed. */
static void only_what_is_new_is_sent(void **state)
{
	struct world w;

	(void)state;
	begin(&w, one_comes);
	move(&w);
	assert_moved(&w);
	assert_true(w.near_result.pages >= 1024 + 300);
	assert_true(w.near_result.pages <= 1024 + 300 + w.near_result.rounds);
	end(&w);
}

static void refused_changes_roll_back(void **state)
{
	struct world w;

	(void)state;
	begin(&w, come_and_go);
	w.refuse_changes = true;
	move(&w);
	assert_int_equal(w.near_rc, -EREMOTEIO);
	assert_int_equal(w.near_result.outcome, TIDE_PRECOPY_ROLLED_BACK);
	assert_non_null(strstr(w.near_err.text, "no room for more"));
	/* All that there is now is dirty for the next receiver. */
	assert_true(tide_set_is_dirty(w.set, 2048 + 299));
	end(&w);
}

/* A slot behind the end of the set: its pages could not be marked. */
static void plug_outside(struct world *w)
{
	struct tide_slot s = slot_at(w->near_memory, 7, 1600, 2);

	s.gpa_bytes = SPAN - PAGE;
	if (w->harvests == 2 && w->rearms == 0)
		assert_int_equal(tide_slots_insert(w->near, &s, NULL), 0);
}

static void nothing(struct world *w)
{
	(void)w;
}

static void a_set_that_is_too_small_is_refused(void **state)
{
	struct tide_slot s;
	struct world w;

	(void)state;
	for (int i = 0; i < 3; i++) {
		begin(&w, i == 2 ? plug_outside : nothing);
		s = slot_at(w.near_memory, 7, 1600, 1);
		s.gpa_bytes = SPAN - (i ? PAGE : 0);
		if (i < 2)
			assert_int_equal(tide_slots_insert(w.near, &s, NULL),
					 0);
		/*
		 * The first page behind it, its last one, and one in the
		 * middle.
		 */
		move(&w);
		assert_int_equal(w.near_rc, i == 1 ? 0 : -EINVAL);
		if (i != 1)
			assert_non_null(strstr(w.near_err.text,
					       "slot 7 ends at page 4096"));
		end(&w);
	}
}

/* A page that is not there is marked again and again: the words say so. */
static void mark_outside(struct world *w)
{
	tide_set_mark(w->set, SPAN / PAGE);
}

static void marks_outside_are_named(void **state)
{
	struct world w;

	(void)state;
	begin(&w, mark_outside);
	w.may_give_up = true;
	move(&w);
	assert_int_equal(w.near_rc, -ELOOP);
	assert_non_null(strstr(w.near_err.text, "fell outside the set"));
	end(&w);
}

/* Gone for good in the middle of the last round: not handed over. */
static void change_while_paused(struct world *w)
{
	if (w->rearms == 0)
		tide_set_mark(w->set, 0);	/* a page for every round */
	else if (w->paused)
		tide_slots_remove(w->near, 2, NULL);
}

static void changes_after_the_pause_do_not_pass(void **state)
{
	struct world w;

	(void)state;
	begin(&w, change_while_paused);
	move(&w);
	assert_int_equal(w.near_rc, -ESTALE);
	assert_int_equal(w.near_result.outcome, TIDE_PRECOPY_ROLLED_BACK);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_are_followed),
		cmocka_unit_test(only_what_is_new_is_sent),
		cmocka_unit_test(refused_changes_roll_back),
		cmocka_unit_test(a_set_that_is_too_small_is_refused),
		cmocka_unit_test(marks_outside_are_named),
		cmocka_unit_test(changes_after_the_pause_do_not_pass),
	};

	return cmocka_run_group_tests_name("precopy_slots", tests, NULL, NULL);
}
