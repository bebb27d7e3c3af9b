/* SPDX-License-Identifier: BSD-2-Clause */
#include "nbd_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct nbd_memory_disk *disk_of(struct tide_disk *d)
{
	return (struct nbd_memory_disk *)d;
}

static int carry_out(struct nbd_memory_disk *d, struct tide_io *io)
{
	uint64_t from = io->offset_bytes, length = io->length_bytes;

	if (d->fail)
		return d->fail;
	switch (io->op) {
	case TIDE_IO_READ:
		memcpy(io->buf, d->bytes + from, length);
		return 0;
	case TIDE_IO_WRITE:
		d->writes++;
		memcpy(d->bytes + from, io->buf, length);
		break;
	case TIDE_IO_ZERO:
		d->zero_flags = io->flags & ~(uint32_t)TIDE_FUA;
		memset(d->bytes + from, 0, length);
		break;
	case TIDE_IO_DISCARD:
		break;
	case TIDE_IO_FLUSH:
		d->flushes++;
		return 0;
	}
	d->flushes += io->flags & TIDE_FUA ? 1 : 0;
	for (uint64_t at = from / NBD_MEMORY_BLOCK;
	     length && at <= (from + length - 1) / NBD_MEMORY_BLOCK; at++)
		d->hole[at] = false;
	return 0;
}

static bool start(struct tide_disk *disk, struct tide_io *io)
{
	struct nbd_memory_disk *d = disk_of(disk);

	if (d->hold && d->held_count < 512)
		d->held[d->held_count++] = io;
	else
		tide_io_complete(io, carry_out(d, io));
	return true;
}

static int status(struct tide_disk *disk, uint64_t offset_bytes,
		  uint64_t length_bytes, struct tide_disk_extent *x,
		  struct tide_error *err)
{
	struct nbd_memory_disk *d = disk_of(disk);
	uint64_t block = offset_bytes / NBD_MEMORY_BLOCK;
	uint64_t n = NBD_MEMORY_BLOCK - offset_bytes % NBD_MEMORY_BLOCK;

	if (d->fail)
		return tide_error_set(err, d->fail, "memory", offset_bytes,
				      "the disk fails");
	*x = (struct tide_disk_extent){
		.length_bytes = n < length_bytes ? n : length_bytes,
		.flags = d->hole[block] ? TIDE_EXTENT_HOLE | TIDE_EXTENT_ZERO
					: 0,
	};
	return 0;
}

static const struct tide_disk_ops ops = {
	.name = "memory", .start = start, .status = status, .fua = true,
};

static void disk_init(struct nbd_memory_disk *d, bool writable)
{
	d->disk = (struct tide_disk){ .ops = &ops, .writable = writable,
				      .size_bytes = NBD_MEMORY_BYTES,
				      .alignment_bytes = 1, .path = "memory" };
	d->bytes = calloc(1, NBD_MEMORY_BYTES);
	for (size_t i = 0; i < NBD_MEMORY_BYTES / NBD_MEMORY_BLOCK; i++)
		d->hole[i] = true;
}

void nbd_memory_init(struct nbd_memory *m, const struct nbd_limits *limits)
{
	memset(m, 0, sizeof(*m));
	setenv("TIDEMARK_IO", "threads", 1); /* no ring: nothing uses it */
	disk_init(&m->disk, true);
	disk_init(&m->read_only, false);
	if (limits)
		m->common.limits = *limits;
	nbd_limits_fill(&m->common.limits);
	m->common.loops = 1;
	if (nbd_work_init(&m->common.work, 0) ||
	    nbd_exports_add(&m->common.exports, "rw", &m->disk.disk, false,
			    NULL, NULL) ||
	    nbd_exports_add(&m->common.exports, "ro", &m->read_only.disk, false,
			    NULL, NULL) ||
	    nbd_exports_add(&m->common.exports, "other", &m->disk.disk, true,
			    NULL, NULL) ||
	    nbd_loop_init(&m->loop, &m->common, NULL))
		abort();
}

void nbd_memory_release(struct nbd_memory_disk *d)
{
	/* One that is completed may bring another. */
	for (uint32_t i = 0; i < d->held_count; i++)
		tide_io_complete(d->held[i], carry_out(d, d->held[i]));
	d->held_count = 0;
}

void nbd_memory_fini(struct nbd_memory *m)
{
	m->disk.hold = false;
	nbd_memory_release(&m->disk);
	nbd_loop_fini(&m->loop);
	nbd_work_fini(&m->common.work);
	nbd_exports_fini(&m->common.exports);
	free(m->disk.bytes);
	free(m->read_only.bytes);
}

static ssize_t memory_recv(struct nbd_stream *s, const struct iovec *parts,
			   int count)
{
	struct nbd_memory_client *c = s->opaque;
	size_t left = c->in_length - c->in_at, n = 0;

	if (!left)
		return c->in_ended ? 0 : -EAGAIN;
	if (c->piece && left > c->piece)
		left = c->piece;
	for (int i = 0; i < count && left; i++) {
		size_t part = parts[i].iov_len < left ? parts[i].iov_len : left;

		memcpy(parts[i].iov_base, c->in + c->in_at, part);
		c->in_at += part;
		left -= part;
		n += part;
	}
	return (ssize_t)n;
}

static void append(struct nbd_memory_client *c, const void *data, size_t n)
{
	if (c->out_length + n > c->out_room) {
		size_t room = 2 * (c->out_length + n);
		uint8_t *out = NULL;

		/* A test may refuse memory, once; that is not for us. */
		for (int i = 0; i < 2 && !out; i++)
			out = realloc(c->out, room);
		if (!out)
			abort();
		c->out = out;
		c->out_room = room;
	}
	memcpy(c->out + c->out_length, data, n);
	c->out_length += n;
}

static ssize_t memory_send(struct nbd_stream *s, const struct iovec *parts,
			   int count)
{
	struct nbd_memory_client *c = s->opaque;
	size_t n = 0;

	if (!c->may_send)
		return -EAGAIN;
	for (int i = 0; i < count && c->may_send; i++) {
		size_t part = parts[i].iov_len < c->may_send ? parts[i].iov_len
							     : c->may_send;

		if (part)
			append(c, parts[i].iov_base, part);
		c->may_send -= part;
		n += part;
	}
	return (ssize_t)n;
}

static void memory_end(struct nbd_stream *s)
{
	((struct nbd_memory_client *)s->opaque)->ended = true;
}

static void memory_close(struct nbd_stream *s)
{
	struct nbd_memory_client *c = s->opaque;

	c->closed = true;
	c->conn = NULL;
}

void nbd_memory_connect(struct nbd_memory *m, struct nbd_memory_client *c)
{
	static const struct nbd_stream_ops stream_ops = {
		.recv = memory_recv, .send = memory_send, .end = memory_end,
		.close = memory_close,
	};
	struct nbd_stream s = { .ops = &stream_ops, .fd = -1, .opaque = c };

	memset(c, 0, sizeof(*c));
	c->may_send = SIZE_MAX;
	c->conn = nbd_loop_add(&m->loop, &s);
}

void nbd_memory_client_fini(struct nbd_memory_client *c)
{
	free(c->out);
}

void nbd_memory_turn(struct nbd_memory *m, struct nbd_memory_client *c)
{
	bool more;

	do {
		if (c && c->conn && c->may_send)
			nbd_conn_unblock(c->conn);
		if (c && c->conn)
			nbd_conn_read(c->conn);
		more = nbd_loop_turn(&m->loop);
		if (c && c->conn && nbd_conn_wants_input(c->conn))
			more |= c->in_at < c->in_length || c->in_ended;
	} while (more);
}
