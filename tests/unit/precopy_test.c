/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine under faults: a proxy on every channel reads the frames that go
 * by, and at one of a given type flips a byte, cuts the wire, or stops
 * forwarding. After each: never two running copies, never a hang, the reason
 * is told, and - unless the hand-over is beyond doubt elsewhere - a second
 * attempt over a good wire succeeds with all memory equal.
 *
 * The guest is a thread that writes random pages and marks them.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/atomic.h"
#include "seed.h"
#include "tidemark/precopy.h"
#include "peer/frame.h"

#define PAGES 1024u
#define SLOT2_GPA (64ull << 20)
#define BYTES (PAGES * 4096ull)
#define CHANNELS 2

enum fault { NONE, FLIP_HEAD, FLIP_PAYLOAD, CUT, STALL };

struct side {
	struct tide_slots *slots;
	unsigned char *memory;		/* two slots of half of it */
	bool runs;
	bool refuse_prepare, refuse_state, refuse_run;
	int fd[CHANNELS];
	unsigned int next;
	char loaded[100];
	struct tide_precopy_options options;
	struct tide_precopy_result result;
	struct tide_error err;
	int ret;
};

struct world {
	struct side near, far;
	struct tide_set *set;
	pthread_t writer;
	bool write, quit, writing;
	uint64_t rng;
	bool no_checksum;
	bool late_write;	/* somebody writes while the guest is paused */
	bool busy;		/* each harvest finds every page written */
};

static void add_slots(struct side *s)
{
	struct tide_slot a = { 1, 0, 0, BYTES / 2, s->memory };
	struct tide_slot b = { 2, 0, SLOT2_GPA, BYTES / 2,
			       s->memory + BYTES / 2 };

	assert_int_equal(tide_slots_insert(s->slots, &a, NULL), 0);
	assert_int_equal(tide_slots_insert(s->slots, &b, NULL), 0);
}

/* Write data, or make the page zero again. */
static void write_page(unsigned char *page, bool zero)
{
	uint64_t *word = (uint64_t *)(page + 8);

	if (!zero) {
		tide__add_relaxed(word, 1);
		return;
	}
	for (unsigned int i = 0; i < 4096; i += 8)
		tide__store_relaxed((uint64_t *)(page + i), 0);
}

static void *writer_main(void *arg)
{
	struct world *w = arg;

	while (!tide__load_seqcst(&w->quit)) {
		const struct timespec nap = { 0, 50000 };
		uint64_t page = seed_below(&w->rng, PAGES), gpa;

		tide__store_seqcst(&w->writing, true);
		if (tide__load_seqcst(&w->write)) {
			gpa = page * 4096;
			if (gpa >= BYTES / 2)
				gpa += SLOT2_GPA - BYTES / 2;
			write_page(w->near.memory + page * 4096,
				   seed_below(&w->rng, 4) == 0);
			tide_set_mark(w->set, gpa / 4096);
		}
		tide__store_seqcst(&w->writing, false);
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static int near_harvest(void *o, struct tide_set *set, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	/* What the writer's thread wrote is marked already. */
	if (w->busy) {
		tide_set_mark_range(set, 0, PAGES / 2);
		tide_set_mark_range(set, SLOT2_GPA / 4096, PAGES / 2);
	}
	return 0;
}

static int near_pause(void *o, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	tide__store_seqcst(&w->write, false);
	while (tide__load_seqcst(&w->writing))
		;
	w->near.runs = false;
	return 0;
}

static int near_resume(void *o, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	w->near.runs = true;
	tide__store_seqcst(&w->write, true);
	return 0;
}

static int near_save(void *o, void **state, size_t *len, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	if (w->late_write) {
		write_page(w->near.memory + 7 * 4096, false);
		tide_set_mark(w->set, 7);
	}
	*len = 100;
	*state = malloc(*len);
	memset(*state, 0x42, *len);
	return 0;
}

static const struct tide_precopy_ops near_ops = {
	.harvest = near_harvest,
	.pause = near_pause,
	.resume = near_resume,
	.save_state = near_save,
};

static int far_prepare(void *o, const struct tide_slot *wanted, size_t count,
		       struct tide_slots *slots, struct tide_error *err)
{
	struct side *far = o;

	(void)slots;
	if (far->refuse_prepare)
		return tide_error_set(err, -ENOMEM, "test", TIDE_NO_OFFSET,
				      "no room for this guest");
	assert_int_equal(count, 2);
	assert_int_equal(wanted[1].gpa_bytes, SLOT2_GPA);
	add_slots(far);
	return 0;
}

static int far_load(void *o, const void *state, size_t len,
		    struct tide_error *err)
{
	struct side *far = o;

	if (far->refuse_state)
		return tide_error_set(err, -EINVAL, "test", TIDE_NO_OFFSET,
				      "this state is not for me");
	assert_int_equal(len, 100);
	memcpy(far->loaded, state, 100);
	return 0;
}

static int far_run(void *o, struct tide_error *err)
{
	struct side *far = o;

	if (far->refuse_run)
		return tide_error_set(err, -EIO, "test", TIDE_NO_OFFSET,
				      "the vCPUs do not start");
	assert_int_equal(far->loaded[99], 0x42);
	far->runs = true;
	return 0;
}

static const struct tide_receive_ops far_ops = {
	.prepare = far_prepare,
	.load_state = far_load,
	.resume = far_run,
};

static int far_accept(void *o, struct tide_error *err)
{
	struct side *far = o;

	(void)err;
	return far->fd[far->next++];
}

static void *far_main(void *o)
{
	struct side *far = o;

	far->ret = tide_receive_run(far_accept, far->slots, &far_ops, far,
				    &far->options, &far->result, &far->err);
	return NULL;
}

/* ---- the proxy ---- */

struct pipe {
	int from, to;
	unsigned int type;	/* at a frame of this type ... */
	unsigned int nth;	/* ... the nth of them (0: first) ... */
	enum fault fault;	/* ... do this */
	bool *stalled;		/* shared by all pipes of a test */
	bool hit;
	pthread_t thread;
};

static bool read_all(int fd, unsigned char *at, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, at, len, 0);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool write_all(int fd, const unsigned char *at, size_t len)
{
	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* True: go on forwarding. */
static bool do_fault(struct pipe *p, unsigned char *frame, size_t payload)
{
	switch (p->fault) {
	case FLIP_HEAD:
		frame[17] ^= 4;
		return true;
	case FLIP_PAYLOAD:
		frame[payload ? TIDE__FRAME_BYTES + payload / 2 : 33] ^= 1;
		return true;
	case STALL:
		tide__store_seqcst(p->stalled, true);
		return false;
	default:
		return false;
	}
}

static void *pipe_main(void *arg)
{
	struct pipe *p = arg;
	unsigned char *frame = malloc(TIDE__FRAME_BYTES +
				      TIDE__MAX_PAYLOAD_BYTES);
	bool go_on = true;

	while (go_on && read_all(p->from, frame, TIDE__FRAME_BYTES)) {
		unsigned int type = frame[4];
		size_t len = (size_t)frame[28] | (size_t)frame[29] << 8 |
			     (size_t)frame[30] << 16;

		if (!read_all(p->from, frame + TIDE__FRAME_BYTES, len))
			break;
		if (p->fault != NONE && type == p->type && p->nth-- == 0) {
			p->hit = true;
			go_on = do_fault(p, frame, len);
			if (!go_on)
				break;
		}
		/* A stalled wire carries nothing more, in either direction. */
		if (tide__load_seqcst(p->stalled))
			break;
		if (!write_all(p->to, frame, TIDE__FRAME_BYTES + len))
			break;
	}
	/* A stalled wire stays open until a side gives up. */
	while (tide__load_seqcst(p->stalled)) {
		struct pollfd f[2] = { { p->from, POLLRDHUP, 0 },
				       { p->to, POLLRDHUP, 0 } };

		if (poll(f, 2, 50) > 0)
			break;
	}
	shutdown(p->from, SHUT_RDWR);
	shutdown(p->to, SHUT_RDWR);
	free(frame);
	return NULL;
}

struct proxy {
	struct pipe pipe[CHANNELS][2];
	int fd[CHANNELS][2];
	bool stalled;
};

/* Wire both sides together through the proxy. */
static void connect_sides(struct world *w, struct proxy *x, enum fault fault,
			  unsigned int type, unsigned int nth)
{
	memset(x, 0, sizeof(*x));
	for (unsigned int i = 0; i < CHANNELS; i++) {
		int a[2], b[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
		w->near.fd[i] = a[0];
		w->far.fd[i] = b[0];
		x->fd[i][0] = a[1];
		x->fd[i][1] = b[1];
		for (unsigned int k = 0; k < 2; k++) {
			x->pipe[i][k] = (struct pipe){
				.from = x->fd[i][k], .to = x->fd[i][!k],
				.type = type, .nth = nth, .fault = fault,
				.stalled = &x->stalled };
			pthread_create(&x->pipe[i][k].thread, NULL, pipe_main,
				       &x->pipe[i][k]);
		}
	}
}

/* Whether the fault happened at all. */
static bool end_proxy(struct world *w, struct proxy *x)
{
	bool hit = false;

	for (unsigned int i = 0; i < CHANNELS; i++) {
		close(w->near.fd[i]);
		if (w->far.next <= i)
			close(w->far.fd[i]);
		for (unsigned int k = 0; k < 2; k++) {
			pthread_join(x->pipe[i][k].thread, NULL);
			hit |= x->pipe[i][k].hit;
		}
		close(x->fd[i][0]);
		close(x->fd[i][1]);
	}
	return hit;
}

static void begin_world(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->rng = seed;
	for (struct side *s = &w->near;; s = &w->far) {
		s->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_int_equal(tide_slots_create(&s->slots, NULL), 0);
		if (s == &w->far)
			break;
	}
	add_slots(&w->near);
	assert_int_equal(tide_set_create(&w->set,
					 tide_slots_top_bytes(w->near.slots) /
					     4096, NULL), 0);
	for (uint64_t i = 0; i < PAGES; i += 2)	/* every other page is zero */
		w->near.memory[i * 4096 + i] = (unsigned char)(i / 2 + 1);
	near_resume(w, NULL);
	pthread_create(&w->writer, NULL, writer_main, w);
}

static void end_world(struct world *w)
{
	tide__store_seqcst(&w->quit, true);
	pthread_join(w->writer, NULL);
	tide_slots_destroy(w->near.slots);
	tide_slots_destroy(w->far.slots);
	munmap(w->near.memory, BYTES);
	munmap(w->far.memory, BYTES);
	tide_set_destroy(w->set);
}

/* A receiver starts with fresh memory. */
static void fresh_far(struct world *w)
{
	madvise(w->far.memory, BYTES, MADV_DONTNEED);
	tide_slots_remove(w->far.slots, 1, NULL);
	tide_slots_remove(w->far.slots, 2, NULL);
	w->far.next = 0;
	memset(w->far.loaded, 0, sizeof(w->far.loaded));
}

static bool attempt(struct world *w, enum fault fault, unsigned int type,
		    unsigned int nth, int zstd)
{
	struct tide_precopy_options *o = &w->near.options;
	pthread_t thread;
	struct proxy x;

	fresh_far(w);
	connect_sides(w, &x, fault, type, nth);
	tide_precopy_defaults(o);
	/* Only where silence is what is shown; a busy machine has some, too. */
	o->stall_timeout_ns = fault == NONE ? 20000000000 :
			      fault == STALL ? 300000000 : 1000000000;
	o->zstd_level = zstd;
	o->checksum = !w->no_checksum;
	/* So that there are dirty rounds before the stop. */
	o->downtime_target_ns = 1;
	o->max_rounds = 4;
	o->auto_stop_over_target = true;
	w->far.options = *o;
	tide_error_clear(&w->near.err);
	pthread_create(&thread, NULL, far_main, &w->far);
	w->near.ret = tide_precopy_run(w->near.fd, CHANNELS, w->near.slots,
				       w->set, &near_ops, w, o, &w->near.result,
				       &w->near.err);
	pthread_join(thread, NULL);
	return end_proxy(w, &x);
}

static void assert_moved(struct world *w)
{
	if (w->near.ret)
		fail_msg("source: %s: %s", w->near.err.origin,
			 w->near.err.text);
	if (w->far.ret)
		fail_msg("receiver: %s: %s", w->far.err.origin,
			 w->far.err.text);
	assert_int_equal(w->near.result.outcome, TIDE_PRECOPY_MOVED);
	assert_true(w->far.runs);
	assert_false(w->near.runs);
	assert_memory_equal(w->near.memory, w->far.memory, BYTES);
}

static void moves_whole(void **state)
{
	uint64_t seed = seed_of("moves_whole", 5);

	(void)state;
	for (int zstd = 0; zstd <= 3; zstd += 3) {
		struct world w;

		begin_world(&w, seed);
		assert_false(attempt(&w, NONE, 0, 0, zstd));
		assert_moved(&w);
		assert_true(w.near.result.rounds >= 3);
		end_world(&w);
	}
}

static void moves_without_checksums(void **state)
{
	struct world w;

	(void)state;
	begin_world(&w, 6);
	w.no_checksum = true;
	attempt(&w, NONE, 0, 0, 0);
	assert_moved(&w);
	end_world(&w);
}

/*
 * A fault at the nth frame of a type. Before GO it is a rollback; a GO that
 * never arrives or a lost DONE leaves the outcome unknown, and paused.
 */
static void one_fault(enum fault fault, unsigned int type, unsigned int nth)
{
	bool late = type == TIDE__FRAME_DONE ||
		    (type == TIDE__FRAME_GO && fault != FLIP_HEAD &&
		     fault != FLIP_PAYLOAD);
	bool met;
	struct world w;

	begin_world(&w, 100 * type + fault);
	met = attempt(&w, fault, type, nth, 0);
	/* A loaded host has silence of its own, before the fault's. */
	for (int again = 0; !met && w.near.ret && again < 20; again++) {
		end_world(&w);
		begin_world(&w, 100 * type + fault);
		met = attempt(&w, fault, type, nth, 0);
	}
	if (!met) {
		assert_moved(&w);	/* there was no such frame */
		end_world(&w);
		assert_true(nth > 0);
		return;
	}
	assert_false(w.near.runs && w.far.runs);
	assert_true(w.near.ret < 0);
	assert_true(w.near.err.text[0]);
	if (late) {
		assert_int_equal(w.near.result.outcome, TIDE_PRECOPY_UNKNOWN);
		assert_false(w.near.runs);
		assert_int_equal(w.far.runs, type == TIDE__FRAME_DONE);
	} else {
		assert_int_equal(w.near.result.outcome,
				 TIDE_PRECOPY_ROLLED_BACK);
		assert_true(w.near.runs);
		assert_false(w.far.runs);
		assert_true(w.far.ret < 0);
		/* What was acknowledged before is dirty again. */
		assert_int_equal(tide_set_count(w.set), PAGES);
		attempt(&w, NONE, 0, 0, 0);
		assert_moved(&w);
	}
	end_world(&w);
}

static void every_type(enum fault fault)
{
	for (unsigned int t = TIDE__FRAME_HELLO; t <= TIDE__FRAME_DONE; t++)
		one_fault(fault, t, 0);
}

static void flipped_heads(void **state)
{
	(void)state;
	every_type(FLIP_HEAD);
}

static void flipped_payloads(void **state)
{
	(void)state;
	/* Without a payload it is the head's last bytes that change. */
	every_type(FLIP_PAYLOAD);
}

static void cut_wires(void **state)
{
	(void)state;
	every_type(CUT);
	for (unsigned int nth = 1; nth < 5; nth++) {
		one_fault(CUT, TIDE__FRAME_ROUND, nth);
		one_fault(CUT, TIDE__FRAME_PAGES, 3 * nth);
		one_fault(CUT, TIDE__FRAME_ROUND_ACK, nth);
	}
}

static void stalled_wires(void **state)
{
	(void)state;
	every_type(STALL);
}

static void receiver_refuses(void **state)
{
	(void)state;
	for (int step = 0; step < 3; step++) {
		static const char *const words[] = { "no room", "not for me",
						     "do not start" };
		struct world w;

		begin_world(&w, 9);
		w.far.refuse_prepare = step == 0;
		w.far.refuse_state = step == 1;
		w.far.refuse_run = step == 2;
		attempt(&w, NONE, 0, 0, 0);
		assert_int_equal(w.near.result.outcome,
				 TIDE_PRECOPY_ROLLED_BACK);
		if (!strstr(w.near.err.text, words[step]))
			fail_msg("'%s' lacks '%s'", w.near.err.text,
				 words[step]);
		assert_true(w.near.runs);
		assert_false(w.far.runs);
		w.far.refuse_prepare = w.far.refuse_state =
		    w.far.refuse_run = false;
		attempt(&w, NONE, 0, 0, 0);
		assert_moved(&w);
		end_world(&w);
	}
}

/* The verdict over @target_ns says @words. */
static void gives_up(uint64_t target_ns, uint64_t bandwidth, const char *words)
{
	struct world w;
	struct proxy x;
	pthread_t thread;

	begin_world(&w, 3);
	/* Not left to the writer's thread: on a loaded machine it starves. */
	w.busy = true;
	connect_sides(&w, &x, NONE, 0, 0);
	tide_precopy_defaults(&w.near.options);
	w.near.options.downtime_target_ns = target_ns;
	w.near.options.bandwidth_bytes_per_s = bandwidth;
	w.near.options.max_rounds = 6;
	w.far.options = w.near.options;
	pthread_create(&thread, NULL, far_main, &w.far);
	w.near.ret = tide_precopy_run(w.near.fd, CHANNELS, w.near.slots, w.set,
				      &near_ops, &w, &w.near.options,
				      &w.near.result, &w.near.err);
	pthread_join(thread, NULL);
	end_proxy(&w, &x);
	assert_int_equal(w.near.ret, -ELOOP);
	assert_int_equal(w.near.result.outcome, TIDE_PRECOPY_NOT_CONVERGING);
	if (!strstr(w.near.err.text, words))
		fail_msg("'%s' lacks '%s'", w.near.err.text, words);
	assert_true(w.near.runs);
	assert_false(w.far.runs);
	end_world(&w);
}

static void does_not_converge(void **state)
{
	(void)state;
	gives_up(1, 0, "answers of the other side alone take");
	/* A round of all pages takes a second: far over the target, which no
	 * answer of a slow machine reaches by itself. */
	gives_up(400000000, 4 << 20, "pages/s against");
}

/* Options of an older version, of a newer one, and of none. */
static void options_of_other_versions(void **state)
{
	struct {
		struct tide_precopy_options o;
		uint64_t more[4];
	} big = { .more = { 0 } };
	struct tide_precopy_result result;
	struct tide_error err;
	struct world w;
	int none = -1;

	(void)state;
	begin_world(&w, 11);
	tide_precopy_defaults(&big.o);
	big.o.struct_size = sizeof(big);
	/* Taken: what fails is the socket. */
	assert_int_equal(tide_precopy_run(&none, 1, w.near.slots, w.set,
					  &near_ops, &w, &big.o, &result, &err),
			 -EBADF);
	big.more[3] = 1;
	assert_int_equal(tide_precopy_run(&none, 1, w.near.slots, w.set,
					  &near_ops, &w, &big.o, &result, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "does not know"));
	big.o.struct_size = 16;
	assert_int_equal(tide_precopy_run(&none, 1, w.near.slots, w.set,
					  &near_ops, &w, &big.o, &result, &err),
			 -EINVAL);
	big.o.struct_size = sizeof(big.o);
	assert_int_equal(tide_precopy_run(&none, 0, w.near.slots, w.set,
					  &near_ops, &w, &big.o, &result, &err),
			 -EINVAL);
	end_world(&w);
}

static int silent_failure(void *o, struct tide_error *err)
{
	(void)o;
	(void)err;
	return -EBUSY;
}

/* A callback that fails without a word is a failure, and says which. */
static void silent_callbacks(void **state)
{
	struct tide_precopy_ops ops = near_ops;
	struct tide_precopy_options o;
	struct world w;
	struct proxy x;
	pthread_t thread;

	(void)state;
	begin_world(&w, 12);
	ops.pause = silent_failure;
	connect_sides(&w, &x, NONE, 0, 0);
	tide_precopy_defaults(&o);
	w.far.options = o;
	pthread_create(&thread, NULL, far_main, &w.far);
	assert_int_equal(tide_precopy_run(w.near.fd, CHANNELS, w.near.slots,
					  w.set, &ops, &w, &o, &w.near.result,
					  &w.near.err), -EBUSY);
	pthread_join(thread, NULL);
	end_proxy(&w, &x);
	assert_non_null(strstr(w.near.err.text, "the caller's pause failed"));
	assert_int_equal(tide_set_count(w.set), PAGES);
	assert_false(w.far.runs);
	end_world(&w);
}

/* A pause that does not stop every writer is found out before GO. */
static void late_write_is_refused(void **state)
{
	struct world w;

	(void)state;
	begin_world(&w, 8);
	w.late_write = true;
	attempt(&w, NONE, 0, 0, 0);
	assert_int_equal(w.near.ret, -ESTALE);
	assert_non_null(strstr(w.near.err.text, "page 0x7000 was marked"));
	assert_int_equal(w.near.result.outcome, TIDE_PRECOPY_ROLLED_BACK);
	assert_true(w.near.runs);
	assert_false(w.far.runs);
	w.late_write = false;
	attempt(&w, NONE, 0, 0, 0);
	assert_moved(&w);
	end_world(&w);
}

static void cancel_rolls_back(void **state)
{
	static bool cancel = true;
	struct tide_precopy_options o;
	struct world w;
	int pair[2];

	(void)state;
	begin_world(&w, 4);
	tide_precopy_defaults(&o);
	o.cancel = &cancel;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(tide_precopy_run(pair, 1, w.near.slots, w.set,
					  &near_ops, &w, &o, &w.near.result,
					  &w.near.err), -ECANCELED);
	assert_true(w.near.runs);
	close(pair[0]);
	close(pair[1]);
	end_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_whole),
		cmocka_unit_test(moves_without_checksums),
		cmocka_unit_test(flipped_heads),
		cmocka_unit_test(flipped_payloads),
		cmocka_unit_test(cut_wires),
		cmocka_unit_test(stalled_wires),
		cmocka_unit_test(receiver_refuses),
		cmocka_unit_test(does_not_converge),
		cmocka_unit_test(late_write_is_refused),
		cmocka_unit_test(options_of_other_versions),
		cmocka_unit_test(silent_callbacks),
		cmocka_unit_test(cancel_rolls_back),
	};

	return cmocka_run_group_tests_name("precopy", tests, NULL, NULL);
}
