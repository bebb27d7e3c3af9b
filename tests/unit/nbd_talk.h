/* SPDX-License-Identifier: BSD-2-Clause */
/* What a test says as a client of NBD, and how it takes the answers apart. */
#ifndef TESTS_NBD_TALK_H
#define TESTS_NBD_TALK_H

#include <string.h>

#include "../support/nbd_memory.h"
#include "base/bytes.h"
#include "nbd/proto.h"

struct talk {
	struct nbd_memory m;
	struct nbd_memory_client c;
	uint8_t in[1u << 18];
	size_t in_length;
	size_t at; /* in what the server sent */
};

static inline void put(struct talk *t, uint64_t value, unsigned int bytes)
{
	assert_true(t->in_length + bytes <= sizeof(t->in));
	tide__put_be(t->in + t->in_length, value, bytes);
	t->in_length += bytes;
}

static inline void put_text(struct talk *t, const char *text)
{
	put(t, strlen(text), 4);
	memcpy(t->in + t->in_length, text, strlen(text));
	t->in_length += strlen(text);
}

/* Let the server have what was put, and work. */
static inline void turn(struct talk *t)
{
	t->c.in = t->in;
	t->c.in_length = t->in_length;
	nbd_memory_turn(&t->m, &t->c);
}

static inline size_t left(const struct talk *t)
{
	return t->c.out_length - t->at;
}

static inline uint64_t get(struct talk *t, unsigned int bytes)
{
	assert_true(left(t) >= bytes);
	t->at += bytes;
	return tide__get_be(t->c.out + t->at - bytes, bytes);
}

static inline const uint8_t *get_bytes(struct talk *t, size_t n)
{
	assert_true(left(t) >= n);
	t->at += n;
	return t->c.out + t->at - n;
}

static inline void option_head(struct talk *t, uint32_t option, uint32_t length)
{
	put(t, NBD_OPTION_MAGIC, 8);
	put(t, option, 4);
	put(t, length, 4);
}

/* Expects a reply to @option of @type; returns its length. */
static inline uint32_t get_reply(struct talk *t, uint32_t option, uint32_t type)
{
	assert_int_equal(get(t, 8), NBD_OPTION_REPLY_MAGIC);
	assert_int_equal(get(t, 4), option);
	assert_int_equal(get(t, 4), type);
	return (uint32_t)get(t, 4);
}

static inline void expect_ack(struct talk *t, uint32_t option)
{
	assert_int_equal(get_reply(t, option, NBD_REP_ACK), 0);
}

/* An error, whose text is not empty. */
static inline void expect_error(struct talk *t, uint32_t option, uint32_t type)
{
	uint32_t length = get_reply(t, option, type);

	assert_true(length > 0);
	get_bytes(t, length);
}

static inline void greet(struct talk *t, uint32_t flags)
{
	turn(t);
	assert_int_equal(get(t, 8), NBD_GREETING_MAGIC);
	assert_int_equal(get(t, 8), NBD_OPTION_MAGIC);
	assert_int_equal(get(t, 2), 3);
	put(t, flags, 4);
}

static inline void simple_option(struct talk *t, uint32_t option)
{
	option_head(t, option, 0);
	turn(t);
	expect_ack(t, option);
}

static inline void put_go(struct talk *t, uint32_t option, const char *name)
{
	option_head(t, option, (uint32_t)strlen(name) + 6);
	put_text(t, name);
	put(t, 0, 2);
}

static inline void select_context(struct talk *t, const char *export,
				  const char *name)
{
	option_head(t, NBD_OPT_SET_META_CONTEXT,
		    (uint32_t)(strlen(export) + strlen(name) + 12));
	put_text(t, export);
	put(t, 1, 4);
	put_text(t, name);
	turn(t);
}

/* Up to transmission on "rw", or another. */
static inline void go(struct talk *t, enum nbd_headers headers,
		      const char *name)
{
	uint32_t length;

	greet(t, 3);
	if (headers == NBD_STRUCTURED)
		simple_option(t, NBD_OPT_STRUCTURED_REPLY);
	if (headers == NBD_EXTENDED)
		simple_option(t, NBD_OPT_EXTENDED_HEADERS);
	if (headers != NBD_SIMPLE) {
		select_context(t, name, "base:allocation");
		length = get_reply(t, NBD_OPT_SET_META_CONTEXT,
				   NBD_REP_META_CONTEXT);
		get_bytes(t, length);
		expect_ack(t, NBD_OPT_SET_META_CONTEXT);
	}
	put_go(t, NBD_OPT_GO, name);
	turn(t);
	length = get_reply(t, NBD_OPT_GO, NBD_REP_INFO);
	get_bytes(t, length);
	expect_ack(t, NBD_OPT_GO);
}

static inline void request(struct talk *t, uint16_t command, uint16_t flags,
			   uint64_t offset, uint64_t length)
{
	bool wide = t->c.conn && t->c.conn->headers == NBD_EXTENDED;

	put(t, wide ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC, 4);
	put(t, flags, 2);
	put(t, command, 2);
	put(t, 0x1122334455667788u, 8);
	put(t, offset, 8);
	put(t, length, wide ? 8 : 4);
}

static inline void expect_simple(struct talk *t, uint32_t error)
{
	assert_int_equal(get(t, 4), NBD_SIMPLE_REPLY_MAGIC);
	assert_int_equal(get(t, 4), error);
	assert_int_equal(get(t, 8), 0x1122334455667788u);
}

/* A chunk, structured or extended; returns the length of its payload. */
static inline uint64_t get_chunk(struct talk *t, uint16_t type, bool last)
{
	bool wide = get(t, 4) == NBD_EXTENDED_REPLY_MAGIC;

	assert_int_equal(get(t, 2), last);
	assert_int_equal(get(t, 2), type);
	assert_int_equal(get(t, 8), 0x1122334455667788u);
	if (wide)
		get(t, 8);
	return get(t, wide ? 8 : 4);
}

static inline void expect_error_chunk(struct talk *t, uint32_t error)
{
	uint64_t length = get_chunk(t, NBD_REPLY_ERROR_PLAIN, true);

	assert_int_equal(get(t, 4), error);
	assert_int_equal(get(t, 2), length - 6);
	assert_true(length > 6);
	get_bytes(t, length - 6);
}

static inline int talk_setup(void **state)
{
	struct talk *t = calloc(1, sizeof(*t));
	/* Its clock is the machine's: what is busy is not to end a talk. */
	const uint32_t hour = 3600000;
	const struct nbd_limits limits = { .handshake_ms = hour,
					   .drain_ms = hour,
					   .stall_ms = hour };

	nbd_memory_init(&t->m, &limits);
	nbd_memory_connect(&t->m, &t->c);
	*state = t;
	return 0;
}

/* Whatever happened: the connection ends, and holds nothing then. */
static inline int talk_teardown(void **state)
{
	struct talk *t = *state;

	t->c.may_send = SIZE_MAX;
	t->m.disk.hold = false;
	nbd_memory_release(&t->m.disk);
	t->c.in_ended = true;
	t->c.in_at = t->c.in_length;
	nbd_memory_turn(&t->m, &t->c);
	assert_true(t->c.closed);
	assert_null(t->m.loop.conns);
	assert_int_equal(t->m.loop.charged_bytes, 0);
	nbd_memory_fini(&t->m);
	nbd_memory_client_fini(&t->c);
	free(t);
	return 0;
}

#define TALK(name) \
	cmocka_unit_test_setup_teardown(name, talk_setup, talk_teardown)

#endif
