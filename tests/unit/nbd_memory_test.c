/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory runs out, at each allocation in turn, in the middle of a session with
 * every option and request: the connection ends or a request fails, whatever
 * was held is given back, and the next client is served.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nbd_talk.h"

static long refuse_at; /* counts down to the one that is refused; 0: none */
static long refused;

static bool refuse(void)
{
	if (!refuse_at || --refuse_at)
		return false;
	refused++;
	return true;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **p, size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **p, size_t alignment, size_t n);

void *__wrap_malloc(size_t n)
{
	return refuse() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return refuse() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return refuse() ? NULL : __real_realloc(p, n);
}

int __wrap_posix_memalign(void **p, size_t alignment, size_t n)
{
	return refuse() ? ENOMEM : __real_posix_memalign(p, alignment, n);
}

/* All that a client may say, without a look at the answers. */
static void put_session(struct talk *t, bool wide)
{
	put(t, 3, 4);
	option_head(t, NBD_OPT_LIST, 0);
	option_head(t, wide ? NBD_OPT_EXTENDED_HEADERS
			    : NBD_OPT_STRUCTURED_REPLY, 0);
	option_head(t, 99, 0);
	option_head(t, NBD_OPT_LIST_META_CONTEXT, 10);
	put_text(t, "rw");
	put(t, 0, 4);
	option_head(t, NBD_OPT_SET_META_CONTEXT, 14 + 15);
	put_text(t, "rw");
	put(t, 1, 4);
	put_text(t, "base:allocation");
	put_go(t, NBD_OPT_INFO, "rw");
	put_go(t, NBD_OPT_GO, "rw");
	nbd_memory_turn(&t->m, &t->c);
}

static void put_requests(struct talk *t)
{
	request(t, NBD_CMD_READ, 0, 0, 100000);
	request(t, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 4096);
	request(t, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 8192, 4);
	put(t, 0x01020304, 4);
	request(t, NBD_CMD_BLOCK_STATUS, 0, 0, 1u << 20);
	request(t, NBD_CMD_CACHE, 0, 0, 1u << 20);
	request(t, NBD_CMD_WRITE_ZEROES, 0, 0, 4096);
	request(t, NBD_CMD_TRIM, 0, 0, 4096);
	request(t, NBD_CMD_FLUSH, 0, 0, 0);
	request(t, 77, 0, 0, 0);
}

/* True: an allocation was refused on the way. */
static bool session(struct talk *t, long n, bool wide)
{
	struct nbd_memory_client next;

	refused = 0;
	t->in_length = 0;
	t->m.disk.bytes[70000] = 1;
	refuse_at = n;
	nbd_memory_connect(&t->m, &t->c);
	t->c.piece = 1000;
	t->c.in = t->in;
	put_session(t, wide);
	t->c.in_length = t->in_length;
	if (t->c.conn)
		nbd_memory_turn(&t->m, &t->c);
	put_requests(t);
	t->c.in_length = t->in_length;
	t->m.disk.hold = true;
	nbd_memory_turn(&t->m, &t->c);
	t->m.disk.hold = false;
	nbd_memory_release(&t->m.disk);
	t->c.in_ended = true;
	nbd_memory_turn(&t->m, &t->c);
	refuse_at = 0;
	assert_true(t->c.closed);
	assert_null(t->m.loop.conns);
	assert_int_equal(t->m.loop.charged_bytes, 0);
	assert_int_equal(t->m.common.connections, 0);
	nbd_memory_client_fini(&t->c);
	nbd_memory_connect(&t->m, &next);
	assert_non_null(next.conn);
	next.in_ended = true;
	nbd_memory_turn(&t->m, &next);
	nbd_memory_client_fini(&next);
	return refused;
}

static void test_no_memory(void **state)
{
	static struct talk t;
	struct nbd_limits limits = { .requests = 5 };

	(void)state;
	nbd_memory_init(&t.m, &limits);
	for (int wide = 0; wide < 2; wide++) {
		long n = 1;

		while (session(&t, n, wide))
			n++;
		assert_true(n > 15);
	}
	nbd_memory_fini(&t.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
