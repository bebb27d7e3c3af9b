/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshot table entries are 40 fixed bytes, extra data, id, name, padding to
 * 8. Each length is bounded before the entry is read, so that memory follows
 * the bytes that are really in the file.
 */
#include "qcow2/format/snapshots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/format/snapshot_lengths.h"

#define FIXED_BYTES QCOW2_SNAPSHOT_FIXED_BYTES
#define MAX_TABLE_BYTES (64ull << 20)
/* Each is a few hundred small reads. */
#define MAX_SEARCHES 16u

static char *text_of(const uint8_t *from, uint32_t bytes)
{
	return strndup((const char *)from, bytes);
}

static void decode(struct qcow2_snapshot *s, const uint8_t *b)
{
	s->l1_offset = tide__get_be(b, 8);
	s->l1_entries = (uint32_t)tide__get_be(b + 8, 4);
	s->date_s = (uint32_t)tide__get_be(b + 16, 4);
	s->date_ns = (uint32_t)tide__get_be(b + 20, 4);
	s->vm_clock_ns = tide__get_be(b + 24, 8);
	s->vm_state_bytes = tide__get_be(b + 32, 4);
	if (s->extra_bytes >= 8)
		s->vm_state_bytes = tide__get_be(b + FIXED_BYTES, 8);
	if (s->extra_bytes >= 16)
		s->disk_size_bytes = tide__get_be(b + FIXED_BYTES + 8, 8);
}

static int refuse(const struct qcow2_reader *r, uint32_t index, uint64_t at,
		  const char *what, struct tide_error *err)
{
	return tide_error_set(err, -EINVAL, "qcow2-snapshot", at,
			      "%s: snapshot table entry %u at offset %llu: %s",
			      r->path, index, (unsigned long long)at, what);
}

static int no_memory(const struct qcow2_reader *r, uint64_t at,
		     struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "qcow2-snapshot", at,
			      "%s: no memory for a snapshot", r->path);
}

static int read_entry(const struct snapshot_scan *scan, uint64_t at,
		      const struct snapshot_lengths *len,
		      struct qcow2_snapshot *s, struct tide_error *err)
{
	uint32_t bytes = FIXED_BYTES + len->extra + len->id + len->name;
	uint8_t *b = malloc(bytes), *id;
	int ret;

	if (!b)
		return no_memory(scan->r, at, err);
	s->entry_offset = at;
	s->entry_bytes = bytes;
	s->id_bytes = len->id;
	s->name_bytes = len->name;
	s->extra_bytes = len->extra;
	s->lengths_guessed = len->guessed;
	ret = qcow2_read_at(scan->r, at, b, bytes, err);
	if (!ret) {
		decode(s, b);
		id = b + FIXED_BYTES + len->extra;
		s->id = text_of(id, len->id);
		s->name = text_of(id + len->id, len->name);
		if (!s->id || !s->name)
			ret = no_memory(scan->r, at, err);
		else if (!len->id)
			s->note = "a snapshot without an id";
		else if (memchr(id, 0, len->id + len->name))
			s->note = "a zero byte in a snapshot's id or name";
	}
	free(b);
	return ret;
}

/* Why the entry's L1 table cannot be walked. */
static const char *judge(const struct snapshot_scan *scan,
			 const struct qcow2_snapshot *s)
{
	uint64_t cluster = qcow2_cluster_bytes(scan->h);
	uint64_t size = (scan->r->size_bytes + cluster - 1) & -cluster;

	if (s->l1_entries > QCOW2_MAX_L1_BYTES / 8)
		return "its L1 table is above 32 MiB";
	if (s->l1_offset & (cluster - 1))
		return "its L1 table is not aligned to a cluster";
	if (!s->l1_entries)
		return s->disk_size_bytes ? "its L1 table has no entries" :
					    NULL;
	if (!s->l1_offset)
		return "it has no L1 table";
	if (s->l1_offset >= size ||
	    8ull * s->l1_entries > size - s->l1_offset)
		return "its L1 table is past the end of the file";
	return NULL;
}

static struct qcow2_snapshot *append(struct qcow2_snapshots *s)
{
	struct qcow2_snapshot *more;

	/* Room doubles whenever the count is a power of two. */
	if (!(s->count & (s->count - 1))) {
		more = reallocarray(s->items, s->count ? 2u * s->count : 1u,
				    sizeof(*more));
		if (!more)
			return NULL;
		s->items = more;
	}
	return memset(&s->items[s->count], 0, sizeof(*s->items));
}

/*
 * Where nobody knows the count, what follows the table reads as other entries,
 * often of zeroes: it ends with the first that is no good one.
 */
static bool plausible(const struct qcow2_snapshot *s)
{
	return s->id[0] && !s->broken && s->l1_entries;
}

/* Everything that speaks against an entry that was read; 0: nothing. */
static int refuse_item(const struct snapshot_scan *scan,
		       const struct qcow2_snapshots *s, uint64_t at,
		       const struct qcow2_snapshot *item,
		       struct tide_error *err)
{
	const char *what = NULL;

	if (at + item->entry_bytes - scan->h->snapshots_offset >
	    MAX_TABLE_BYTES)
		what = "table above 64 MiB";
	else if (!scan->counted && !plausible(item))
		what = "no id, or no L1 table";
	else if (!scan->tolerant && item->broken)
		what = item->broken;
	else if (!scan->tolerant && item->lengths_guessed)
		what = "wrong lengths";
	return what ? refuse(scan->r, s->count, at, what, err) : 0;
}

/* The entry at @at into s->items[s->count]; owns nothing on failure. */
static int read_next(struct snapshot_scan *scan, struct qcow2_snapshots *s,
		     uint64_t at, uint32_t left, struct tide_error *err)
{
	struct qcow2_snapshot *item = append(s);
	const struct qcow2_reader *r = scan->r;
	struct snapshot_fixed f;
	int ret;

	if (!item)
		return no_memory(r, at, err);
	if (!snapshot_fixed(scan, at, &f))
		return refuse(r, s->count, at, "past the end of the file", err);
	if (!snapshot_measure(scan, at, left, &f.len))
		return refuse(r, s->count, at,
			      f.len.extra > SNAPSHOT_MAX_EXTRA_BYTES ?
				      "more than 1024 extra bytes" :
				      "ends past the end of the file", err);
	ret = read_entry(scan, at, &f.len, item, err);
	if (!ret) {
		item->broken = judge(scan, item);
		item->incomplete = scan->h->version >= 3 &&
				   item->extra_bytes <
					   QCOW2_SNAPSHOT_EXTRA_V3_BYTES;
		ret = refuse_item(scan, s, at, item, err);
	}
	if (ret) {
		free(item->id);
		free(item->name);
	}
	return ret;
}

static int read_all(const struct qcow2_reader *r, const struct qcow2_header *h,
		    bool tolerant, struct qcow2_snapshots *s,
		    struct tide_error *err)
{
	struct snapshot_scan scan = {
		.r = r, .h = h, .tolerant = tolerant,
		.counted = h->snapshot_count <= QCOW2_MAX_SNAPSHOTS,
		.searches = tolerant ? MAX_SEARCHES : 0,
	};
	uint32_t count = scan.counted ? h->snapshot_count : QCOW2_MAX_SNAPSHOTS;
	uint64_t at = h->snapshots_offset;
	int ret;

	while (s->count < count) {
		ret = read_next(&scan, s, at, count - s->count - 1, err);
		if (ret)
			return ret;
		at += s->items[s->count].entry_bytes;
		s->table_bytes = at - h->snapshots_offset;
		at = (at + 7) & ~7ull;
		s->count++;
	}
	return 0;
}

int qcow2_snapshots_read(const struct qcow2_reader *r,
			 const struct qcow2_header *h, bool tolerant,
			 struct qcow2_snapshots *out, struct tide_error *err)
{
	struct qcow2_snapshots s = { 0 };
	bool flawed = h->flaws & QCOW2_FLAW_SNAPSHOTS;
	int ret = 0;

	if (flawed && (!tolerant || h->snapshot_count <= QCOW2_MAX_SNAPSHOTS ||
		       h->snapshots_offset & (qcow2_cluster_bytes(h) - 1)))
		ret = tide_error_set(err, -EINVAL, "qcow2-snapshot", 60,
				     "%s: %u snapshots at %#llx: not a table",
				     r->path, h->snapshot_count,
				     (unsigned long long)h->snapshots_offset);
	else
		ret = read_all(r, h, tolerant, &s, err);
	if (tolerant && (ret == -EINVAL || (flawed && !ret))) {
		s.broken = true;
		ret = 0;
	}
	if (ret)
		qcow2_snapshots_fini(&s);
	else
		*out = s;
	return ret;
}

void qcow2_snapshots_fini(struct qcow2_snapshots *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		free(s->items[i].id);
		free(s->items[i].name);
	}
	free(s->items);
	memset(s, 0, sizeof(*s));
}
