/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A migration through streams of the caller's: bytes are masked on the wire,
 * come in odd pieces, and are held back now and then, as TLS does it.
 *
 * A GO that such a stream could not send, and holds, must not go out later
 * with whatever is sent next: the guest runs at its source by then.
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
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "peer/frame.h"
#include "tidemark/move.h"

#define PAGES 600u
#define BYTES (PAGES * 4096u)
#define CHANNELS 3u
#define RECORD 5000u

/* Masks what it sends by where it stands in the stream. */
struct masked {
	int fd;
	uint64_t sent, received;
	uint8_t record[RECORD];
	size_t length, out;	/* of a record that is not out yet */
	unsigned int calls;
	bool hold_go, held, ended;
};

static struct masked near_side[CHANNELS], far_side[CHANNELS];
static unsigned int lost_streams;

static uint8_t mask(uint64_t at)
{
	return (uint8_t)(at * 167 + at / 251 + 0x5a);
}

static void *of(void *opaque, int fd)
{
	struct masked *m = opaque;

	for (unsigned int i = 0; i < CHANNELS; i++)
		if (m[i].fd == fd)
			return &m[i];
	lost_streams++;
	return NULL;
}

static void gather(struct masked *m, const struct iovec *parts, int count)
{
	for (int i = 0; i < count; i++)
		for (size_t k = 0; k < parts[i].iov_len && m->length < RECORD;
		     k++)
			m->record[m->length++] = ((uint8_t *)parts[i].iov_base)
						     [k];
	for (size_t k = 0; k < m->length; k++)
		m->record[k] ^= mask(m->sent + k);
}

static bool is_go(const struct iovec *part)
{
	return part->iov_len == TIDE__FRAME_BYTES &&
	       tide__get_le((uint8_t *)part->iov_base + 4, 2) == TIDE__FRAME_GO;
}

static ssize_t masked_send(void *stream, const struct iovec *parts, int count)
{
	struct masked *m = stream;
	ssize_t n;

	assert_false(m->ended);
	if (m->hold_go && is_go(parts)) {
		if (!m->length)
			gather(m, parts, count);
		m->held = true;
		return -EAGAIN;
	}
	if (!m->length)
		gather(m, parts, count);
	/* Every third time nothing goes; what is held goes with the next. */
	if (++m->calls % 3 == 0)
		return -EAGAIN;
	while (m->out < m->length) {
		n = send(m->fd, m->record + m->out, m->length - m->out,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			return -errno;
		m->out += (size_t)n;
	}
	n = (ssize_t)m->length;
	m->sent += m->length;
	m->length = m->out = 0;
	return n;
}

static ssize_t masked_recv(void *stream, void *to, size_t len)
{
	struct masked *m = stream;
	ssize_t n = recv(m->fd, to, len > 777 ? 777 : len, MSG_DONTWAIT);

	assert_false(m->ended);
	if (n < 0)
		return -errno;
	for (ssize_t i = 0; i < n; i++)
		((uint8_t *)to)[i] ^= mask(m->received++);
	return n;
}

static bool masked_has_input(void *stream)
{
	(void)stream;
	return false;
}

static void masked_end(void *stream)
{
	((struct masked *)stream)->ended = true;
}

static const struct tide_stream_ops masked_ops = {
	of, masked_send, masked_recv, masked_has_input, masked_end,
};

/* --- two sides --- */

struct side {
	struct tide_slots *slots;
	int fd[CHANNELS];
	struct tide_precopy_options options;
	struct tide_precopy_result result;
	struct tide_error err;
	bool runs;
	int ret;
};

static struct side near, far;
static struct tide_set *set;
static char *memory;

static int pause_guest(void *o, struct tide_error *err)
{
	(void)o;
	(void)err;
	near.runs = false;
	return 0;
}

static int resume_guest(void *o, struct tide_error *err)
{
	struct side *s = o;

	(void)err;
	s->runs = true;
	return 0;
}

static int save_state(void *o, void **state, size_t *len,
		      struct tide_error *err)
{
	(void)o;
	(void)err;
	*state = calloc(1, *len = 100000);
	return *state ? 0 : -ENOMEM;
}

static int load_state(void *o, const struct tide_slots *slots,
		      const void *state, size_t len, struct tide_error *err)
{
	(void)o;
	(void)slots;
	(void)state;
	(void)err;
	assert_int_equal(len, 100000);
	return 0;
}

static void *far_main(void *o)
{
	const struct tide_move_target target = { load_state, resume_guest,
						 &far };

	(void)o;
	far.ret = tide_move_receive(&target, far.fd, CHANNELS, far.slots,
				    &far.options, &far.result, &far.err);
	return NULL;
}

static void begin(void)
{
	struct tide_slot slot = { 0, 0, 0, BYTES, NULL };

	memset(&near, 0, sizeof(near));
	memset(&far, 0, sizeof(far));
	memset(near_side, 0, sizeof(near_side));
	memset(far_side, 0, sizeof(far_side));
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (unsigned int i = 0; i < PAGES; i += 2)
		memset(memory + i * 4096u, (int)(i % 250) + 1, 4096);
	slot.host = memory;
	assert_int_equal(tide_slots_create(&near.slots, NULL), 0);
	assert_int_equal(tide_slots_create(&far.slots, NULL), 0);
	assert_int_equal(tide_slots_insert(near.slots, &slot, NULL), 0);
	assert_int_equal(tide_set_create(&set, PAGES, NULL), 0);
	for (unsigned int i = 0; i < CHANNELS; i++) {
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		near.fd[i] = near_side[i].fd = pair[0];
		far.fd[i] = far_side[i].fd = pair[1];
	}
	tide_precopy_defaults(&near.options);
	near.options.stall_timeout_ns = 700000000;
	near.options.stream_ops = &masked_ops;
	near.options.stream_opaque = near_side;
	far.options = near.options;
	far.options.stream_opaque = far_side;
	near.runs = true;
}

static void move(void)
{
	const struct tide_move_guest guest = {
		.slots = near.slots, .set = set, .pause = pause_guest,
		.resume = resume_guest, .save_state = save_state,
		.opaque = &near };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, far_main, NULL), 0);
	near.ret = tide_move_send(&guest, near.fd, CHANNELS, &near.options,
				  &near.result, &near.err);
	for (unsigned int i = 0; i < CHANNELS; i++)
		close(near.fd[i]);
	pthread_join(thread, NULL);
}

static void end(void)
{
	tide_move_unmap(far.slots);
	tide_slots_destroy(near.slots);
	tide_slots_destroy(far.slots);
	tide_set_destroy(set);
	munmap(memory, BYTES);
}

static void moves_through_streams(void **state)
{
	struct tide_slot slot;

	(void)state;
	for (int checksum = 0; checksum < 2; checksum++) {
		begin();
		near.options.checksum = checksum;
		/* Nobody is silent but a busy machine. */
		near.options.stall_timeout_ns = 20000000000;
		far.options.stall_timeout_ns = 20000000000;
		move();
		if (near.ret || far.ret)
			fail_msg("%s; %s", near.err.text, far.err.text);
		assert_true(far.runs && !near.runs);
		assert_true(tide_slots_find_gpa(far.slots, 0, &slot));
		assert_memory_equal(slot.host, memory, BYTES);
		for (unsigned int i = 0; i < CHANNELS; i++) {
			assert_true(near_side[i].sent > 0);
			assert_true(near_side[i].ended && far_side[i].ended);
		}
		end();
	}
}

static void one_side_without(void **state)
{
	(void)state;
	begin();
	far.options.stream_ops = NULL;
	move();
	assert_true(near.ret && far.ret);
	assert_true(near.runs && !far.runs);
	assert_int_equal(near.result.outcome, TIDE_PRECOPY_ROLLED_BACK);
	end();
	/* A socket that nobody has a stream for is not used bare. */
	begin();
	lost_streams = 0;
	near_side[1].fd = -1;
	move();
	assert_int_equal(near.ret, -EINVAL);
	assert_non_null(strstr(near.err.text, "channel 1 has no stream"));
	assert_true(near.runs && !far.runs && far.ret);
	assert_int_equal(near_side[0].sent, 0);
	assert_true(lost_streams > 0);
	end();
}

static void a_go_that_is_held(void **state)
{
	(void)state;
	begin();
	near_side[0].hold_go = true;
	move();
	assert_true(near_side[0].held);
	assert_true(near.ret < 0 && far.ret < 0);
	assert_int_equal(near.result.outcome, TIDE_PRECOPY_ROLLED_BACK);
	assert_true(near.runs);
	assert_false(far.runs);
	/* Nor was anything sent that had taken it along. */
	assert_int_equal(near_side[0].length, TIDE__FRAME_BYTES);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_through_streams),
		cmocka_unit_test(one_side_without),
		cmocka_unit_test(a_go_that_is_held),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
