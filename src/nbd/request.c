/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests: read, validated, charged, and handed on.
 *
 * A request is validated by its header alone, before any of its payload is
 * read or memory allocated. An invalid request still has its payload, which is
 * skipped: the stream stays in sync, the client gets its error and may
 * continue. The connection ends only if the next request cannot be found:
 * wrong magic, or a payload length beyond 32 bits.
 *
 * A request's memory is charged to the loop first (budget.c). If that fails,
 * the connection is paused with the header still in place, and this step runs
 * again later: it has changed nothing.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "disk/disk.h"
#include "nbd/conn.h"
#include "nbd/loop.h"

/* What a request costs beside its data. */
#define REQUEST_COST_BYTES 1024u
#define CACHE_PIECE_BYTES (1u << 20)

/* A head, and what was found about it. */
struct head {
	uint16_t flags, command;
	uint64_t cookie, offset, length;
	uint64_t payload; /* follows on the stream */
	uint64_t buffer; /* bytes of memory for data */
	uint64_t charge;
	uint32_t error;
	const char *text;
};

struct command {
	uint16_t flags; /* that it knows, beside FUA, which all accept */
	bool known;
	bool changes;
	uint32_t past_end; /* the error for a range that reaches over the end */
};

static const struct command commands[] = {
	[NBD_CMD_READ] = { NBD_CMD_FLAG_DF, true, false, NBD_EINVAL },
	[NBD_CMD_WRITE] = { NBD_CMD_FLAG_PAYLOAD_LEN, true, true, NBD_ENOSPC },
	[NBD_CMD_FLUSH] = { 0, true, false, 0 },
	[NBD_CMD_TRIM] = { 0, true, true, NBD_EINVAL },
	[NBD_CMD_CACHE] = { 0, true, false, NBD_EINVAL },
	[NBD_CMD_WRITE_ZEROES] = { NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
				   true, true, NBD_ENOSPC },
	[NBD_CMD_BLOCK_STATUS] = { NBD_CMD_FLAG_REQ_ONE |
					   NBD_CMD_FLAG_PAYLOAD_LEN,
				   true, false, NBD_EINVAL },
};

static void step_request(struct nbd_conn *c);

static void expect_request(struct nbd_conn *c)
{
	if (c->phase == NBD_PHASE_TRANSMISSION)
		nbd_conn_expect(c, c->head,
				c->headers == NBD_EXTENDED
					? sizeof(struct nbd_extended_request_head)
					: sizeof(struct nbd_request_head),
				step_request);
}

void nbd_requests_begin(struct nbd_conn *c)
{
	nbd_loop_share(c->loop);
	expect_request(c);
}

/* False: it is no request. */
static bool parse(const struct nbd_conn *c, struct head *h)
{
	const struct nbd_extended_request_head *wide = (const void *)c->head;
	const struct nbd_request_head *narrow = (const void *)c->head;
	bool extended = c->headers == NBD_EXTENDED;

	*h = (struct head){ 0 };
	h->flags = (uint16_t)tide__get_be(narrow->flags, 2);
	h->command = (uint16_t)tide__get_be(narrow->type, 2);
	h->cookie = tide__get_be(narrow->cookie, 8);
	h->offset = tide__get_be(narrow->offset, 8);
	h->length = extended ? tide__get_be(wide->length, 8)
			     : tide__get_be(narrow->length, 4);
	return tide__get_be(narrow->magic, 4) ==
	       (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
}

static void refuse(struct head *h, uint32_t error, const char *text)
{
	if (h->error)
		return;
	h->error = error;
	h->text = text;
}

static void judge_flags(const struct nbd_conn *c, struct head *h,
			const struct command *k)
{
	uint16_t allowed = k->flags | NBD_CMD_FLAG_FUA;

	if (c->headers != NBD_EXTENDED)
		allowed &= (uint16_t)~NBD_CMD_FLAG_PAYLOAD_LEN;
	if (c->headers == NBD_SIMPLE)
		allowed &= (uint16_t)~(NBD_CMD_FLAG_DF | NBD_CMD_FLAG_REQ_ONE);
	if (h->flags & ~allowed)
		refuse(h, NBD_EINVAL, "flags that this command does not know");
}

static void judge_range(const struct nbd_conn *c, struct head *h,
			const struct command *k)
{
	uint64_t size = tide_disk_size(c->export->disk);

	if (k->past_end &&
	    (h->offset > size || h->length > size - h->offset))
		refuse(h, k->past_end, "the range reaches over the disk's end");
}

static void judge_data(struct head *h)
{
	if (h->length <= NBD_LARGEST_PAYLOAD)
		return;
	refuse(h, h->flags & NBD_CMD_FLAG_DF ? NBD_EOVERFLOW : NBD_EINVAL,
	       "more than 32 MiB in one request");
}

/* A payload, if there is one, says which contexts and how long. */
static void judge_status(const struct nbd_conn *c, struct head *h)
{
	if (!c->selected_count)
		refuse(h, NBD_EINVAL, "no meta context was selected");
	if (!h->length)
		refuse(h, NBD_EINVAL, "the status of no bytes");
	if (h->payload &&
	    (h->payload < 12 || h->payload % 4 ||
	     h->payload > 8 + 4 * NBD_MAX_SELECTED))
		refuse(h, NBD_EINVAL, "a payload of the wrong length");
}

static void judge(const struct nbd_conn *c, struct head *h)
{
	static const struct command unknown;
	const struct command *k = &unknown;
	bool has_payload = c->headers == NBD_EXTENDED &&
			   h->flags & NBD_CMD_FLAG_PAYLOAD_LEN;

	if (h->command < sizeof(commands) / sizeof(commands[0]))
		k = &commands[h->command];
	if (has_payload || h->command == NBD_CMD_WRITE)
		h->payload = h->length;
	if (!k->known)
		refuse(h, NBD_EINVAL, "a command that is not known here");
	judge_flags(c, h, k);
	if (k->changes && c->export->read_only)
		refuse(h, NBD_EPERM, "this export is for reading only");
	if (h->command == NBD_CMD_READ || h->command == NBD_CMD_WRITE)
		judge_data(h);
	if (h->command == NBD_CMD_BLOCK_STATUS)
		judge_status(c, h);
	if (h->command != NBD_CMD_BLOCK_STATUS || !h->payload)
		judge_range(c, h, k);
}

/* How much memory it takes until it is answered. */
static void price(const struct nbd_conn *c, struct head *h)
{
	h->charge = REQUEST_COST_BYTES;
	if (h->error)
		return;
	if (h->command == NBD_CMD_READ || h->command == NBD_CMD_WRITE)
		h->buffer = h->length;
	else if (h->command == NBD_CMD_CACHE)
		h->buffer = h->length < CACHE_PIECE_BYTES ? h->length
							  : CACHE_PIECE_BYTES;
	else if (h->command == NBD_CMD_BLOCK_STATUS && h->payload)
		h->buffer = h->payload;
	h->charge += h->buffer;
	if (h->command == NBD_CMD_BLOCK_STATUS)
		h->charge += nbd_status_charge(c, h->flags);
}

static struct nbd_request *create(struct nbd_conn *c, const struct head *h)
{
	struct nbd_request *r = nbd_loop_get_request(c->loop);

	if (!r)
		return NULL;
	r->conn = c;
	r->began_ns = c->loop->now_ns;
	r->cookie = h->cookie;
	r->offset = h->offset;
	r->length = h->length;
	r->command = h->command;
	r->flags = h->flags;
	r->error = h->error;
	r->error_text = h->text;
	r->charged_bytes = h->charge;
	r->buf_bytes = h->buffer;
	r->buf = NULL;
	r->many = NULL;
	r->out.file_bytes = 0;
	r->status = NULL;
	if (h->buffer) {
		r->buf = nbd_buffers_get(&c->loop->buffers, h->buffer);
		if (!r->buf) {
			r->error = NBD_ENOMEM;
			r->error_text = "no memory for the data";
		}
	}
	c->requests++;
	c->taken++;
	return r;
}

void nbd_request_holds(struct nbd_request *r, uint64_t bytes)
{
	uint64_t charge = REQUEST_COST_BYTES + r->buf_bytes + bytes;

	if (charge >= r->charged_bytes)
		return;
	nbd_loop_uncharge(r->conn, r->charged_bytes - charge);
	r->charged_bytes = charge;
	nbd_loop_mark_dirty(r->conn); /* it may be heard again */
}

void nbd_request_finish(struct nbd_request *r)
{
	struct nbd_conn *c = r->conn;

	nbd_buffers_put(&c->loop->buffers, r->buf, r->buf_bytes);
	nbd_status_free(r->status);
	free(r->many);
	nbd_loop_uncharge(c, r->charged_bytes);
	c->requests--;
	if (c->phase == NBD_PHASE_ENDING)
		nbd_loop_mark_dirty(c); /* that may have been the last */
	else if (c->phase == NBD_PHASE_CLOSED)
		c->loop->closed_any = true;
	nbd_loop_put_request(c->loop, r);
}

static void start(struct nbd_request *r)
{
	if (r->error)
		nbd_reply_error(r, r->error, r->error_text);
	else
		nbd_request_carry(r);
}

static void step_payload(struct nbd_conn *c)
{
	struct nbd_request *r = c->incoming;

	c->incoming = NULL;
	expect_request(c);
	start(r);
}

static void step_request(struct nbd_conn *c)
{
	struct nbd_request *r;
	struct head h;

	if (!parse(c, &h)) {
		nbd_conn_close(c, "sent something else than a request");
		return;
	}
	if (h.command == NBD_CMD_DISC) {
		nbd_conn_end(c);
		return;
	}
	judge(c, &h);
	if (h.payload > UINT32_MAX) {
		nbd_conn_close(c, "announced a payload of more than 4 GiB");
		return;
	}
	price(c, &h);
	if (!nbd_loop_charge(c, h.charge))
		return;
	r = create(c, &h);
	if (!r) {
		nbd_loop_uncharge(c, h.charge);
		nbd_conn_close(c, "no memory for a request");
		return;
	}
	if (!h.payload) {
		expect_request(c);
		start(r);
		return;
	}
	c->incoming = r;
	nbd_conn_expect(c, r->error ? NULL : r->buf, h.payload, step_payload);
}
