/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two references that claim one cluster, resolved: only if the loss of what
 * they may have meant is accepted, for afterwards nobody can look for it. What
 * can be read is not given up.
 *
 *  1. A snapshot's L1 table that lies on something else: if it proves itself,
 *     it is copied for the snapshot; else the snapshot is given up.
 *  2. An L1 entry that names a cluster with another use: it stays if the
 *     cluster proves itself an L2 table; else the entry is given up.
 *  3. An L2 entry that names metadata: the cluster is copied for the guest.
 *     All that name one cluster share one copy, so the file grows by no more
 *     than it has of metadata.
 *
 * Where refcounts are in the way nothing is done here: they are built anew
 * elsewhere.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "qcow2/check/repair_tables.h"
#include "qcow2/format/entry.h"

/* What @x made of one cluster, or of the bytes of a compressed one. */
struct copy {
	uint64_t key; /* offset, or a compressed entry */
	uint64_t to;
};

struct claims {
	struct repair *x;
	struct copy *copies; /* owned; open addressing, key 0: free */
	uint64_t count, room;
	uint64_t copied, given_up, snapshots;
	uint64_t bytes_left; /* that may be copied */
	uint8_t *buf; /* owned */
};

/* --- copies --- */

static struct copy *find_in(struct copy *copies, uint64_t room, uint64_t key)
{
	uint64_t at = key * UINT64_C(0x9e3779b97f4a7c15) >> 20;

	while (copies[at & (room - 1)].key &&
	       copies[at & (room - 1)].key != key)
		at++;
	return &copies[at & (room - 1)];
}

static struct copy *find(struct claims *c, uint64_t key)
{
	if (2 * c->count >= c->room) {
		uint64_t room = c->room ? 2 * c->room : 64;
		struct copy *more = calloc(room, sizeof(*more));

		if (!more)
			return NULL;
		for (uint64_t i = 0; i < c->room; i++)
			if (c->copies[i].key)
				*find_in(more, room, c->copies[i].key) =
					c->copies[i];
		free(c->copies);
		c->copies = more;
		c->room = room;
	}
	return find_in(c->copies, c->room, key);
}

/* @bytes at @from, in clusters of their own behind the end of the file. */
static int copy_out(struct claims *c, uint64_t from, uint64_t bytes,
		    uint64_t *to)
{
	struct repair *x = c->x;
	uint64_t end = (x->r->size_bytes + x->cluster - 1) & -x->cluster;
	int ret = 0;

	*to = end;
	/* Whole first: the last cluster of a file may be cut short. */
	ret = repair_extend(x, end + ((bytes + x->cluster - 1) & -x->cluster));
	for (uint64_t i = 0; i < bytes && !ret; i += x->cluster) {
		uint64_t n = bytes - i < x->cluster ? bytes - i : x->cluster;

		if (from + i >= end)
			break;
		ret = qcow2_read_at(x->r, from + i, c->buf, n, x->err);
		if (!ret)
			ret = repair_write(x, end + i, c->buf, n);
	}
	c->bytes_left -= bytes < c->bytes_left ? bytes : c->bytes_left;
	return ret;
}

/* Where the copy for @key is; made if there is none. 0: too many. */
static int copy_of(struct claims *c, uint64_t key, uint64_t from,
		   uint64_t bytes, uint64_t *to)
{
	struct copy *k = find(c, key);
	int ret;

	if (!k)
		return repair_no_memory(c->x);
	*to = k->to;
	if (k->key || bytes > c->bytes_left)
		return 0;
	ret = copy_out(c, from, bytes, to);
	if (ret)
		return ret;
	*k = (struct copy){ key, *to };
	c->count++;
	c->copied++;
	return 0;
}

/* --- 1: snapshots --- */

static int move_l1(struct claims *c, const struct qcow2_snapshot *s)
{
	struct repair *x = c->x;
	uint64_t to;
	uint8_t b[8];
	int ret = copy_out(c, s->l1_offset, 8ull * s->l1_entries, &to);

	tide__put_be(b, to, 8);
	if (!ret)
		ret = repair_sync(x);
	if (!ret)
		ret = repair_write(x, s->entry_offset, b, 8);
	if (!ret)
		ret = repair_sync(x);
	if (!ret)
		repair_say(x, "snapshot '%.60s': its L1 table lay on something "
			   "else, and was copied", s->name);
	return ret;
}

/* An offset that no table can have: from now on it is known as broken. */
static int give_up_snapshot(struct claims *c, const struct qcow2_snapshot *s)
{
	static const uint8_t none[8];

	return repair_write(c->x, s->entry_offset, none, 8);
}

static int resolve_snapshot(struct claims *c, const struct qcow2_snapshot *s)
{
	struct repair *x = c->x;
	bool proven;
	int ret;

	if (s->broken || !s->l1_entries ||
	    repair_alone(x, s->l1_offset, 8ull * s->l1_entries,
			 QCOW2_SECTION_INACTIVE_L1))
		return 0;
	ret = repair_proves_l1(x, s->l1_offset, s->l1_entries, &proven);
	if (ret)
		return ret;
	c->snapshots++;
	return proven && 8ull * s->l1_entries <= c->bytes_left ?
		       move_l1(c, s) :
		       give_up_snapshot(c, s);
}

static int resolve_snapshots(struct claims *c)
{
	struct repair *x = c->x;
	struct qcow2_snapshots s;
	int ret;

	if (!x->h.snapshot_count)
		return 0;
	ret = qcow2_snapshots_read(x->r, &x->h, true, &s, x->err);
	if (ret)
		return ret;
	/* Who cannot change the table leaves them as they are. */
	if (s.table_bytes &&
	    repair_alone(x, x->h.snapshots_offset, s.table_bytes,
			 QCOW2_SECTION_SNAPSHOT_TABLE))
		for (uint32_t i = 0; i < s.count && !ret; i++)
			ret = resolve_snapshot(c, &s.items[i]);
	qcow2_snapshots_fini(&s);
	if (!ret && c->snapshots)
		ret = repair_sync(x);
	return ret || !c->snapshots ? ret : repair_look(x);
}

/* --- 2: L1 entries --- */

static int resolve_l1(struct repair *x, void *opaque, struct repair_entry *e)
{
	struct claims *c = opaque;
	uint64_t offset = e->entry & QCOW2_OFFSET_MASK;
	bool proven = false;
	int ret = 0;

	if (!offset || !(repair_uses(x, offset) & ~USES_L2))
		return 0;
	if (!(repair_uses(x, offset) &
	      ~(USES_L2 | USES_GUEST | USES_REFCOUNTS)))
		ret = repair_proves_l2(x, offset, &proven);
	if (ret || proven)
		return ret;
	repair_lose(x, e, "it names no L2 table but what lies there");
	c->given_up++;
	e->entry = 0;
	return 0;
}

/* --- 3: L2 entries --- */

static bool on_metadata(const struct repair *x, uint64_t offset, uint64_t bytes)
{
	for (uint64_t at = offset & -x->cluster; at < offset + bytes;
	     at += x->cluster)
		if (repair_uses(x, at) & ~(USES_GUEST | USES_REFCOUNTS))
			return true;
	return false;
}

static void give_up(struct claims *c, struct repair_entry *e)
{
	repair_lose(c->x, e, "it names metadata, of which too much would have "
			     "to be copied");
	c->given_up++;
	e->entry = e->subclusters = 0;
}

static int resolve_l2(struct repair *x, void *opaque, struct repair_entry *e)
{
	struct claims *c = opaque;
	bool packed = e->entry & QCOW2_ENTRY_PACKED;
	uint32_t shift = 62 - (x->h.cluster_bits - 8);
	uint64_t offset = e->entry & QCOW2_OFFSET_MASK, bytes = x->cluster;
	uint64_t to = 0, key, low;
	int ret;

	if (packed)
		qcow2_entry_packed(&x->h, e->entry, &offset, &bytes);
	if ((!packed && !offset) || !on_metadata(x, offset, bytes))
		return 0;
	/* The place within a sector stays, for the length counts from there. */
	low = packed ? offset & 511 : 0;
	key = packed ? e->entry : offset;
	ret = copy_of(c, key, offset - low, bytes + low, &to);
	if (ret)
		return ret;
	if (!to || (packed && to + low >= 1ull << shift))
		give_up(c, e);
	else if (packed)
		e->entry = (e->entry & -(1ull << shift)) | (to + low);
	else
		e->entry = (e->entry & ~QCOW2_OFFSET_MASK) | to;
	return 0;
}

static void say_given_up(const struct claims *c)
{
	if (c->given_up)
		repair_say(c->x, "references: %llu that named something else "
			   "were given up", (unsigned long long)c->given_up);
}

static int resolve_tables(struct claims *c)
{
	struct repair *x = c->x;
	int ret = resolve_snapshots(c);

	if (!ret)
		ret = repair_each_l1(x, true, resolve_l1, c);
	if (!ret)
		say_given_up(c);
	return ret || !c->given_up ? ret : repair_look(x);
}

static int resolve_clusters(struct claims *c)
{
	struct repair *x = c->x;
	int ret;

	if (x->h.incompatible & QCOW2_INCOMPAT_DATA_FILE)
		return 0;
	ret = repair_each_l2(x, USES_GUEST | USES_REFCOUNTS, resolve_l2, c);
	if (ret)
		return ret;
	say_given_up(c);
	if (c->copied)
		repair_say(x, "references: %llu clusters with two claims were "
			   "copied for the guest",
			   (unsigned long long)c->copied);
	return c->copied || c->given_up ? repair_look(x) : 0;
}

static int with_claims(struct repair *x, int (*resolve)(struct claims *c))
{
	/* What is copied is metadata: more than this is no accident's. */
	struct claims c = { .x = x, .buf = malloc(x->cluster),
			    .bytes_left = x->r->size_bytes + (64u << 20) };
	int ret = c.buf ? resolve(&c) : repair_no_memory(x);

	free(c.copies);
	free(c.buf);
	return ret;
}

int repair_claim_tables(struct repair *x)
{
	return with_claims(x, resolve_tables);
}

int repair_claim_clusters(struct repair *x)
{
	return with_claims(x, resolve_clusters);
}
