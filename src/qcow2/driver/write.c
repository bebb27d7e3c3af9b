/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing guest data.
 *
 * A request is cut into chunks that one metadata page maps and that one kind
 * of work covers: in place, where the entry's host cluster is its own; or into
 * new clusters, where it has none, shares one with a snapshot, or is
 * compressed. New clusters go:
 *
 *    lock    table of our own, clusters counted, guard asked
 *    unlock  data written, with what surrounds it in its first and last
 *            cluster (from the backing file, the old cluster, or zeroes)
 *    lock    entries point to the new clusters, old ones are given back later
 *
 * so that no reader ever sees a cluster before its bytes are there. A failure
 * before the last step gives the clusters back; the old content stays.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"

#define MAX_BOUNCE_BYTES (4ull << 20)

struct chunk {
	uint64_t offset;
	uint64_t length;
	struct tide_vec from; /* all that is left of the request */
	uint32_t flags; /* TIDE_FUA */
	bool to_flush; /* TIDE_FUA, and the entries are not in the file yet */
	struct qcow2_extent e;
	struct qcow2_range range;
	uint64_t host; /* of the first cluster */
	uint64_t clusters;
	bool fresh; /* the clusters were allocated for this chunk */
	bool zeroed; /* and read as zeroes */
};

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

static struct tide_vec bytes_of(const struct chunk *c)
{
	return tide__vec_slice(&c->from, 0, c->length);
}

static bool in_place(const struct qcow2 *q, const struct qcow2_extent *e)
{
	return e->type == QCOW2_DATA && (e->copied || q->external);
}

/*
 * Register the chunk in the way its mapping asks for, and look again when that
 * took a wait. On success the lock is held and the range registered.
 */
static int settle(struct qcow2 *q, struct chunk *c, struct tide_error *err)
{
	uint64_t want = c->length;
	bool changer;
	int ret;

	for (;;) {
		ret = qcow2_lookup(q, c->offset, want, &c->e, err);
		if (ret < 0)
			return ret;
		c->length = c->e.length_bytes;
		changer = !in_place(q, &c->e);
		if (!qcow2_range_begin(
			    &q->ranges, &c->range,
			    round_down(c->offset, q->cluster_bytes),
			    round_up(c->offset + c->length, q->cluster_bytes),
			    changer, &q->lock))
			return 0;
		ret = qcow2_lookup(q, c->offset, c->length, &c->e, err);
		if (ret == 0 && (changer || in_place(q, &c->e))) {
			c->length = c->e.length_bytes;
			return 0;
		}
		qcow2_range_end(&q->ranges, &c->range);
		if (ret < 0)
			return ret;
	}
}

/*
 * The lock is held, and is held again on return. Where the file says already
 * that the cluster is here, data that is durable is all that TIDE_FUA asks.
 */
static int write_in_place(struct qcow2 *q, struct chunk *c,
			  struct tide_error *err)
{
	struct tide_vec from = bytes_of(c);
	uint32_t flags = c->e.durable ? c->flags : 0;
	int ret = 0;

	c->to_flush |= flags != c->flags;

	if (!q->external)
		ret = qcow2_guard(q, c->e.host_offset, c->length, 0,
				  "a guest write", err);
	pthread_mutex_unlock(&q->lock);
	if (ret == 0)
		ret = tide__disk_writev(q->data, c->e.host_offset, &from,
					flags, err);
	pthread_mutex_lock(&q->lock);
	return ret;
}

/* Host clusters for the chunk, which may become shorter. */
static int choose_host(struct qcow2 *q, struct chunk *c, struct tide_error *err)
{
	uint64_t head = c->offset & (q->cluster_bytes - 1), got;
	int ret = 0;

	c->clusters = (head + c->length + q->cluster_bytes - 1) >>
		      q->cluster_bits;
	c->fresh = c->zeroed = false;
	if (q->external) {
		c->host = c->offset - head;
	} else if (c->e.type == QCOW2_ZERO && c->e.has_host && c->e.copied) {
		c->host = c->e.host_offset - head;
	} else {
		ret = qcow2_alloc(q, c->clusters, &c->host, &got, &c->zeroed,
				  err);
		if (ret < 0)
			return ret;
		c->fresh = true;
		if (got < c->clusters) {
			c->clusters = got;
			c->length = (got << q->cluster_bits) - head;
		}
	}
	if (q->external)
		return 0;
	return qcow2_guard(q, c->host, c->clusters << q->cluster_bits, 0,
			   "a guest write to a new cluster", err);
}

/* Does what surrounds the chunk have to be written too? */
static bool needs_edges(const struct qcow2 *q, const struct chunk *c)
{
	uint64_t whole = c->clusters << q->cluster_bits;

	if (c->length == whole)
		return false;
	if (c->e.type == QCOW2_DATA || c->e.type == QCOW2_PACKED)
		return true;
	if (c->e.type == QCOW2_UNALLOCATED &&
	    qcow2_backed(q, round_down(c->offset, q->cluster_bytes)))
		return true;
	return !c->zeroed;
}

/* The edges [from, to) of the guest, through a buffer, to the new cluster. */
static int write_edge(struct qcow2 *q, const struct chunk *c, uint64_t from,
		      uint64_t to, struct tide_error *err)
{
	uint64_t base = round_down(c->offset, q->cluster_bytes);
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
		ret = tide_disk_write(q->data, c->host + (from - base), bytes,
				      to - from, err);
	free(bytes);
	return ret;
}

/* Chunk and edges in one write: the usual case of a small write. */
static int write_joined(struct qcow2 *q, const struct chunk *c,
			struct tide_error *err)
{
	uint64_t base = round_down(c->offset, q->cluster_bytes);
	uint64_t head = c->offset - base, whole = c->clusters
						  << q->cluster_bits;
	uint64_t tail = whole - head - c->length;
	struct tide_vec from = bytes_of(c);
	uint8_t *bytes = malloc(whole);
	int ret = 0;

	if (!bytes)
		return tide_error_set(err, -ENOMEM, "qcow2", c->offset,
				      "no memory to copy a cluster");
	if (head)
		ret = qcow2_read_registered(q, base, bytes, head, err);
	if (ret == 0 && tail)
		ret = qcow2_read_registered(q, c->offset + c->length,
					    bytes + head + c->length, tail,
					    err);
	tide__vec_gather(&from, bytes + head);
	/* The last cluster of the disk may reach past its end. */
	if (ret == 0)
		ret = tide_disk_write(q->data, c->host, bytes,
				      q->external && c->host + whole >
						      q->disk.size_bytes ?
					      q->disk.size_bytes - c->host :
					      whole,
				      err);
	free(bytes);
	return ret;
}

/* Without the lock: all bytes of the new clusters that matter. */
static int fill(struct qcow2 *q, const struct chunk *c, struct tide_error *err)
{
	uint64_t base = round_down(c->offset, q->cluster_bytes);
	uint64_t end = c->offset + c->length;
	uint64_t whole = c->clusters << q->cluster_bits;
	struct tide_vec from = bytes_of(c);
	int ret;

	if (needs_edges(q, c) && whole <= MAX_BOUNCE_BYTES)
		return write_joined(q, c, err);
	ret = tide__disk_writev(q->data, c->host + (c->offset - base), &from,
				0, err);
	if (ret < 0 || !needs_edges(q, c))
		return ret;
	ret = write_edge(q, c, base, c->offset, err);
	return ret < 0 ? ret : write_edge(q, c, end, base + whole, err);
}

/* The entries get their new clusters. */
static int link_chunk(struct qcow2 *q, struct chunk *c,
		      struct qcow2_entry *entry, struct tide_error *err)
{
	int ret = qcow2_free_reserve(q, c->clusters, err);

	if (ret < 0)
		return ret;
	for (uint64_t i = 0; i < c->clusters; i++) {
		uint8_t *at = entry->at + 8 * i;
		uint64_t host = c->host + (i << q->cluster_bits);

		if (c->fresh)
			qcow2_release_entry(q, tide__get_be(at, 8), false);
		tide__put_be(at, host | QCOW2_ENTRY_COPIED, 8);
	}
	qcow2_pin_dirty(&q->cache, &entry->pin);
	return 0;
}

/* The lock is held, and is held again on return. */
static int write_new(struct qcow2 *q, struct chunk *c, struct tide_error *err)
{
	QCOW2_ENTRY(entry);
	int ret = qcow2_l2_writable(q, c->offset, &entry, err);

	if (ret < 0)
		return ret;
	c->to_flush |= c->flags & TIDE_FUA;
	ret = choose_host(q, c, err);
	if (ret == 0) {
		pthread_mutex_unlock(&q->lock);
		ret = fill(q, c, err);
		pthread_mutex_lock(&q->lock);
		if (ret == 0)
			ret = link_chunk(q, c, &entry, err);
		if (ret < 0 && c->fresh)
			qcow2_unalloc(q, c->host, c->clusters);
	}
	return ret;
}

static int write_extended(struct qcow2 *q, struct chunk *c,
			  struct tide_error *err)
{
	struct tide_vec from = bytes_of(c);

	c->to_flush |= c->flags & TIDE_FUA;
	return qcow2_write_subclusters(q, c->offset, &from, err);
}

static int write_chunk(struct qcow2 *q, struct chunk *c, struct tide_error *err)
{
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = qcow2_may_write(q, err);
	if (ret == 0)
		ret = settle(q, c, err);
	if (ret < 0) {
		pthread_mutex_unlock(&q->lock);
		return ret;
	}
	if (in_place(q, &c->e))
		ret = write_in_place(q, c, err);
	else if (!q->extended)
		ret = write_new(q, c, err);
	else
		ret = write_extended(q, c, err);
	qcow2_range_end(&q->ranges, &c->range);
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
	struct chunk c = { .offset = offset, .from = *from, .flags = flags };
	int ret = 0;

	while (ret == 0 && c.from.length_bytes) {
		ret = qcow2_make_room(q, err);
		c.length = chunk_reach(q, c.offset, c.from.length_bytes);
		if (ret == 0)
			ret = write_chunk(q, &c, err);
		c.offset += c.length;
		c.from = tide__vec_slice(&c.from, c.length,
					 c.from.length_bytes - c.length);
	}
	return ret == 0 && c.to_flush ? qcow2_flush(d, err) : ret;
}
