/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing guest data, in the caller's thread.
 *
 * A request is cut into chunks that one metadata page maps and that one kind
 * of work covers. What becomes of the metadata is in change.c; here the data is
 * moved between its two halves, without the lock: as it is, or with what
 * surrounds it in its first and last cluster (from the backing file, the old
 * cluster, or zeroes).
 */
#include <errno.h>
#include <stdlib.h>

#include "qcow2/driver/change.h"

#define MAX_BOUNCE_BYTES (4ull << 20)

int qcow2_may_write(struct qcow2 *q, struct tide_error *err)
{
	if (q->broken)
		return tide_error_set(err, q->broken, "qcow2", TIDE_NO_OFFSET,
				      "%s takes no more writes: %s",
				      q->disk.path, q->why_broken);
	return q->prepared ? 0 : qcow2_first_write(q, err);
}

bool qcow2_backed(const struct qcow2 *q, uint64_t offset)
{
	return q->backing && offset < tide_disk_size(q->backing);
}

static uint64_t host_of(const struct qcow2_change *c, uint64_t guest)
{
	return c->host + (guest - c->base);
}

/* The edge [from, to) of the guest, through a buffer, to the new cluster. */
static int write_edge(struct qcow2 *q, const struct qcow2_change *c,
		      uint64_t from, uint64_t to, struct tide_error *err)
{
	uint8_t *bytes;
	int ret;

	if (from == to)
		return 0;
	bytes = malloc(to - from);
	if (!bytes)
		return tide_error_set(err, -ENOMEM, "qcow2", from,
				      "no memory to copy a cluster");
	ret = qcow2_read_registered(q, from, bytes, to - from, err);
	if (ret == 0)
		ret = tide_disk_write(q->data, host_of(c, from), bytes,
				      to - from, err);
	free(bytes);
	return ret;
}

/* Old bytes around the new ones. */
static int join(struct qcow2 *q, const struct qcow2_change *c,
		const struct tide_vec *from, uint8_t *bytes,
		struct tide_error *err)
{
	uint64_t head = c->offset - c->from, end = c->offset + c->length;
	int ret = 0;

	if (head)
		ret = qcow2_read_registered(q, c->from, bytes, head, err);
	if (ret == 0 && c->to > end)
		ret = qcow2_read_registered(q, end, bytes + (end - c->from),
					    c->to - end, err);
	tide__vec_gather(from, bytes + head);
	return ret;
}

/* Chunk and edges in one write: the usual case of a small write. */
static int write_joined(struct qcow2 *q, const struct qcow2_change *c,
			const struct tide_vec *from, struct tide_error *err)
{
	uint64_t length = c->to - c->from;
	uint8_t *bytes = malloc(length);
	int ret;

	if (!bytes)
		return tide_error_set(err, -ENOMEM, "qcow2", c->offset,
				      "no memory to copy a cluster");
	ret = join(q, c, from, bytes, err);
	/* The last cluster of the disk may reach past the end of its file. */
	if (q->external && c->to > q->disk.size_bytes)
		length = q->disk.size_bytes - c->from;
	if (ret == 0)
		ret = tide_disk_write(q->data, host_of(c, c->from), bytes,
				      length, err);
	free(bytes);
	return ret;
}

/* Without the lock: all bytes of [from, to) that matter. */
static int move_data(struct qcow2 *q, const struct qcow2_change *c,
		     const struct tide_vec *from, struct tide_error *err)
{
	bool edges = qcow2_change_has_edges(q, c);
	int ret;

	if (edges && c->to - c->from <= MAX_BOUNCE_BYTES)
		return write_joined(q, c, from, err);
	ret = tide__disk_writev(q->data, host_of(c, c->offset), from,
				c->to_flush ? 0 : c->flags, err);
	if (ret == 0 && edges)
		ret = write_edge(q, c, c->from, c->offset, err);
	if (ret == 0 && edges)
		ret = write_edge(q, c, c->offset + c->length, c->to, err);
	return ret;
}

/* The beginning of @left, as far as one chunk goes. */
static int write_chunk(struct qcow2 *q, struct qcow2_change *c,
		       const struct tide_vec *left, struct tide_error *err)
{
	struct tide_vec from;
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = qcow2_change_begin(q, c, err);
	pthread_mutex_unlock(&q->lock);
	if (ret < 0)
		return ret;
	from = tide__vec_slice(left, 0, c->length);
	ret = move_data(q, c, &from, err);
	pthread_mutex_lock(&q->lock);
	ret = qcow2_change_end(q, c, ret, err);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

/* How much of what is left one chunk may be. */
static uint64_t chunk_reach(const struct qcow2 *q, uint64_t offset,
			    uint64_t left)
{
	uint64_t reach = qcow2_page_reach(q, offset);

	/* Extents with subclusters end within their cluster. */
	if (q->extended)
		reach = q->cluster_bytes - (offset & (q->cluster_bytes - 1));
	return left < reach ? left : reach;
}

int qcow2_writev(struct tide_disk *d, uint64_t offset,
		 const struct tide_vec *from, uint32_t flags,
		 struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	struct tide_vec left = *from;
	bool to_flush = false;
	int ret = 0;

	while (ret == 0 && left.length_bytes) {
		struct qcow2_change c = { .offset = offset, .flags = flags,
					  .wait = true };

		c.length = chunk_reach(q, offset, left.length_bytes);
		ret = qcow2_make_room(q, err);
		if (ret == 0)
			ret = write_chunk(q, &c, &left, err);
		to_flush |= c.to_flush;
		offset += c.length;
		left = tide__vec_slice(&left, c.length,
				       left.length_bytes - c.length);
	}
	return ret == 0 && to_flush ? qcow2_flush(d, err) : ret;
}
