/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The snapshot table.
 *
 * In place, each of them one write within a sector: lengths of an entry that
 * are known from what is around it; the length of an L1 table that was lost,
 * if with the one that the snapshot's disk needs the image has fewer faults and
 * no other ones; the count in the header.
 *
 * By a new table behind the end of the file: entries without the extra data
 * that version 3 demands, and, if the loss is accepted, without those whose L1
 * table cannot be walked. Count and offset of the table stand side by side in
 * the header's first sector: one write switches over.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/check/overlay.h"
#include "qcow2/check/repair_tables.h"

static int read_table(struct repair *x, struct qcow2_snapshots *s)
{
	return qcow2_snapshots_read(x->r, &x->h, true, s, x->err);
}

/* Is the table nothing but that, so that it may be written to? */
static bool table_alone(const struct repair *x, const struct qcow2_snapshots *s)
{
	return s->table_bytes &&
	       repair_alone(x, x->h.snapshots_offset, s->table_bytes,
			    QCOW2_SECTION_SNAPSHOT_TABLE);
}

static int fix_lengths(struct repair *x, const struct qcow2_snapshot *s)
{
	uint8_t names[4], extra[4];
	int ret;

	tide__put_be(names, s->id_bytes, 2);
	tide__put_be(names + 2, s->name_bytes, 2);
	tide__put_be(extra, s->extra_bytes, 4);
	ret = repair_write(x, s->entry_offset + 12, names, 4);
	if (!ret)
		ret = repair_write(x, s->entry_offset + 36, extra, 4);
	if (!ret)
		ret = repair_sync(x);
	if (!ret)
		repair_say(x, "snapshot '%.60s': lengths of its table entry "
			   "repaired", s->name);
	return ret;
}

/* Is the image better, and in nothing worse, with @bytes at @at? */
static int better(struct repair *x, uint64_t at, const uint8_t *buf,
		  uint64_t bytes, bool *out)
{
	struct qcow2_overlay o;
	struct qcow2_check found;
	int ret;

	qcow2_overlay_init(&o, x->r);
	ret = o.w.pwrite(&o, at, buf, bytes, x->err);
	if (!ret)
		ret = qcow2_check(&o.r, &x->h, NULL, NULL, &found, NULL,
				  x->err);
	if (!ret)
		*out = found.lost_refs < x->found.lost_refs &&
		       found.found[QCOW2_PROBLEM_LEAK] <=
			       x->found.found[QCOW2_PROBLEM_LEAK] &&
		       qcow2_check_corruptions(&found) <
			       qcow2_check_corruptions(&x->found);
	qcow2_overlay_fini(&o);
	return ret;
}

/* An L1 table without entries, of a disk that has bytes. */
static int fix_l1_entries(struct repair *x, const struct qcow2_snapshot *s)
{
	uint32_t shift = x->h.cluster_bits + qcow2_l2_bits(&x->h);
	uint64_t need = ((s->disk_size_bytes - 1) >> shift) + 1;
	bool good = false;
	uint8_t b[4];
	int ret;

	if (need > QCOW2_MAX_L1_BYTES / 8)
		return 0;
	tide__put_be(b, need, 4);
	ret = better(x, s->entry_offset + 8, b, 4, &good);
	if (ret || !good)
		return ret;
	ret = repair_write(x, s->entry_offset + 8, b, 4);
	if (!ret)
		ret = repair_sync(x);
	if (!ret)
		repair_say(x, "snapshot '%.60s': its L1 table has %llu entries,"
			   " not 0; with them all that it refers to is counted",
			   s->name, (unsigned long long)need);
	return ret ? ret : repair_look(x);
}

static int fix_entries(struct repair *x, const struct qcow2_snapshots *s)
{
	bool looked = true;
	int ret = 0;

	if (!table_alone(x, s))
		return 0;
	for (uint32_t i = 0; i < s->count && !ret; i++)
		if (s->items[i].lengths_guessed) {
			ret = fix_lengths(x, &s->items[i]);
			looked = false;
		}
	if (!ret && !looked)
		ret = repair_look(x);
	for (uint32_t i = 0; i < s->count && !ret; i++)
		if (!s->items[i].l1_entries && s->items[i].broken &&
		    s->items[i].disk_size_bytes)
			ret = fix_l1_entries(x, &s->items[i]);
	return ret;
}

static void lose(struct repair *x, const char *name, uint64_t bytes,
		 const char *why)
{
	struct repair_entry e = { .snapshot = name, .length_bytes = bytes };

	repair_lose(x, &e, why);
}

/* Entries that cannot be told apart. */
static int fix_count(struct repair *x, uint32_t keep)
{
	uint32_t count = x->h.snapshot_count;
	bool miscounted = count > QCOW2_MAX_SNAPSHOTS;
	int ret;

	if (!count) {
		ret = repair_field(x, 64, 0, 8);
		if (!ret)
			repair_say(x, "snapshots: none, and no table now");
		return ret ? ret : repair_look(x);
	}
	/* A count that no image may have tells nothing: no loss to correct. */
	if (!(miscounted && keep) && !x->options->accept_loss) {
		repair_say(x, "kept: the snapshot table is broken behind its "
			   "entry %u; --accept-loss gives up the rest",
			   keep);
		return 0;
	}
	if (!miscounted || !keep)
		lose(x, NULL, 0, "entries of the snapshot table cannot be "
				 "told apart");
	ret = repair_field(x, 60, keep, 4);
	if (!ret && miscounted)
		repair_say(x, "snapshots: %u are there, not %u", keep, count);
	else if (!ret)
		repair_say(x, "snapshots: %u of %u kept, the rest cannot be "
			   "read", keep, count);
	return ret ? ret : repair_look(x);
}

int repair_snapshots(struct repair *x)
{
	struct qcow2_snapshots s;
	int ret = read_table(x, &s);

	if (ret)
		return ret;
	if (s.broken)
		ret = fix_count(x, s.count);
	if (!ret)
		ret = fix_entries(x, &s);
	qcow2_snapshots_fini(&s);
	return ret;
}

static bool drops(const struct repair *x, const struct qcow2_snapshot *s)
{
	return s->broken && x->options->accept_loss && !x->doubtful;
}

static uint32_t new_extra(const struct repair *x,
			  const struct qcow2_snapshot *s)
{
	return x->h.version >= 3 &&
			       s->extra_bytes < QCOW2_SNAPSHOT_EXTRA_V3_BYTES ?
		       QCOW2_SNAPSHOT_EXTRA_V3_BYTES : s->extra_bytes;
}

static uint64_t new_bytes(const struct repair *x,
			  const struct qcow2_snapshot *s)
{
	return (QCOW2_SNAPSHOT_FIXED_BYTES + new_extra(x, s) + s->id_bytes +
		s->name_bytes + 7ull) & ~7ull;
}

/* The entry as it is, with more extra data where some is missing. */
static int put_entry(struct repair *x, const struct qcow2_snapshot *s,
		     uint8_t *to)
{
	uint32_t fixed = QCOW2_SNAPSHOT_FIXED_BYTES, extra = new_extra(x, s);
	uint32_t names = s->id_bytes + s->name_bytes;
	uint64_t size = s->disk_size_bytes ? s->disk_size_bytes :
					     x->h.size_bytes;
	int ret = qcow2_read_at(x->r, s->entry_offset, to,
				fixed + s->extra_bytes, x->err);

	if (!ret)
		ret = qcow2_read_at(x->r,
				    s->entry_offset + fixed + s->extra_bytes,
				    to + fixed + extra, names, x->err);
	if (ret)
		return ret;
	tide__put_be(to + 12, s->id_bytes, 2);
	tide__put_be(to + 14, s->name_bytes, 2);
	tide__put_be(to + 36, extra, 4);
	if (extra == s->extra_bytes)
		return 0;
	tide__put_be(to + fixed, s->vm_state_bytes, 8);
	tide__put_be(to + fixed + 8, size, 8);
	return 0;
}

static int switch_over(struct repair *x, uint64_t offset, uint32_t count)
{
	uint8_t f[12];
	int ret;

	tide__put_be(f, count, 4);
	tide__put_be(f + 4, count ? offset : 0, 8);
	ret = repair_write(x, 60, f, 12);
	return ret ? ret : repair_sync(x);
}

static int write_table(struct repair *x, const struct qcow2_snapshots *s)
{
	uint64_t offset = (x->r->size_bytes + x->cluster - 1) & -x->cluster;
	uint64_t bytes = 0, at = 0;
	uint32_t keep = 0;
	uint8_t *buf;
	int ret = 0;

	for (uint32_t i = 0; i < s->count; i++)
		if (!drops(x, &s->items[i])) {
			bytes += new_bytes(x, &s->items[i]);
			keep++;
		}
	buf = calloc(1, bytes + 1);
	if (!buf)
		return repair_no_memory(x);
	for (uint32_t i = 0; i < s->count && !ret; i++) {
		if (drops(x, &s->items[i]))
			continue;
		ret = put_entry(x, &s->items[i], buf + at);
		at += new_bytes(x, &s->items[i]);
	}
	if (!ret && bytes)
		ret = repair_extend(x, (offset + bytes + x->cluster - 1) &
					      -x->cluster);
	if (!ret && bytes)
		ret = repair_write(x, offset, buf, bytes);
	free(buf);
	if (!ret)
		ret = repair_sync(x);
	return ret ? ret : switch_over(x, offset, keep);
}

/* What changes, as sentences; 0: nothing does. */
static uint32_t announce(struct repair *x, const struct qcow2_snapshots *s)
{
	uint32_t changes = 0;

	for (uint32_t i = 0; i < s->count; i++) {
		const struct qcow2_snapshot *n = &s->items[i];

		if (drops(x, n)) {
			lose(x, n->name, n->disk_size_bytes, n->broken);
			repair_say(x, "snapshot '%.60s': given up: %s", n->name,
				   n->broken);
			changes++;
		} else if (n->incomplete) {
			repair_say(x, "snapshot '%.60s': extra data of version "
				   "3 added", n->name);
			changes++;
		}
	}
	return changes;
}

int repair_snapshot_table(struct repair *x)
{
	struct qcow2_snapshots s;
	bool wanted = false;
	int ret;

	if (!x->h.snapshot_count || x->h.flaws & QCOW2_FLAW_SNAPSHOTS)
		return 0;
	ret = read_table(x, &s);
	if (ret)
		return ret;
	for (uint32_t i = 0; i < s.count; i++)
		wanted |= drops(x, &s.items[i]) || s.items[i].incomplete;
	/* What refers to places past the end must not meet a table there. */
	if (wanted && (x->found.lost_refs || x->doubtful || s.broken)) {
		repair_say(x, "kept: snapshots without the extra data of "
			   "version 3, while it is open what is in use");
		wanted = false;
	}
	if (wanted && announce(x, &s)) {
		ret = write_table(x, &s);
		if (!ret)
			ret = repair_look(x);
	}
	qcow2_snapshots_fini(&s);
	return ret;
}
