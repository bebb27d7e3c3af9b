/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client can make the server hold, and whom it can keep waiting:
 * memory of requests, their number, clients that do not read, places.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nbd_talk.h"

#define MIB (1u << 20)

/* Requests over the number wait, in the order of their coming. */
static void test_requests(void **state)
{
	struct talk *t = *state;

	t->m.common.limits.requests = 4;
	go(t, NBD_STRUCTURED, "rw");
	t->m.disk.hold = true;
	for (int i = 0; i < 10; i++) {
		request(t, NBD_CMD_WRITE, 0, (uint64_t)i, 1);
		put(t, (uint64_t)i + 1, 1);
	}
	turn(t);
	assert_int_equal(t->m.disk.held_count, 4);
	assert_true(t->c.conn->paused);
	assert_false(nbd_conn_wants_input(t->c.conn));
	t->m.disk.hold = false;
	nbd_memory_release(&t->m.disk);
	turn(t);
	for (int i = 0; i < 10; i++) {
		expect_simple(t, 0);
		assert_int_equal(t->m.disk.bytes[i], i + 1);
	}
	assert_false(t->c.conn->paused);
}

/* Bytes over a connection's own limit wait. */
static void test_connection_bytes(void **state)
{
	struct talk *t = *state;

	t->m.common.limits.connection_bytes = 3 * MIB;
	go(t, NBD_STRUCTURED, "rw");
	t->m.disk.hold = true;
	for (int i = 0; i < 5; i++)
		request(t, NBD_CMD_READ, 0, 0, MIB);
	turn(t);
	assert_int_equal(t->m.disk.held_count, 2);
	assert_true(t->c.conn->charged_bytes <= 3 * MIB);
	t->m.disk.hold = false;
	nbd_memory_release(&t->m.disk);
	turn(t);
	for (int i = 0; i < 5; i++)
		get_bytes(t, get_chunk(t, NBD_REPLY_OFFSET_HOLE, true));
	assert_int_equal(left(t), 0);
}

/* Many clients that read nothing: there is always a share for one more. */
static void test_share_is_left(void **state)
{
	struct talk *t = *state;
	static struct talk hogs[20];

	/* First of all: what follows takes long on a slow machine, and a
	 * handshake has a limit. */
	go(t, NBD_SIMPLE, "rw");
	for (int i = 0; i < 20; i++) {
		struct talk *h = &hogs[i];

		memset(h, 0, sizeof(*h));
		nbd_memory_connect(&t->m, &h->c);
		/* Its own world stays unused: it is a client of t's. */
		h->c.in = h->in;
		put(h, 3, 4);
		put_go(h, NBD_OPT_GO, "rw");
		h->c.in_length = h->in_length;
		nbd_memory_turn(&t->m, &h->c);
		memset(t->m.disk.bytes, 1, MIB);
		h->c.may_send = 0;
		for (int n = 0; n < 100; n++)
			request(h, NBD_CMD_READ, 0, 0, MIB);
		h->c.in_length = h->in_length;
		nbd_memory_turn(&t->m, &h->c);
		assert_true(t->m.loop.charged_bytes <= t->m.loop.budget_bytes);
	}
	/* A small request is answered at once. */
	request(t, NBD_CMD_READ, 0, 0, 4096);
	turn(t);
	expect_simple(t, 0);
	get_bytes(t, 4096);
	/*
	 * One that does not fit waits; after a while hogs are let go, the worst
	 * first. Those who came before it, and had nothing yet, go before it.
	 */
	request(t, NBD_CMD_READ, 0, 0, MIB);
	t->m.loop.budget_bytes = t->m.loop.charged_bytes + MIB / 2;
	turn(t);
	assert_int_equal(left(t), 0);
	for (int i = 0; i < 20; i++)
		assert_false(hogs[i].c.closed);
	t->m.common.limits.stall_ms = 0;
	for (int i = 0; i < 21 && !left(t); i++) {
		t->m.loop.ticked_ns = 0;
		turn(t);
	}
	expect_simple(t, 0);
	get_bytes(t, MIB);
	for (int i = 0; i < 20; i++) {
		if (!hogs[i].c.closed)
			nbd_conn_close(hogs[i].c.conn, NULL);
		nbd_memory_client_fini(&hogs[i].c);
	}
	turn(t);
	assert_int_equal(t->m.loop.charged_bytes, 0);
}

/*
 * One who sends before he reads: what he has under way is little, and so he is
 * heard out, though his answers fill the stream.
 */
static void test_sends_before_it_reads(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	memset(t->m.disk.bytes, 1, MIB);
	t->c.may_send = 0;
	for (int i = 0; i < 8; i++) {
		request(t, NBD_CMD_BLOCK_STATUS, 0, 0, MIB);
		request(t, NBD_CMD_READ, 0, 0, 256 << 10);
	}
	turn(t);
	assert_true(t->c.conn->blocked);
	assert_true(t->c.conn->charged_bytes < (3u << 20));
	request(t, NBD_CMD_WRITE, 0, 0, 1000);
	t->in_length += 1000;
	turn(t);
	assert_int_equal(t->m.disk.writes, 1);
}

static void test_places(void **state)
{
	struct talk *t = *state;
	struct nbd_memory_client one, two;

	t->m.common.limits.connections = 2;
	nbd_memory_connect(&t->m, &one);
	nbd_memory_connect(&t->m, &two);
	assert_non_null(one.conn);
	assert_null(two.conn);
	assert_true(two.closed);
	nbd_conn_close(one.conn, NULL);
	turn(t);
	nbd_memory_connect(&t->m, &two);
	assert_non_null(two.conn);
	nbd_conn_close(two.conn, NULL);
	turn(t);
	nbd_memory_client_fini(&one);
	nbd_memory_client_fini(&two);
}

/* Drained: what is under way is answered, nothing more is taken. */
static void test_drain(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	t->m.disk.hold = true;
	request(t, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 1);
	put(t, 5, 1);
	turn(t);
	nbd_loop_drain(&t->m.loop);
	request(t, NBD_CMD_READ, 0, 0, 1);
	turn(t);
	assert_false(t->c.ended);
	nbd_memory_release(&t->m.disk);
	turn(t);
	expect_simple(t, 0);
	assert_int_equal(left(t), 0);
	assert_true(t->c.ended);
	assert_int_equal(t->m.disk.flushes, 1);
}

/* A client that takes its answers a byte at a time gets the right ones. */
static void test_slow_reader(void **state)
{
	struct talk *t = *state;
	int turns = 0;

	go(t, NBD_STRUCTURED, "rw");
	for (uint32_t i = 0; i < MIB; i++)
		t->m.disk.bytes[i] = (uint8_t)(i * 31 >> 3);
	for (int i = 0; i < 3; i++)
		request(t, NBD_CMD_READ, 0, (uint64_t)i * 10, 5000);
	do {
		t->c.may_send = 7;
		turn(t);
	} while (t->c.conn->out_bytes && ++turns < 10000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(get_chunk(t, NBD_REPLY_OFFSET_DATA, true),
				 5008);
		assert_int_equal(get(t, 8), i * 10);
		assert_memory_equal(get_bytes(t, 5000),
				    t->m.disk.bytes + i * 10, 5000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TALK(test_requests),	  TALK(test_connection_bytes),
		TALK(test_share_is_left), TALK(test_sends_before_it_reads),
		TALK(test_places),	  TALK(test_drain),
		TALK(test_slow_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
