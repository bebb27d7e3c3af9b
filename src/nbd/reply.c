/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers to requests.
 *
 * A simple reply is a head and, for a read, its data. With structured replies
 * a read is answered in chunks, errors in a chunk with a text, and everything
 * else still by a simple reply, which is shorter. With extended headers every
 * answer is chunks. An answer is a list of parts that lie in the request, in
 * its buffer, or, if there are many, in one piece of memory of their own; the
 * request is finished when they are sent.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "nbd/conn.h"
#include "nbd/loop.h"
#include "nbd/sparse.h"

/* The longest head of a chunk, with the offset and length of a hole. */
#define MAX_HEAD                                                              \
	(sizeof(struct nbd_extended_reply_head) + sizeof(struct nbd_hole_chunk))

uint32_t nbd_error_of(int code)
{
	switch (code) {
	case 0:
		return 0;
	case -EPERM:
	case -EROFS:
	case -EACCES:
		return NBD_EPERM;
	case -ENOMEM:
		return NBD_ENOMEM;
	case -EINVAL:
		return NBD_EINVAL;
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return NBD_ENOSPC;
	case -EOVERFLOW:
		return NBD_EOVERFLOW;
	case -ENOTSUP:
		return NBD_ENOTSUP;
	case -ESHUTDOWN:
		return NBD_ESHUTDOWN;
	default:
		return NBD_EIO;
	}
}

static void sent(struct nbd_out *out)
{
	nbd_request_finish((struct nbd_request *)((char *)out -
						  offsetof(struct nbd_request,
							   out)));
}

static void put(struct nbd_request *r, struct iovec *parts, uint32_t count)
{
	r->out.parts = parts;
	r->out.count = count;
	r->out.sent = sent;
	nbd_conn_put(r->conn, &r->out);
}

/* Without memory for an answer there is none, and the stream out of step. */
static void give_up(struct nbd_request *r)
{
	nbd_conn_close(r->conn, "no memory for an answer");
	put(r, r->few, 0);
}

static uint32_t put_simple_head(const struct nbd_request *r, uint8_t *at,
				uint32_t error)
{
	struct nbd_simple_reply_head *h = (void *)at;

	tide__put_be(h->magic, NBD_SIMPLE_REPLY_MAGIC, 4);
	tide__put_be(h->error, error, 4);
	tide__put_be(h->cookie, r->cookie, 8);
	return sizeof(*h);
}

/* The head of a chunk of @length bytes; returns its own length. */
static uint32_t put_chunk_head(const struct nbd_request *r, uint8_t *at,
			       uint16_t type, uint64_t length, bool last)
{
	struct nbd_structured_reply_head *narrow = (void *)at;

	if (r->conn->headers == NBD_EXTENDED) {
		struct nbd_extended_reply_head *wide = (void *)at;

		tide__put_be(wide->magic, NBD_EXTENDED_REPLY_MAGIC, 4);
		tide__put_be(wide->flags, last ? NBD_REPLY_FLAG_DONE : 0, 2);
		tide__put_be(wide->type, type, 2);
		tide__put_be(wide->cookie, r->cookie, 8);
		tide__put_be(wide->offset, r->offset, 8);
		tide__put_be(wide->length, length, 8);
		return sizeof(*wide);
	}
	tide__put_be(narrow->magic, NBD_STRUCTURED_REPLY_MAGIC, 4);
	tide__put_be(narrow->flags, last ? NBD_REPLY_FLAG_DONE : 0, 2);
	tide__put_be(narrow->type, type, 2);
	tide__put_be(narrow->cookie, r->cookie, 8);
	tide__put_be(narrow->length, length, 4);
	return sizeof(*narrow);
}

void nbd_reply_done(struct nbd_request *r)
{
	uint32_t length = r->conn->headers == NBD_EXTENDED
				  ? put_chunk_head(r, r->heads, NBD_REPLY_NONE,
						   0, true)
				  : put_simple_head(r, r->heads, 0);

	nbd_count_answer(r, 0);
	r->few[0] = (struct iovec){ r->heads, length };
	put(r, r->few, 1);
}

void nbd_reply_error(struct nbd_request *r, uint32_t error, const char *text)
{
	struct nbd_error_chunk chunk;
	uint32_t length, text_length = (uint32_t)strlen(text);

	nbd_count_answer(r, error);
	if (r->conn->headers == NBD_SIMPLE) {
		length = put_simple_head(r, r->heads, error);
		r->few[0] = (struct iovec){ r->heads, length };
		put(r, r->few, 1);
		return;
	}
	length = put_chunk_head(r, r->heads, NBD_REPLY_ERROR_PLAIN,
				sizeof(chunk) + text_length, true);
	tide__put_be(chunk.error, error, 4);
	tide__put_be(chunk.text_length, text_length, 2);
	memcpy(r->heads + length, &chunk, sizeof(chunk));
	r->few[0] = (struct iovec){ r->heads, length + sizeof(chunk) };
	r->few[1] = (struct iovec){ (char *)text, text_length };
	put(r, r->few, 2);
}

/* One chunk of a read, into a head and a part or two. Returns the parts. */
static uint32_t put_run(const struct nbd_request *r, const struct nbd_run *run,
			uint64_t at, bool last, uint8_t *head,
			struct iovec *parts)
{
	uint64_t offset = r->offset + at;
	uint32_t length;

	if (run->zero) {
		struct nbd_hole_chunk hole;

		length = put_chunk_head(r, head, NBD_REPLY_OFFSET_HOLE,
					sizeof(hole), last);
		tide__put_be(hole.offset, offset, 8);
		tide__put_be(hole.length, run->length_bytes, 4);
		memcpy(head + length, &hole, sizeof(hole));
		parts[0] = (struct iovec){ head, length + sizeof(hole) };
		return 1;
	}
	length = put_chunk_head(r, head, NBD_REPLY_OFFSET_DATA,
				8 + run->length_bytes, last);
	tide__put_be(head + length, offset, 8);
	parts[0] = (struct iovec){ head, length + 8 };
	parts[1] = (struct iovec){ r->buf + at, run->length_bytes };
	return 2;
}

static void reply_runs(struct nbd_request *r, const struct nbd_run *runs,
		       uint32_t count)
{
	struct iovec *parts = r->few;
	uint8_t *heads = r->heads;
	uint32_t used = 0;
	uint64_t at = 0;

	if (count > 1) {
		r->many = malloc(count * (2 * sizeof(*parts) + MAX_HEAD));
		if (!r->many) {
			give_up(r);
			return;
		}
		parts = r->many;
		heads = (uint8_t *)(parts + 2 * count);
	}
	for (uint32_t i = 0; i < count; i++) {
		used += put_run(r, &runs[i], at, i == count - 1,
				heads + i * MAX_HEAD, parts + used);
		at += runs[i].length_bytes;
	}
	put(r, parts, used);
}

void nbd_reply_read(struct nbd_request *r)
{
	struct nbd_run runs[NBD_MAX_RUNS] = { { r->length, false } };
	uint32_t count = 1;

	nbd_count_answer(r, 0);
	if (!r->length && r->conn->headers != NBD_SIMPLE) {
		uint32_t length = put_chunk_head(r, r->heads, NBD_REPLY_NONE, 0,
						 true);

		r->few[0] = (struct iovec){ r->heads, length };
		put(r, r->few, 1);
		return;
	}
	if (r->conn->headers == NBD_SIMPLE) {
		r->few[0] = (struct iovec){ r->heads,
					    put_simple_head(r, r->heads, 0) };
		r->few[1] = (struct iovec){ r->buf, r->length };
		put(r, r->few, 2);
		return;
	}
	/* Not in fragments: then one run, and a hole only if it is all one. */
	count = nbd_sparse_runs(r->buf, r->offset, r->length, runs);
	if (count > 1 && r->flags & NBD_CMD_FLAG_DF) {
		runs[0] = (struct nbd_run){ r->length, false };
		count = 1;
	}
	reply_runs(r, runs, count);
}

void nbd_reply_read_file(struct nbd_request *r)
{
	const struct nbd_run all = { r->length, false };

	nbd_count_answer(r, 0);
	nbd_count_uncopied(r);
	if (r->conn->headers == NBD_SIMPLE)
		r->few[0] = (struct iovec){ r->heads,
					    put_simple_head(r, r->heads, 0) };
	else
		put_run(r, &all, 0, true, r->heads, r->few);
	r->out.file = r->conn->export->reader_fd;
	r->out.file_at = (off_t)r->offset;
	r->out.file_bytes = r->length;
	put(r, r->few, 1);
}

void nbd_reply_chunks(struct nbd_request *r, uint16_t type,
		      const struct iovec *payloads, uint32_t chunks)
{
	struct iovec *parts;
	uint8_t *heads;

	nbd_count_answer(r, 0);
	r->many = malloc(chunks * (2 * sizeof(*parts) + MAX_HEAD));
	if (!r->many) {
		give_up(r);
		return;
	}
	parts = r->many;
	heads = (uint8_t *)(parts + 2 * chunks);
	for (uint32_t i = 0; i < chunks; i++) {
		uint8_t *head = heads + i * MAX_HEAD;

		parts[2 * i] = (struct iovec){
			head, put_chunk_head(r, head, type, payloads[i].iov_len,
					     i == chunks - 1),
		};
		parts[2 * i + 1] = payloads[i];
	}
	put(r, parts, 2 * chunks);
}
