/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transmission: what each command does, says, and refuses, with each kind of
 * header; and a random script against a model.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nbd/sparse.h"
#include "nbd_talk.h"
#include "seed.h"

#define MIB (1u << 20)

static void test_simple(void **state)
{
	struct talk *t = *state;

	go(t, NBD_SIMPLE, "rw");
	memset(t->m.disk.bytes + 4096, 7, 4096);
	request(t, NBD_CMD_READ, 0, 4096, 16);
	turn(t);
	expect_simple(t, 0);
	assert_memory_equal(get_bytes(t, 16),
			    "\7\7\7\7\7\7\7\7\7\7\7\7\7\7\7\7", 16);
	/* Flags that only structured replies bring. */
	request(t, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 16);
	request(t, NBD_CMD_BLOCK_STATUS, 0, 0, 16);
	turn(t);
	expect_simple(t, NBD_EINVAL);
	expect_simple(t, NBD_EINVAL);
	assert_int_equal(left(t), 0);
}

/* Past the end, in each way that an addition can be made to lie. */
static void test_ranges(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	request(t, NBD_CMD_READ, 0, MIB, 1);
	request(t, NBD_CMD_READ, 0, UINT64_MAX, 1);
	request(t, NBD_CMD_READ, 0, UINT64_MAX - 4095, 8192);
	request(t, NBD_CMD_READ, 0, 0, MIB + 1);
	request(t, NBD_CMD_READ, 0, 0, UINT32_MAX);
	request(t, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, UINT32_MAX);
	request(t, NBD_CMD_TRIM, 0, 1, MIB);
	request(t, NBD_CMD_CACHE, 0, 1, MIB);
	request(t, NBD_CMD_WRITE_ZEROES, 0, 1, MIB);
	request(t, NBD_CMD_BLOCK_STATUS, 0, 1, MIB);
	request(t, NBD_CMD_BLOCK_STATUS, 0, 0, 0);
	request(t, NBD_CMD_WRITE, 0, MIB - 1, 2);
	put(t, 0, 2);
	turn(t);
	for (int i = 0; i < 5; i++)
		expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_EOVERFLOW);
	expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_ENOSPC);
	expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_ENOSPC);
	assert_int_equal(left(t), 0);
	assert_int_equal(t->m.disk.writes, 0);
}

static void test_nothing(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	request(t, NBD_CMD_READ, 0, MIB, 0);
	request(t, NBD_CMD_WRITE, 0, MIB, 0);
	request(t, NBD_CMD_WRITE_ZEROES, 0, 0, 0);
	request(t, NBD_CMD_TRIM, 0, 0, 0);
	request(t, NBD_CMD_CACHE, 0, 0, 0);
	turn(t);
	assert_int_equal(get_chunk(t, NBD_REPLY_NONE, true), 0);
	for (int i = 0; i < 4; i++)
		expect_simple(t, 0);
	assert_int_equal(left(t), 0);
}

/* A payload that nobody wants is skipped; the next request is found. */
static void test_skipped_payload(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "ro");
	request(t, NBD_CMD_WRITE, 0, 0, 100000);
	t->in_length += 100000;
	request(t, NBD_CMD_WRITE, 0x8000, 0, 3);
	put(t, 0, 3);
	request(t, 77, 0, 0, 0);
	request(t, NBD_CMD_TRIM, 0, 0, 1);
	request(t, NBD_CMD_WRITE_ZEROES, 0, 0, 1);
	request(t, NBD_CMD_FLUSH, 0, 0, 0);
	turn(t);
	expect_error_chunk(t, NBD_EPERM);
	expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_EPERM);
	expect_error_chunk(t, NBD_EPERM);
	expect_simple(t, 0);
}

static void test_wrong_magic(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	put(t, NBD_EXTENDED_REQUEST_MAGIC, 4);
	t->in_length += 24;
	turn(t);
	assert_true(t->c.closed);
}

static void test_holes(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	memset(t->m.disk.bytes + 8192, 1, 4096);
	request(t, NBD_CMD_READ, 0, 4096, 12288);
	turn(t);
	assert_int_equal(get_chunk(t, NBD_REPLY_OFFSET_HOLE, false), 12);
	assert_int_equal(get(t, 8), 4096);
	assert_int_equal(get(t, 4), 4096);
	assert_int_equal(get_chunk(t, NBD_REPLY_OFFSET_DATA, false), 4104);
	assert_int_equal(get(t, 8), 8192);
	get_bytes(t, 4096);
	assert_int_equal(get_chunk(t, NBD_REPLY_OFFSET_HOLE, true), 12);
	assert_int_equal(get(t, 8), 12288);
	assert_int_equal(get(t, 4), 4096);
	/* In one piece, if that is asked for. */
	request(t, NBD_CMD_READ, NBD_CMD_FLAG_DF, 4096, 12288);
	turn(t);
	assert_int_equal(get_chunk(t, NBD_REPLY_OFFSET_DATA, true), 12296);
	assert_int_equal(get(t, 8), 4096);
	get_bytes(t, 12288);
	assert_int_equal(left(t), 0);
}

static void test_runs_are_bounded(void **state)
{
	struct nbd_run runs[NBD_MAX_RUNS];
	uint8_t *bytes = calloc(1, NBD_LARGEST_PAYLOAD);
	static const uint64_t lengths[] = { 1, 4095, 4097, 65536, 258049, MIB,
					    MIB + 1, NBD_LARGEST_PAYLOAD };

	(void)state;
	/* Every other block of any size has a byte that is not zero. */
	for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++)
		for (uint64_t block = 4096; block <= MIB; block *= 2)
			for (uint64_t offset = 0; offset < 2; offset++) {
				uint64_t sum = 0;
				uint32_t n;

				for (uint64_t i = 0; i < lengths[l]; i += block)
					bytes[i] = i / block & 1;
				n = nbd_sparse_runs(bytes, offset * 4095,
						    lengths[l], runs);
				assert_true(n >= 1 && n <= NBD_MAX_RUNS);
				for (uint32_t i = 0; i < n; i++)
					sum += runs[i].length_bytes;
				assert_int_equal(sum, lengths[l]);
				memset(bytes, 0, lengths[l]);
			}
	free(bytes);
}

static void test_flags_of_changes(void **state)
{
	struct talk *t = *state;
	struct nbd_memory_disk *d = &t->m.disk;

	go(t, NBD_STRUCTURED, "rw");
	request(t, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0, 1);
	put(t, 1, 1);
	turn(t);
	expect_simple(t, 0);
	assert_int_equal(d->flushes, 1);
	request(t, NBD_CMD_WRITE_ZEROES, 0, 0, 1);
	turn(t);
	assert_int_equal(d->zero_flags, TIDE_ZERO_MAY_UNMAP);
	request(t, NBD_CMD_WRITE_ZEROES,
		NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO |
			NBD_CMD_FLAG_FUA, 0, 1);
	turn(t);
	assert_int_equal(d->zero_flags, TIDE_ZERO_NO_FALLBACK);
	assert_int_equal(d->flushes, 2);
	/* FUA is known to all commands, and means nothing to most. */
	request(t, NBD_CMD_READ, NBD_CMD_FLAG_FUA, 0, 1);
	turn(t);
	expect_simple(t, 0);
	expect_simple(t, 0);
	get_bytes(t, get_chunk(t, NBD_REPLY_OFFSET_HOLE, true));
	assert_int_equal(left(t), 0);
}

static void test_errors_of_the_disk(void **state)
{
	static const struct { int code; uint32_t error; } codes[] = {
		{ -EIO, NBD_EIO }, { -ENOSPC, NBD_ENOSPC },
		{ -EDQUOT, NBD_ENOSPC }, { -ENOMEM, NBD_ENOMEM },
		{ -EROFS, NBD_EPERM }, { -ENOTSUP, NBD_ENOTSUP },
		{ -EBADF, NBD_EIO },
	};
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		t->m.disk.fail = codes[i].code;
		request(t, NBD_CMD_READ, 0, 0, 4096);
		request(t, NBD_CMD_FLUSH, 0, 0, 0);
		request(t, NBD_CMD_BLOCK_STATUS, 0, 0, 4096);
		turn(t);
		for (int n = 0; n < 3; n++)
			expect_error_chunk(t, codes[i].error);
	}
	t->m.disk.fail = 0;
	request(t, NBD_CMD_FLUSH, 0, 0, 0);
	turn(t);
	expect_simple(t, 0);
}

static void test_status(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	memset(t->m.disk.hole + 2, 0, 3);
	request(t, NBD_CMD_BLOCK_STATUS, 0, 4096, 8 * 4096);
	request(t, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 8192, 4097);
	turn(t);
	assert_int_equal(get_chunk(t, NBD_REPLY_BLOCK_STATUS, true), 4 + 24);
	get(t, 4);
	assert_int_equal(get(t, 8), 4096ull << 32 | 3);
	assert_int_equal(get(t, 8), 12288ull << 32);
	assert_int_equal(get(t, 8), 16384ull << 32 | 3);
	assert_int_equal(get_chunk(t, NBD_REPLY_BLOCK_STATUS, true), 12);
	get(t, 4);
	assert_int_equal(get(t, 8), 4097ull << 32);
	assert_int_equal(left(t), 0);
}

/* Block status of everything, with more extents than one answer holds. */
static int stripes(void *opaque, uint64_t offset_bytes, uint64_t length_bytes,
		   struct nbd_extents *into, struct tide_error *err)
{
	(void)opaque, (void)length_bytes, (void)err;
	while (nbd_extents_add(into, 1, offset_bytes & 1))
		offset_bytes++;
	return 0;
}

static void test_status_is_bounded(void **state)
{
	struct talk *t = *state;
	struct nbd_context c = { .extents = stripes };

	assert_int_equal(nbd_contexts_add(t->m.common.exports.list[0],
					  "qemu:dirty-bitmap:x", &c, NULL), 0);
	greet(t, 3);
	simple_option(t, NBD_OPT_STRUCTURED_REPLY);
	select_context(t, "rw", "qemu:dirty-bitmap:x");
	get_bytes(t, get_reply(t, NBD_OPT_SET_META_CONTEXT,
			       NBD_REP_META_CONTEXT));
	expect_ack(t, NBD_OPT_SET_META_CONTEXT);
	put_go(t, NBD_OPT_GO, "rw");
	turn(t);
	get_bytes(t, get_reply(t, NBD_OPT_GO, NBD_REP_INFO));
	expect_ack(t, NBD_OPT_GO);
	/* Removed: who selected it keeps it. */
	assert_int_equal(nbd_contexts_remove(t->m.common.exports.list[0],
					     "qemu:dirty-bitmap:x", NULL), 0);
	request(t, NBD_CMD_BLOCK_STATUS, 0, 1, MIB - 1);
	turn(t);
	assert_int_equal(get_chunk(t, NBD_REPLY_BLOCK_STATUS, true),
			 4 + 65536 * 8);
	get(t, 4);
	for (uint64_t i = 0; i < 65536; i++)
		assert_int_equal(get(t, 8), 1ull << 32 | ((i + 1) & 1));
	assert_int_equal(left(t), 0);
}

static void test_extended(void **state)
{
	struct talk *t = *state;
	uint32_t id;

	go(t, NBD_EXTENDED, "rw");
	id = t->c.conn->selected[0].id;
	memset(t->m.disk.bytes, 3, 4096);
	memset(t->m.disk.hole, 0, 1);
	request(t, NBD_CMD_READ, 0, 0, 8192);
	request(t, NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 4096, 3);
	put(t, 0x010203, 3);
	request(t, NBD_CMD_BLOCK_STATUS, 0, 0, MIB);
	turn(t);
	assert_int_equal(get_chunk(t, NBD_REPLY_OFFSET_DATA, false), 4104);
	get_bytes(t, 4104);
	assert_int_equal(get_chunk(t, NBD_REPLY_OFFSET_HOLE, true), 12);
	get_bytes(t, 12);
	assert_int_equal(get_chunk(t, NBD_REPLY_NONE, true), 0);
	assert_int_equal(get_chunk(t, NBD_REPLY_BLOCK_STATUS_EXT, true), 40);
	assert_int_equal(get(t, 4), id);
	assert_int_equal(get(t, 4), 2);
	assert_int_equal(get(t, 8), 8192);
	assert_int_equal(get(t, 8), 0);
	assert_int_equal(get(t, 8), MIB - 8192);
	assert_int_equal(get(t, 8), 3);
	/* A length of 64 bits, and one that wraps. */
	request(t, NBD_CMD_BLOCK_STATUS, 0, 0, UINT64_C(1) << 40);
	request(t, NBD_CMD_WRITE_ZEROES, 0, 4096, UINT64_MAX);
	request(t, NBD_CMD_TRIM, 0, 0, UINT64_C(1) << 32);
	request(t, NBD_CMD_READ, 0, 0, UINT64_C(1) << 32);
	turn(t);
	expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_ENOSPC);
	expect_error_chunk(t, NBD_EINVAL);
	expect_error_chunk(t, NBD_EINVAL);
}

static void put_status(struct talk *t, uint64_t effect, uint32_t ids,
		       uint32_t id)
{
	request(t, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 0,
		8 + 4 * ids);
	put(t, effect, 8);
	while (ids--)
		put(t, id, 4);
	turn(t);
}

static void test_status_payload(void **state)
{
	struct talk *t = *state;
	uint32_t id;

	go(t, NBD_EXTENDED, "rw");
	id = t->c.conn->selected[0].id;
	put_status(t, 4096, 1, id);
	assert_int_equal(get_chunk(t, NBD_REPLY_BLOCK_STATUS_EXT, true), 24);
	get_bytes(t, 24);
	put_status(t, 4096, 1, id + 1);	/* not selected */
	put_status(t, 4096, 2, id);	/* twice */
	put_status(t, MIB + 1, 1, id);	/* past the end */
	put_status(t, 0, 1, id);
	put_status(t, 4096, 0, id);	/* none: too short a payload */
	put_status(t, 4096, 100, id);	/* more than can be selected */
	for (int i = 0; i < 6; i++)
		expect_error_chunk(t, NBD_EINVAL);
	/* A payload where none belongs: skipped. */
	request(t, NBD_CMD_FLUSH, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 5);
	put(t, 0, 5);
	request(t, NBD_CMD_FLUSH, 0, 0, 0);
	turn(t);
	expect_error_chunk(t, NBD_EINVAL);
	assert_int_equal(get_chunk(t, NBD_REPLY_NONE, true), 0);
	/* One that no buffer of the world holds: closed. */
	request(t, NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 0,
		UINT64_C(1) << 33);
	turn(t);
	assert_true(t->c.closed);
}

static void test_disconnect(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	t->m.disk.hold = true;
	request(t, NBD_CMD_WRITE, 0, 0, 1);
	put(t, 9, 1);
	request(t, NBD_CMD_DISC, 0, 0, 0);
	request(t, NBD_CMD_READ, 0, 0, 1);	/* after it: not looked at */
	turn(t);
	assert_int_equal(left(t), 0);
	assert_false(t->c.ended);
	nbd_memory_release(&t->m.disk);
	turn(t);
	expect_simple(t, 0);	/* what was under way is answered */
	assert_int_equal(left(t), 0);
	assert_true(t->c.ended);
	assert_int_equal(t->m.disk.bytes[0], 9);
}

/* Half-closed: the client sends no more, and still gets its answers. */
static void test_half_closed(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	t->m.disk.hold = true;
	request(t, NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 4096);
	t->c.in_ended = true;
	turn(t);
	nbd_memory_release(&t->m.disk);
	turn(t);
	get_bytes(t, get_chunk(t, NBD_REPLY_OFFSET_HOLE, true));
	assert_true(t->c.closed);
}

/* Vanished with requests under way: they end, and nobody is told. */
static void test_vanished(void **state)
{
	struct talk *t = *state;

	go(t, NBD_STRUCTURED, "rw");
	t->m.disk.hold = true;
	for (int i = 0; i < 50; i++)
		request(t, i % 2 ? NBD_CMD_READ : NBD_CMD_CACHE,
			NBD_CMD_FLAG_FUA, 0, 4096);
	request(t, NBD_CMD_WRITE, 0, 0, 100000);	/* half of it comes */
	t->in_length += 50000;
	turn(t);
	nbd_conn_close(t->c.conn, NULL);
	turn(t);
	assert_non_null(t->m.loop.conns);
	nbd_memory_release(&t->m.disk);
	turn(t);
	assert_null(t->m.loop.conns);
	assert_int_equal(t->m.disk.writes, 0);
}

/* Random commands one after the other, against an array of bytes. */
static void test_model(void **state)
{
	struct talk *t = *state;
	uint8_t *model = calloc(1, MIB);
	uint64_t seed = seed_of("nbd_requests", 11);
	bool wide = seed_next(&seed) & 1;

	go(t, wide ? NBD_EXTENDED : NBD_STRUCTURED, "rw");
	for (int i = 0; i < 3000; i++) {
		uint64_t r = seed_next(&seed), offset = r % MIB;
		uint64_t length = (r >> 32) % 20000, got = 0;

		if (length > MIB - offset)
			length = MIB - offset;
		t->in_length = t->c.in_at = t->at = t->c.out_length = 0;
		switch (r >> 60 & 3) {
		case 0:
			request(t, NBD_CMD_WRITE, 0, offset, length);
			for (uint64_t n = 0; n < length; n++)
				t->in[t->in_length + n] =
					model[offset + n] = (uint8_t)(r >> 40);
			t->in_length += length;
			turn(t);
			break;
		case 1:
			request(t, NBD_CMD_WRITE_ZEROES, 0, offset, length);
			memset(model + offset, 0, length);
			turn(t);
			break;
		default:
			request(t, NBD_CMD_READ, 0, offset, length);
			turn(t);
			while (got < length) {
				uint16_t type;
				uint64_t n;

				t->at += 6;
				type = (uint16_t)get(t, 2);
				t->at += wide ? 16 : 8;
				n = get(t, wide ? 8 : 4) - 8;
				assert_int_equal(get(t, 8), offset + got);
				if (type == NBD_REPLY_OFFSET_HOLE) {
					n = get(t, 4);
					for (uint64_t k = 0; k < n; k++)
						assert_int_equal(
							model[offset + got + k],
							0);
				} else {
					assert_memory_equal(
						get_bytes(t, n),
						model + offset + got, n);
				}
				got += n;
			}
			if (length)
				assert_int_equal(left(t), 0);
			break;
		}
	}
	assert_memory_equal(model, t->m.disk.bytes, MIB);
	free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TALK(test_simple), TALK(test_ranges), TALK(test_nothing),
		TALK(test_skipped_payload), TALK(test_wrong_magic),
		TALK(test_holes), cmocka_unit_test(test_runs_are_bounded),
		TALK(test_flags_of_changes), TALK(test_errors_of_the_disk),
		TALK(test_status), TALK(test_status_is_bounded),
		TALK(test_extended), TALK(test_status_payload),
		TALK(test_disconnect), TALK(test_half_closed),
		TALK(test_vanished), TALK(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
