/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each command does to the disk, through the loop's queue.
 *
 * FUA is a flag of the disk's request, too. TRIM is a hint and succeeds where
 * the disk does not support it. CACHE reads and discards, in pieces: what the
 * kernel then has cached is what the client wanted. If the client disconnects
 * meanwhile, nothing further is started for it.
 */
#include <errno.h>
#include <string.h>

#include "disk/disk.h"
#include "nbd/conn.h"
#include "nbd/loop.h"
#include "nbd/pages.h"

static struct nbd_request *request_of(struct tide_io *io)
{
	return (struct nbd_request *)io;
}

static void submit(struct nbd_request *r, enum tide_io_op op,
		   void (*done)(struct tide_io *io))
{
	r->io.op = op;
	r->io.done = done;
	tide_queue_submit(r->conn->loop->queue, r->conn->export->disk, &r->io);
}

static void fail(struct nbd_request *r, int code)
{
	nbd_reply_error(r, nbd_error_of(code), strerror(-code));
}

static bool is_gone(const struct nbd_request *r)
{
	return r->conn->phase == NBD_PHASE_CLOSED;
}

static void on_read(struct tide_io *io)
{
	struct nbd_request *r = request_of(io);

	if (io->result)
		fail(r, io->result);
	else
		nbd_reply_read(r);
}

static void on_changed(struct tide_io *io)
{
	struct nbd_request *r = request_of(io);

	if (io->result)
		fail(r, io->result);
	else
		nbd_reply_done(r);
}

static void on_trimmed(struct tide_io *io)
{
	if (io->result == -ENOTSUP)
		io->result = 0;
	on_changed(io);
}

static void cache_piece(struct nbd_request *r);

static void on_cached(struct tide_io *io)
{
	struct nbd_request *r = request_of(io);

	io->offset_bytes += io->length_bytes;
	r->length -= io->length_bytes;
	if (io->result)
		fail(r, io->result);
	else if (r->length && !is_gone(r))
		cache_piece(r);
	else
		nbd_reply_done(r);
}

static void cache_piece(struct nbd_request *r)
{
	r->io.length_bytes = r->length < r->buf_bytes ? r->length
						      : r->buf_bytes;
	submit(r, TIDE_IO_READ, on_cached);
}

static void zero(struct nbd_request *r)
{
	if (!(r->flags & NBD_CMD_FLAG_NO_HOLE))
		r->io.flags |= TIDE_ZERO_MAY_UNMAP;
	if (r->flags & NBD_CMD_FLAG_FAST_ZERO)
		r->io.flags |= TIDE_ZERO_NO_FALLBACK;
	submit(r, TIDE_IO_ZERO, on_changed);
}

void nbd_request_carry(struct nbd_request *r)
{
	r->io.flags = r->flags & NBD_CMD_FLAG_FUA ? TIDE_FUA : 0;
	r->io.buf = r->buf;
	r->io.iov_count = 0;
	r->io.offset_bytes = r->offset;
	r->io.length_bytes = r->length;
	switch (r->command) {
	case NBD_CMD_READ:
		if (nbd_pages_can(r))
			nbd_reply_read_file(r);
		else
			submit(r, TIDE_IO_READ, on_read);
		break;
	case NBD_CMD_WRITE:
		submit(r, TIDE_IO_WRITE, on_changed);
		break;
	case NBD_CMD_FLUSH:
		submit(r, TIDE_IO_FLUSH, on_changed);
		break;
	case NBD_CMD_TRIM:
		submit(r, TIDE_IO_DISCARD, on_trimmed);
		break;
	case NBD_CMD_CACHE:
		cache_piece(r);
		break;
	case NBD_CMD_WRITE_ZEROES:
		zero(r);
		break;
	case NBD_CMD_BLOCK_STATUS:
		nbd_status_begin(r);
		break;
	}
}
