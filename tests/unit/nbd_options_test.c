/* SPDX-License-Identifier: BSD-2-Clause */
/* The handshake, byte by byte: what each option gets, and what ends it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nbd_talk.h"

static void test_export_name(void **state)
{
	struct talk *t = *state;

	greet(t, 1);	/* without NO_ZEROES */
	option_head(t, NBD_OPT_EXPORT_NAME, 2);
	memcpy(t->in + t->in_length, "rw", 2);
	t->in_length += 2;
	turn(t);
	assert_int_equal(get(t, 8), NBD_MEMORY_BYTES);
	assert_true(get(t, 2) & NBD_FLAG_CAN_MULTI_CONN);
	assert_int_equal(left(t), 124);
	get_bytes(t, 124);
	request(t, NBD_CMD_FLUSH, 0, 0, 0);
	turn(t);
	expect_simple(t, 0);
}

static void test_export_name_unknown(void **state)
{
	struct talk *t = *state;

	greet(t, 3);
	option_head(t, NBD_OPT_EXPORT_NAME, 2);
	put(t, 0x7878, 2);
	turn(t);
	assert_true(t->c.closed);
}

static void test_go_infos(void **state)
{
	static const uint16_t asked[] = { 3, 1, 2, 3, 0, 77 };
	struct talk *t = *state;

	greet(t, 3);
	option_head(t, NBD_OPT_GO, 6 + 2 + sizeof(asked));
	put_text(t, "ro");
	put(t, 6, 2);
	for (size_t i = 0; i < 6; i++)
		put(t, asked[i], 2);
	turn(t);
	assert_int_equal(get_reply(t, NBD_OPT_GO, NBD_REP_INFO), 4);
	assert_int_equal(get(t, 2), NBD_INFO_NAME);
	assert_memory_equal(get_bytes(t, 2), "ro", 2);
	assert_int_equal(get_reply(t, NBD_OPT_GO, NBD_REP_INFO), 14);
	assert_int_equal(get(t, 2), NBD_INFO_BLOCK_SIZE);
	assert_int_equal(get(t, 4), 1);
	assert_int_equal(get(t, 4), 4096);
	assert_int_equal(get(t, 4), NBD_LARGEST_PAYLOAD);
	assert_int_equal(get_reply(t, NBD_OPT_GO, NBD_REP_INFO), 12);
	assert_int_equal(get(t, 2), NBD_INFO_EXPORT);
	assert_int_equal(get(t, 8), NBD_MEMORY_BYTES);
	assert_true(get(t, 2) & NBD_FLAG_READ_ONLY);
	expect_ack(t, NBD_OPT_GO);
	assert_int_equal(left(t), 0);
	assert_int_equal(t->c.conn->phase, NBD_PHASE_TRANSMISSION);
}

static void test_errors_live_on(void **state)
{
	struct talk *t = *state;

	greet(t, 3);
	option_head(t, 99, 3);
	put(t, 0, 3);
	option_head(t, 4, 0);	/* PEEK_EXPORT was withdrawn */
	option_head(t, NBD_OPT_LIST, 1);
	put(t, 0, 1);
	put_go(t, NBD_OPT_GO, "nothing");
	option_head(t, NBD_OPT_INFO, 3);	/* too short for anything */
	put(t, 0, 3);
	option_head(t, NBD_OPT_INFO, 6); /* a name longer than the data */
	put(t, 0xffffffff, 4);
	put(t, 0, 2);
	option_head(t, NBD_OPT_INFO, 8); /* two infos announced, one there */
	put(t, 0, 4);
	put(t, 2, 2);
	put(t, 0, 2);
	option_head(t, NBD_OPT_STARTTLS, 0);
	option_head(t, NBD_OPT_SET_META_CONTEXT, 8);	/* before structured */
	put(t, 0, 8);
	turn(t);
	expect_error(t, 99, NBD_REP_ERR_UNSUP);
	expect_error(t, 4, NBD_REP_ERR_UNSUP);
	expect_error(t, NBD_OPT_LIST, NBD_REP_ERR_INVALID);
	expect_error(t, NBD_OPT_GO, NBD_REP_ERR_UNKNOWN);
	expect_error(t, NBD_OPT_INFO, NBD_REP_ERR_INVALID);
	expect_error(t, NBD_OPT_INFO, NBD_REP_ERR_INVALID);
	expect_error(t, NBD_OPT_INFO, NBD_REP_ERR_INVALID);
	expect_error(t, NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY);
	expect_error(t, NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID);
	option_head(t, NBD_OPT_LIST, 0);
	turn(t);
	for (int i = 0; i < 3; i++)
		get_bytes(t, get_reply(t, NBD_OPT_LIST, NBD_REP_SERVER));
	expect_ack(t, NBD_OPT_LIST);
}

/* 100 KiB are skipped, and the next option is found. */
static void test_oversize(void **state)
{
	struct talk *t = *state;

	greet(t, 3);
	option_head(t, NBD_OPT_GO, 100000);
	t->in_length += 100000;
	option_head(t, NBD_OPT_STRUCTURED_REPLY, 0);
	turn(t);
	expect_error(t, NBD_OPT_GO, NBD_REP_ERR_TOO_BIG);
	expect_ack(t, NBD_OPT_STRUCTURED_REPLY);
}

static void test_twice(void **state)
{
	struct talk *t = *state;

	greet(t, 3);
	simple_option(t, NBD_OPT_STRUCTURED_REPLY);
	option_head(t, NBD_OPT_STRUCTURED_REPLY, 0);
	turn(t);
	expect_error(t, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID);
	simple_option(t, NBD_OPT_EXTENDED_HEADERS);
	option_head(t, NBD_OPT_EXTENDED_HEADERS, 0);
	option_head(t, NBD_OPT_STRUCTURED_REPLY, 0);
	turn(t);
	expect_error(t, NBD_OPT_EXTENDED_HEADERS, NBD_REP_ERR_INVALID);
	expect_error(t, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_EXT_HEADER_REQD);
	/* EXPORT_NAME has no place for what was agreed on: closed. */
	option_head(t, NBD_OPT_EXPORT_NAME, 2);
	put(t, 0x7277, 2);
	turn(t);
	assert_true(t->c.closed);
}

static void test_abort(void **state)
{
	struct talk *t = *state;

	greet(t, 3);
	option_head(t, NBD_OPT_ABORT, 0);
	turn(t);
	expect_ack(t, NBD_OPT_ABORT);
	assert_true(t->c.ended);
}

static void test_wrong_magic(void **state)
{
	struct talk *t = *state;

	greet(t, 3);
	put(t, 0x4745542f20485454u, 8);	/* "GET/ HTT" */
	put(t, 0, 8);
	turn(t);
	assert_true(t->c.closed);
}

static void test_unknown_flags(void **state)
{
	struct talk *t = *state;

	greet(t, 0x80000003u);
	turn(t);
	assert_true(t->c.closed);
}

static void test_tls_required(void **state)
{
	struct talk *t = *state;

	t->m.common.tls_required = true;
	greet(t, 3);
	option_head(t, NBD_OPT_LIST, 0);
	put_go(t, NBD_OPT_GO, "rw");
	option_head(t, 99, 1);
	put(t, 0, 1);
	turn(t);
	expect_error(t, NBD_OPT_LIST, NBD_REP_ERR_TLS_REQD);
	expect_error(t, NBD_OPT_GO, NBD_REP_ERR_TLS_REQD);
	expect_error(t, 99, NBD_REP_ERR_TLS_REQD);
	option_head(t, NBD_OPT_EXPORT_NAME, 0);
	turn(t);
	assert_true(t->c.closed);
}

static void list_contexts(struct talk *t, const char *query)
{
	option_head(t, NBD_OPT_LIST_META_CONTEXT,
		    (uint32_t)(2 + 12 + strlen(query)));
	put_text(t, "rw");
	put(t, 1, 4);
	put_text(t, query);
	turn(t);
}

static void expect_context(struct talk *t, uint32_t option, const char *name)
{
	uint32_t length = get_reply(t, option, NBD_REP_META_CONTEXT);

	assert_int_equal(length, 4 + strlen(name));
	get(t, 4);
	assert_memory_equal(get_bytes(t, length - 4), name, length - 4);
}

static int one_dirty(void *opaque, uint64_t offset_bytes, uint64_t length_bytes,
		     struct nbd_extents *into, struct tide_error *err)
{
	(void)opaque, (void)offset_bytes, (void)err;
	nbd_extents_add(into, length_bytes, NBD_STATE_DIRTY);
	return 0;
}

static void test_list_contexts(void **state)
{
	struct talk *t = *state;
	const uint32_t list = NBD_OPT_LIST_META_CONTEXT;
	struct nbd_context c = { .extents = one_dirty };
	struct nbd_export *e = t->m.common.exports.list[0];

	assert_int_equal(nbd_contexts_add(e, "qemu:dirty-bitmap:b0", &c, NULL),
			 0);
	assert_int_equal(nbd_contexts_add(e, "qemu:dirty-bitmap:b0", &c, NULL),
			 -EEXIST);
	greet(t, 3);
	option_head(t, list, 10);	/* no query: everything */
	put_text(t, "rw");
	put(t, 0, 4);
	turn(t);
	expect_context(t, list, "base:allocation");
	expect_context(t, list, "qemu:allocation-depth");
	expect_context(t, list, "qemu:dirty-bitmap:b0");
	expect_ack(t, list);
	list_contexts(t, "qemu:");
	expect_context(t, list, "qemu:allocation-depth");
	expect_context(t, list, "qemu:dirty-bitmap:b0");
	expect_ack(t, list);
	list_contexts(t, "qemu:dirty-bitmap:");
	expect_context(t, list, "qemu:dirty-bitmap:b0");
	expect_ack(t, list);
	list_contexts(t, "nonsense");
	expect_ack(t, list);
	list_contexts(t, "base:allocation");
	expect_context(t, list, "base:allocation");
	expect_ack(t, list);
	assert_int_equal(left(t), 0);
}

/* 2,000 queries in one option: each context is answered once. */
static void test_list_is_bounded(void **state)
{
	struct talk *t = *state;

	greet(t, 3);
	option_head(t, NBD_OPT_LIST_META_CONTEXT, 6 + 4 + 2000 * 9);
	put_text(t, "rw");
	put(t, 2000, 4);
	for (int i = 0; i < 2000; i++)
		put_text(t, "qemu:");
	turn(t);
	expect_context(t, NBD_OPT_LIST_META_CONTEXT, "qemu:allocation-depth");
	expect_ack(t, NBD_OPT_LIST_META_CONTEXT);
	assert_int_equal(left(t), 0);
}

static void test_set_contexts(void **state)
{
	struct talk *t = *state;
	const uint32_t set = NBD_OPT_SET_META_CONTEXT;

	greet(t, 3);
	simple_option(t, NBD_OPT_STRUCTURED_REPLY);
	select_context(t, "rw", "base:");	/* no wildcards in SET */
	expect_ack(t, set);
	select_context(t, "rw", "base:allocation");
	expect_context(t, set, "base:allocation");
	expect_ack(t, set);
	select_context(t, "nothing", "base:allocation");
	expect_error(t, set, NBD_REP_ERR_UNKNOWN);
	assert_int_equal(t->c.conn->selected_count, 0);
	select_context(t, "ro", "base:allocation");
	expect_context(t, set, "base:allocation");
	expect_ack(t, set);
	put_go(t, NBD_OPT_GO, "rw");	/* selected for another: dropped */
	turn(t);
	get_bytes(t, get_reply(t, NBD_OPT_GO, NBD_REP_INFO));
	expect_ack(t, NBD_OPT_GO);
	request(t, NBD_CMD_BLOCK_STATUS, 0, 0, 4096);
	turn(t);
	expect_error_chunk(t, NBD_EINVAL);
}

/*
 * A TLS of the poor: after "HELLO", answered by "OLLEH", every byte is turned
 * over. It hands out at most 3 bytes a call, and says if it has more.
 */
struct poor {
	struct nbd_stream below;
	uint8_t held[4096];
	size_t at, end, greeted;
};

static ssize_t poor_fill(struct poor *p)
{
	struct iovec part = { p->held, sizeof(p->held) };
	ssize_t n = p->below.ops->recv(&p->below, &part, 1);

	p->at = 0;
	p->end = n > 0 ? (size_t)n : 0;
	return n;
}

static ssize_t poor_recv(struct nbd_stream *s, const struct iovec *parts,
			 int count)
{
	struct poor *p = s->opaque;
	uint8_t *to = parts[count - 1].iov_base;
	size_t n = 0;

	if (p->at == p->end) {
		ssize_t ret = poor_fill(p);

		s->has_more = false;
		if (ret <= 0)
			return ret;
	}
	if (count > 1)
		to = parts[0].iov_base;
	while (n < 3 && p->at < p->end)
		to[n++] = (uint8_t)~p->held[p->at++];
	s->has_more = p->at < p->end;
	return (ssize_t)n;
}

static ssize_t poor_send(struct nbd_stream *s, const struct iovec *parts,
			 int count)
{
	struct poor *p = s->opaque;
	uint8_t turned[64];
	struct iovec part = { turned, 0 };

	for (int i = 0; i < count && !part.iov_len; i++)
		for (; part.iov_len < parts[i].iov_len && part.iov_len < 64;
		     part.iov_len++)
			turned[part.iov_len] = (uint8_t) ~((
				uint8_t *)parts[i].iov_base)[part.iov_len];
	return p->below.ops->send(&p->below, &part, 1);
}

static int poor_handshake(struct nbd_stream *s, const char **why)
{
	struct poor *p = s->opaque;
	static char answer[] = "OLLEH";
	struct iovec part = { answer, 5 };

	while (p->greeted < 5) {
		if (p->at == p->end) {
			ssize_t n = poor_fill(p);

			if (n <= 0)
				return n ? (int)n : -ECONNRESET;
		}
		if (p->held[p->at++] != "HELLO"[p->greeted++]) {
			*why = "that is no hello";
			return -EPROTO;
		}
	}
	s->has_more = p->at < p->end;
	return p->below.ops->send(&p->below, &part, 1) == 5 ? 0 : -EIO;
}

static void poor_end(struct nbd_stream *s)
{
	struct poor *p = s->opaque;

	p->below.ops->end(&p->below);
}

static void poor_close(struct nbd_stream *s)
{
	struct poor *p = s->opaque;

	p->below.ops->close(&p->below);
	free(p);
}

static int poor_start(void *opaque, struct nbd_stream *s)
{
	static const struct nbd_stream_ops ops = {
		.recv = poor_recv, .send = poor_send, .end = poor_end,
		.close = poor_close, .handshake = poor_handshake,
	};
	struct poor *p = calloc(1, sizeof(*p));

	(void)opaque;
	p->below = *s;
	s->ops = &ops;
	s->opaque = p;
	return 0;
}

static const struct nbd_security poor_security = { .start = poor_start };

/* What was put since @from is said under it; what comes, too. */
static void turn_over(struct talk *t, size_t from)
{
	for (size_t i = from; i < t->in_length; i++)
		t->in[i] = (uint8_t)~t->in[i];
	from = t->c.out_length;
	turn(t);
	for (size_t i = from; i < t->c.out_length; i++)
		t->c.out[i] = (uint8_t)~t->c.out[i];
}

static void say_hello(struct talk *t)
{
	simple_option(t, NBD_OPT_STARTTLS);
	put(t, 0x48454c4c4f, 5);
	turn(t);
	assert_memory_equal(get_bytes(t, 5), "OLLEH", 5);
}

static void test_tls(void **state)
{
	struct talk *t = *state;
	size_t from;

	t->m.common.security = &poor_security;
	t->m.common.tls_required = true;
	greet(t, 3);
	option_head(t, NBD_OPT_STRUCTURED_REPLY, 0);
	turn(t);
	expect_error(t, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_TLS_REQD);
	say_hello(t);
	from = t->in_length;
	option_head(t, NBD_OPT_STARTTLS, 0);
	option_head(t, NBD_OPT_STRUCTURED_REPLY, 0);
	put_go(t, NBD_OPT_GO, "rw");
	turn_over(t, from);
	expect_error(t, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID);
	expect_ack(t, NBD_OPT_STRUCTURED_REPLY);
	get_bytes(t, get_reply(t, NBD_OPT_GO, NBD_REP_INFO));
	expect_ack(t, NBD_OPT_GO);
	/* Many small records, of which epoll would tell only once. */
	from = t->in_length;
	for (int i = 0; i < 100; i++) {
		request(t, NBD_CMD_WRITE, 0, (uint64_t)i, 5);
		put(t, 0x6161616161, 5);
	}
	turn_over(t, from);
	for (int i = 0; i < 100; i++)
		expect_simple(t, 0);
	assert_memory_equal(t->m.disk.bytes + 99, "aaaaa", 5);
}

/* What was agreed on in the clear is worth nothing under TLS. */
static void test_tls_forgets(void **state)
{
	struct talk *t = *state;
	size_t from;

	t->m.common.security = &poor_security;
	greet(t, 3);
	simple_option(t, NBD_OPT_EXTENDED_HEADERS);
	select_context(t, "rw", "base:allocation");
	get_bytes(t, get_reply(t, NBD_OPT_SET_META_CONTEXT,
			       NBD_REP_META_CONTEXT));
	expect_ack(t, NBD_OPT_SET_META_CONTEXT);
	say_hello(t);
	assert_int_equal(t->c.conn->headers, NBD_SIMPLE);
	assert_int_equal(t->c.conn->selected_count, 0);
	from = t->in_length;
	option_head(t, NBD_OPT_STRUCTURED_REPLY, 0);
	turn_over(t, from);
	expect_ack(t, NBD_OPT_STRUCTURED_REPLY);
}

/* Bytes in the clear behind STARTTLS are not taken for TLS's: closed. */
static void test_tls_injection(void **state)
{
	struct talk *t = *state;

	t->m.common.security = &poor_security;
	greet(t, 3);
	option_head(t, NBD_OPT_STARTTLS, 0);
	put_go(t, NBD_OPT_GO, "rw");
	turn(t);
	assert_true(t->c.closed);
}

static void test_tls_fails(void **state)
{
	struct talk *t = *state;

	t->m.common.security = &poor_security;
	greet(t, 3);
	simple_option(t, NBD_OPT_STARTTLS);
	put(t, 0x4f484e4f, 4);
	turn(t);
	assert_true(t->c.closed);
}

/* An option's answers that nobody reads: no more options are taken. */
static void test_unread_answers(void **state)
{
	struct talk *t = *state;
	size_t sent;

	greet(t, 3);
	turn(t);
	t->c.may_send = 0;
	for (int i = 0; i < 8000; i++)
		option_head(t, NBD_OPT_LIST, 0);
	turn(t);
	assert_true(t->c.conn->out_bytes < 200000);
	sent = t->c.out_length;
	t->c.may_send = SIZE_MAX;
	turn(t);
	assert_int_equal(t->c.conn->out_bytes, 0);
	/* rw, ro, other, and the ack: 8,000 times */
	assert_int_equal(t->c.out_length - sent, 8000 * (26 + 26 + 29 + 20));
	t->at = t->c.out_length;
}

/* Byte by byte is the same as all at once. */
static void test_in_bytes(void **state)
{
	struct talk *t = *state;

	t->c.piece = 1;
	go(t, NBD_STRUCTURED, "rw");
	request(t, NBD_CMD_WRITE, 0, 100, 5);
	put(t, 0x68656c6c6f, 5);
	turn(t);
	expect_simple(t, 0);
	assert_memory_equal(t->m.disk.bytes + 100, "hello", 5);
}

static void test_deadline(void **state)
{
	struct talk *t = *state;

	greet(t, 3);
	turn(t);
	t->c.conn->deadline_ns = 1;
	t->m.loop.ticked_ns = 0;
	turn(t);
	assert_true(t->c.closed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TALK(test_export_name), TALK(test_export_name_unknown),
		TALK(test_go_infos), TALK(test_errors_live_on),
		TALK(test_oversize), TALK(test_twice), TALK(test_abort),
		TALK(test_wrong_magic), TALK(test_unknown_flags),
		TALK(test_tls_required), TALK(test_tls),
		TALK(test_tls_forgets), TALK(test_tls_injection),
		TALK(test_tls_fails), TALK(test_list_contexts),
		TALK(test_list_is_bounded), TALK(test_set_contexts),
		TALK(test_unread_answers), TALK(test_in_bytes),
		TALK(test_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
