/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is silence and what is not, and for how long a GO is good.
 *
 * Callbacks that take longer than silence is borne, on either side; pages that
 * wait for their bandwidth for longer than that; limits that differ, of which
 * the shorter holds; a side that knows of no signs of life. And a GO that is
 * late: it is refused, and nobody was told before that the outcome is unknown.
 *
 * A relay carries the frames of one channel, and holds one back when told to.
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
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/atomic.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "peer/frame.h"
#include "peer/hello.h"
#include "tidemark/precopy.h"

#define PAGES 96u
#define BYTES (PAGES * 4096u)
#define MS 1000000ull

enum slow { PREPARE = 1, LOAD = 2, RUN = 4, SAVE = 8, PAUSE = 16 };

struct side {
	struct tide_slots *slots;
	char *memory;
	bool runs;
	struct tide_precopy_options options;
	struct tide_precopy_result result;
	struct tide_error err;
	int ret;
};

struct relay {
	int from, to;
	unsigned int hold;	/* the type of a frame; 0: none */
	uint64_t for_ns;
	bool cut_back;		/* and the other direction ends meanwhile */
	bool held;
	uint64_t alive;		/* ALIVE frames that went by */
	pthread_t thread;
};

static struct side near, far;
static struct tide_set *set;
static unsigned int slow;
static uint64_t slow_ns;
static int near_fd, far_fd;
static struct relay up, down;

static void nap(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000u),
			       (long)(ns % 1000000000u) };

	nanosleep(&ts, NULL);
}

static void dawdle(unsigned int where)
{
	if (slow & where)
		nap(slow_ns);
}

/* --- the two sides --- */

static int harvest(void *o, struct tide_set *s, struct tide_error *err)
{
	(void)o;
	(void)s;
	(void)err;
	return 0;
}

static int near_pause(void *o, struct tide_error *err)
{
	(void)o;
	(void)err;
	dawdle(PAUSE);
	near.runs = false;
	return 0;
}

static int near_resume(void *o, struct tide_error *err)
{
	(void)o;
	(void)err;
	near.runs = true;
	return 0;
}

static int near_save(void *o, void **state, size_t *len, struct tide_error *err)
{
	(void)o;
	(void)err;
	dawdle(SAVE);
	*state = calloc(1, *len = 100);
	return *state ? 0 : -ENOMEM;
}

static int far_prepare(void *o, const struct tide_slot *wanted, size_t count,
		       struct tide_slots *slots, struct tide_error *err)
{
	struct tide_slot slot = wanted[0];

	(void)o;
	dawdle(PREPARE);
	slot.host = far.memory;
	return count == 1 ? tide_slots_insert(slots, &slot, err) : -EINVAL;
}

static int far_load(void *o, const void *state, size_t len,
		    struct tide_error *err)
{
	(void)o;
	(void)state;
	(void)len;
	(void)err;
	dawdle(LOAD);
	return 0;
}

static int far_run(void *o, struct tide_error *err)
{
	(void)o;
	(void)err;
	dawdle(RUN);
	tide__store_seqcst(&far.runs, true);
	return 0;
}

static int far_accept(void *o, struct tide_error *err)
{
	(void)o;
	(void)err;
	return far_fd;
}

static void *far_main(void *o)
{
	static const struct tide_receive_ops ops = {
		.prepare = far_prepare, .load_state = far_load,
		.resume = far_run };

	(void)o;
	far.ret = tide_receive_run(far_accept, far.slots, &ops, NULL,
				   &far.options, &far.result, &far.err);
	return NULL;
}

/* --- the relay --- */

static bool carry(struct relay *r, unsigned char *frame)
{
	size_t len;

	if (recv(r->from, frame, TIDE__FRAME_BYTES, MSG_WAITALL) !=
	    (ssize_t)TIDE__FRAME_BYTES)
		return false;
	len = (size_t)tide__get_le(frame + 28, 4);
	if (len && recv(r->from, frame + TIDE__FRAME_BYTES, len,
			MSG_WAITALL) != (ssize_t)len)
		return false;
	r->alive += frame[4] == TIDE__FRAME_ALIVE;
	if (r->hold && frame[4] == r->hold) {
		r->held = true;
		if (r->cut_back)
			shutdown(r->from, SHUT_RDWR);
		nap(r->for_ns);
	}
	len += TIDE__FRAME_BYTES;
	return send(r->to, frame, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void *relay_main(void *o)
{
	static const size_t room = TIDE__FRAME_BYTES + TIDE__MAX_PAYLOAD_BYTES;
	struct relay *r = o;
	unsigned char *frame = malloc(room);

	while (frame && carry(r, frame))
		;
	shutdown(r->to, SHUT_WR);
	free(frame);
	return NULL;
}

/* --- a world --- */

static void begin(uint64_t near_stall_ms, uint64_t far_stall_ms)
{
	struct tide_slot slot = { 0, 0, 0, BYTES, NULL };

	memset(&near, 0, sizeof(near));
	memset(&far, 0, sizeof(far));
	memset(&up, 0, sizeof(up));
	memset(&down, 0, sizeof(down));
	slow = 0;
	for (struct side *s = &near;; s = &far) {
		s->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_int_equal(tide_slots_create(&s->slots, NULL), 0);
		tide_precopy_defaults(&s->options);
		if (s == &far)
			break;
	}
	for (unsigned int i = 0; i < PAGES; i++)
		memset(near.memory + i * 4096u, (int)i + 1, 4096);
	slot.host = near.memory;
	assert_int_equal(tide_slots_insert(near.slots, &slot, NULL), 0);
	assert_int_equal(tide_set_create(&set, PAGES, NULL), 0);
	near.options.stall_timeout_ns = near_stall_ms * MS;
	far.options.stall_timeout_ns = far_stall_ms * MS;
	near.runs = true;
}

static void move(void)
{
	static const struct tide_precopy_ops ops = {
		.harvest = harvest, .pause = near_pause, .resume = near_resume,
		.save_state = near_save };
	int a[2], b[2];
	pthread_t thread;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
	near_fd = a[0];
	far_fd = b[0];
	up.from = down.to = a[1];
	up.to = down.from = b[1];
	pthread_create(&up.thread, NULL, relay_main, &up);
	pthread_create(&down.thread, NULL, relay_main, &down);
	pthread_create(&thread, NULL, far_main, NULL);
	near.ret = tide_precopy_run(&near_fd, 1, near.slots, set, &ops, NULL,
				    &near.options, &near.result, &near.err);
	close(near_fd);
	pthread_join(thread, NULL);
	pthread_join(up.thread, NULL);
	pthread_join(down.thread, NULL);
	close(a[1]);
	close(b[1]);
}

static void end(void)
{
	tide_slots_destroy(near.slots);
	tide_slots_destroy(far.slots);
	tide_set_destroy(set);
	munmap(near.memory, BYTES);
	munmap(far.memory, BYTES);
}

static void assert_moved(void)
{
	if (near.ret || far.ret)
		fail_msg("slow 0x%x: source: %s; receiver: %s", slow,
			 near.err.text, far.err.text);
	assert_true(far.runs && !near.runs);
	assert_memory_equal(near.memory, far.memory, BYTES);
}

static void assert_stayed(void)
{
	assert_true(near.ret < 0 && far.ret < 0);
	assert_true(near.runs && !far.runs);
	assert_int_equal(near.result.outcome, TIDE_PRECOPY_ROLLED_BACK);
}

/* --- silence --- */

static void callbacks_may_take_their_time(void **state)
{
	(void)state;
	for (unsigned int where = PREPARE; where <= PAUSE; where *= 2) {
		begin(1500, 1500);
		slow = where;
		slow_ns = 2600 * MS;
		move();
		assert_moved();
		/* By whoever was busy, and nobody else for as long. */
		if (where < SAVE)
			assert_true(down.alive >= 3);
		else
			assert_true(up.alive >= 3);
		end();
	}
}

static void pages_may_wait_for_their_bandwidth(void **state)
{
	uint64_t start;

	(void)state;
	begin(1000, 1000);
	/* 384 KiB in two pieces: seconds, each of them. */
	near.options.bandwidth_bytes_per_s = 128 << 10;
	start = tide__now_ns();
	move();
	assert_moved();
	assert_true(tide__now_ns() - start > 1500 * MS);
	end();
}

static void the_shorter_limit_holds(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		uint64_t start = tide__now_ns(), took;

		begin(i & 1 ? 300 : 60000, i & 1 ? 60000 : 300);
		/* Neither hears anything of the other's pages or answers. */
		*(i & 2 ? &up : &down) = (struct relay){
			.hold = i & 2 ? TIDE__FRAME_PAGES
				      : TIDE__FRAME_ROUND_ACK,
			.for_ns = 2000 * MS };
		move();
		took = tide__now_ns() - start;
		assert_stayed();
		assert_true(up.held || down.held);
		if (!strstr(near.err.text, "no byte moved for 300 ms") &&
		    !strstr(far.err.text, "no byte moved for 300 ms"))
			fail_msg("source: %s; receiver: %s", near.err.text,
				 far.err.text);
		assert_true(took < 15000 * MS);
		end();
	}
}

static void send_frame(int fd, uint64_t sequence, unsigned int type,
		       const void *payload, size_t len)
{
	struct tide__frame f = {
		.type = (uint16_t)type,
		.sequence = sequence,
		.payload_bytes = (uint32_t)len,
		.payload_sum = len ? tide__frame_sum(payload, len) : 0
	};
	unsigned char head[TIDE__FRAME_BYTES];

	tide__frame_put(&f, head);
	assert_int_equal(send(fd, head, sizeof(head), MSG_NOSIGNAL),
			 (int)sizeof(head));
	if (len)
		assert_int_equal(send(fd, payload, len, MSG_NOSIGNAL),
				 (int)len);
}

/* A source of before: no offer, no limit. It is sent nothing that is new. */
static void an_old_source(void **state)
{
	struct tide_slot slot = { 0, 0, 0, BYTES, NULL };
	struct tide__hello h = { .version = TIDE__WIRE_VERSION,
				 .features = TIDE__FEATURE_CHECKSUM,
				 .page_bytes = 4096, .channels = 1, .slots = 1,
				 .slot = &slot };
	unsigned char head[TIDE__FRAME_BYTES], *hello;
	struct tide__frame f;
	pthread_t thread;
	size_t len;
	int pair[2];

	(void)state;
	begin(400, 400);
	slow = PREPARE;
	slow_ns = 1000 * MS;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	far_fd = pair[1];
	pthread_create(&thread, NULL, far_main, NULL);
	hello = tide__hello_put(&h, &len);
	assert_non_null(hello);
	send_frame(pair[0], 0, TIDE__FRAME_HELLO, hello, len);
	free(hello);
	assert_int_equal(recv(pair[0], head, sizeof(head), MSG_WAITALL),
			 (int)sizeof(head));
	assert_int_equal(tide__frame_get(&f, head, 0, NULL), 0);
	assert_int_equal(f.type, TIDE__FRAME_WELCOME);
	assert_int_equal(f.first, 0);
	/* Nor may it send what was not agreed on. */
	send_frame(pair[0], 1, TIDE__FRAME_ALIVE, NULL, 0);
	pthread_join(thread, NULL);
	assert_int_equal(far.ret, -EPROTO);
	assert_non_null(strstr(far.err.text, "ALIVE"));
	close(pair[0]);
	end();
}

/* --- a late GO --- */

/* The limit of a receiver that bears 1,200 ms of silence is half of that. */
static void a_go_that_is_late_is_refused(void **state)
{
	(void)state;
	begin(1200, 1200);
	up = (struct relay){ .hold = TIDE__FRAME_GO, .for_ns = 800 * MS };
	move();
	assert_true(up.held);
	assert_stayed();
	assert_non_null(strstr(far.err.text, "GO was taken later than 600 ms"));
	assert_non_null(strstr(near.err.text, "GO was taken later than"));
	end();
	/* In time it is good, however slow. */
	begin(20000, 20000);
	up = (struct relay){ .hold = TIDE__FRAME_GO, .for_ns = 250 * MS };
	move();
	assert_moved();
	end();
}

/*
 * The wire is cut behind GO, which arrives all the same, much later: UNKNOWN is
 * said only when the receiver cannot take it any more, and it does not.
 */
static void unknown_is_not_said_too_early(void **state)
{
	uint64_t start;

	(void)state;
	begin(1200, 1200);
	up = (struct relay){ .hold = TIDE__FRAME_GO, .for_ns = 900 * MS,
			     .cut_back = true };
	start = tide__now_ns();
	move();
	assert_true(up.held);
	assert_int_equal(near.result.outcome, TIDE_PRECOPY_UNKNOWN);
	assert_true(tide__now_ns() - start >= 600 * MS);
	assert_non_null(strstr(near.err.text, "it does not begin to later"));
	assert_false(near.runs);
	assert_false(far.runs);
	assert_non_null(strstr(far.err.text, "GO was taken later than"));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(callbacks_may_take_their_time),
		cmocka_unit_test(pages_may_wait_for_their_bandwidth),
		cmocka_unit_test(the_shorter_limit_holds),
		cmocka_unit_test(an_old_source),
		cmocka_unit_test(a_go_that_is_late_is_refused),
		cmocka_unit_test(unknown_is_not_said_too_early),
	};

	return cmocka_run_group_tests_name("liveness", tests, NULL, NULL);
}
