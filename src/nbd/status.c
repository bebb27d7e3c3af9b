/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BLOCK_STATUS: what the selected contexts say about a range.
 *
 * A worker asks the contexts, one after the other, and writes each answer as
 * the bytes to be sent, so that only a list of chunks is left for the loop.
 * Meanwhile the loop does not touch the struct nbd_status; it holds a
 * reference to each context for it, because the client's selection may end
 * first.
 *
 * No answer is longer than MAX_EXTENTS: the client asks again from its end.
 * Nor does one reach past the requested range.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bytes.h"
#include "disk/disk.h"
#include "nbd/conn.h"
#include "nbd/extents.h"
#include "nbd/loop.h"

#define MAX_EXTENTS 65536u

struct nbd_status {
	struct nbd_selected asked[NBD_MAX_SELECTED];
	struct iovec answers[NBD_MAX_SELECTED];
	uint32_t count;
	bool extended;
	uint32_t max;
	uint64_t offset, length;
	int result;
	struct tide_error err;
};

void nbd_status_free(struct nbd_status *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->count; i++) {
		nbd_context_put(s->asked[i].context);
		free(s->answers[i].iov_base);
	}
	free(s);
}

uint64_t nbd_status_charge(const struct nbd_conn *c, uint16_t flags)
{
	uint64_t extents = flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS;

	/* While it is encoded there are the extents and their bytes. */
	return sizeof(struct nbd_status) +
	       c->selected_count * extents *
		       (sizeof(struct nbd_extent) +
			sizeof(struct nbd_extent_wide));
}

/* Length and flags, 32 bits each, leave as one word. */
static void encode_narrow(uint8_t *at, const struct nbd_extents *x)
{
	for (uint32_t n = 0; n < x->count; n++, at += 8) {
		uint64_t both = htobe64(x->list[n].length_bytes << 32 |
					(uint32_t)x->list[n].flags);

		memcpy(at, &both, 8);
	}
}

static void encode_wide(uint8_t *at, const struct nbd_extents *x)
{
	for (uint32_t n = 0; n < x->count; n++, at += 16) {
		uint64_t both[2] = { htobe64(x->list[n].length_bytes),
				     htobe64(x->list[n].flags) };

		memcpy(at, both, 16);
	}
}

/* {u32 id, extents}, or with extended headers {u32 id, u32 count, extents}. */
static int encode(struct nbd_status *s, uint32_t i, const struct nbd_extents *x)
{
	size_t each = s->extended ? sizeof(struct nbd_extent_wide)
				  : sizeof(struct nbd_extent_narrow);
	size_t length = (s->extended ? 8 : 4) + each * x->count;
	uint8_t *at = malloc(length);

	if (!at)
		return -ENOMEM;
	s->answers[i] = (struct iovec){ at, length };
	tide__put_be(at, s->asked[i].id, 4);
	at += 4;
	if (s->extended) {
		tide__put_be(at, x->count, 4);
		at += 4;
	}
	if (s->extended)
		encode_wide(at, x);
	else
		encode_narrow(at, x);
	return 0;
}

static int ask(struct nbd_status *s, uint32_t i)
{
	const struct nbd_context *c = s->asked[i].context;
	struct nbd_extents x;
	int ret;

	nbd_extents_init(&x, s->length, s->max);
	ret = c->extents(c->opaque, s->offset, s->length, &x, &s->err);
	if (!ret && x.no_memory)
		ret = -ENOMEM;
	if (!ret && !x.count)
		ret = -EIO;	/* a context that says nothing is broken */
	if (!ret)
		ret = encode(s, i, &x);
	nbd_extents_fini(&x);
	return ret;
}

static struct nbd_request *request_of(struct nbd_job *job)
{
	return (struct nbd_request *)((char *)job -
				      offsetof(struct nbd_request, job));
}

/* On a worker. */
static void run(struct nbd_job *job)
{
	struct nbd_status *s = request_of(job)->status;

	for (uint32_t i = 0; i < s->count && !s->result; i++)
		s->result = ask(s, i);
}

static void done(struct nbd_job *job)
{
	struct nbd_request *r = request_of(job);
	struct nbd_status *s = r->status;
	uint64_t held = sizeof(*s);

	for (uint32_t i = 0; i < s->count; i++)
		held += s->answers[i].iov_len;
	nbd_request_holds(r, held);
	if (s->result)
		nbd_reply_error(r, nbd_error_of(s->result),
				s->err.code ? s->err.text
					    : strerror(-s->result));
	else
		nbd_reply_chunks(r, s->extended ? NBD_REPLY_BLOCK_STATUS_EXT
						: NBD_REPLY_BLOCK_STATUS,
				 s->answers, s->count);
}

static void add(struct nbd_status *s, const struct nbd_selected *selected)
{
	tide__add_seqcst(&selected->context->refs, 1); /* the selection's holds */
	s->asked[s->count++] = *selected;
}

/* The contexts of the payload's ids: each selected, and none twice. */
static bool add_asked(const struct nbd_request *r, struct nbd_status *s)
{
	const struct nbd_conn *c = r->conn;

	for (const uint8_t *at = r->buf + 8; at < r->buf + r->buf_bytes;
	     at += 4) {
		uint32_t id = (uint32_t)tide__get_be(at, 4), i = 0;

		for (uint32_t n = 0; n < s->count; n++)
			if (s->asked[n].id == id)
				return false;
		while (i < c->selected_count && c->selected[i].id != id)
			i++;
		if (i == c->selected_count)
			return false;
		add(s, &c->selected[i]);
	}
	return true;
}

/* The payload says which contexts, and how long the range is. */
static const char *take_payload(struct nbd_request *r, struct nbd_status *s)
{
	uint64_t size = tide_disk_size(r->conn->export->disk);

	s->length = tide__get_be(r->buf, 8);
	if (!s->length)
		return "the status of no bytes";
	if (s->offset > size || s->length > size - s->offset)
		return "the range reaches over the disk's end";
	if (!add_asked(r, s))
		return "the payload names a context that is not selected, or "
		       "one twice";
	return NULL;
}

void nbd_status_begin(struct nbd_request *r)
{
	struct nbd_status *s = calloc(1, sizeof(*s));
	const struct nbd_conn *c = r->conn;
	const char *wrong = NULL;

	r->status = s;
	if (!s) {
		nbd_reply_error(r, NBD_ENOMEM, "no memory for the status");
		return;
	}
	s->extended = c->headers == NBD_EXTENDED;
	s->max = r->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS;
	s->offset = r->offset;
	s->length = r->length;
	if (r->flags & NBD_CMD_FLAG_PAYLOAD_LEN)
		wrong = take_payload(r, s);
	else
		for (uint32_t i = 0; i < c->selected_count; i++)
			add(s, &c->selected[i]);
	if (wrong) {
		nbd_reply_error(r, NBD_EINVAL, wrong);
		return;
	}
	r->job.run = run;
	r->job.done = done;
	nbd_work_give(&c->loop->common->work, &c->loop->done, &r->job);
}
