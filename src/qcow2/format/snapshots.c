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

#define FIXED_BYTES 40u
#define MAX_EXTRA_BYTES 1024u
#define MAX_TABLE_BYTES (64ull << 20)

static char *text_of(const uint8_t *from, uint32_t bytes)
{
	return strndup((const char *)from, bytes);
}

static void decode(struct qcow2_snapshot *s, const uint8_t *b,
		   uint32_t extra_bytes)
{
	s->l1_offset = tide__get_be(b, 8);
	s->l1_entries = (uint32_t)tide__get_be(b + 8, 4);
	s->date_s = (uint32_t)tide__get_be(b + 16, 4);
	s->date_ns = (uint32_t)tide__get_be(b + 20, 4);
	s->vm_clock_ns = tide__get_be(b + 24, 8);
	s->vm_state_bytes = tide__get_be(b + 32, 4);
	if (extra_bytes >= 8)
		s->vm_state_bytes = tide__get_be(b + FIXED_BYTES, 8);
	if (extra_bytes >= 16)
		s->disk_size_bytes = tide__get_be(b + FIXED_BYTES + 8, 8);
}

static int refuse(const struct qcow2_reader *r, uint32_t index, uint64_t at,
		  const char *what, struct tide_error *err)
{
	return tide_error_set(err, -EINVAL, "qcow2-snapshot", at,
			      "%s: snapshot table entry %u at offset %llu: %s",
			      r->path, index, (unsigned long long)at, what);
}

static int read_entry(const struct qcow2_reader *r, uint64_t at,
		      uint32_t index, struct qcow2_snapshot *s,
		      struct tide_error *err)
{
	uint8_t fixed[FIXED_BYTES], *b;
	uint32_t id, name, extra, bytes;
	int rc;

	if (at > r->size_bytes || r->size_bytes - at < FIXED_BYTES)
		return refuse(r, index, at, "past the end of the file", err);
	rc = qcow2_read_at(r, at, fixed, FIXED_BYTES, err);
	if (rc)
		return rc;
	id = (uint32_t)tide__get_be(fixed + 12, 2);
	name = (uint32_t)tide__get_be(fixed + 14, 2);
	extra = (uint32_t)tide__get_be(fixed + 36, 4);
	if (extra > MAX_EXTRA_BYTES)
		return refuse(r, index, at, "more than 1024 extra bytes", err);
	bytes = FIXED_BYTES + extra + id + name;
	if (r->size_bytes - at < bytes)
		return refuse(r, index, at, "ends past the end of the file",
			      err);
	b = malloc(bytes);
	if (!b)
		return tide_error_set(err, -ENOMEM, "qcow2-snapshot", at,
				      "%s: no memory for a snapshot", r->path);
	rc = qcow2_read_at(r, at, b, bytes, err);
	if (!rc) {
		decode(s, b, extra);
		s->entry_offset = at;
		s->entry_bytes = bytes;
		s->id = text_of(b + FIXED_BYTES + extra, id);
		s->name = text_of(b + FIXED_BYTES + extra + id, name);
		if (!s->id || !s->name)
			rc = tide_error_set(err, -ENOMEM, "qcow2-snapshot", at,
					    "%s: no memory for a name",
					    r->path);
	}
	free(b);
	if (!rc && s->l1_entries > QCOW2_MAX_L1_BYTES / 8)
		rc = refuse(r, index, at, "its L1 table is above 32 MiB", err);
	return rc;
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
 * A wrong length makes what follows read as other entries, often of zeroes.
 * Without L1 table only a disk without a byte may be; where nobody knows the
 * count, not even that.
 */
static bool plausible(const struct qcow2_header *h,
		      const struct qcow2_snapshot *s, bool counted)
{
	if (!s->id[0] || s->l1_offset & (qcow2_cluster_bytes(h) - 1))
		return false;
	return s->l1_entries ? s->l1_offset != 0 :
			       counted && !s->disk_size_bytes;
}

static int read_all(const struct qcow2_reader *r, const struct qcow2_header *h,
		    struct qcow2_snapshots *s, struct tide_error *err)
{
	bool counted = h->snapshot_count <= QCOW2_MAX_SNAPSHOTS;
	uint32_t count = counted ? h->snapshot_count : QCOW2_MAX_SNAPSHOTS;
	uint64_t at = h->snapshots_offset;
	struct qcow2_snapshot *item;
	int rc;

	while (s->count < count) {
		item = append(s);
		if (!item)
			return tide_error_set(err, -ENOMEM, "qcow2-snapshot",
					      at, "%s: no memory for snapshots",
					      r->path);
		rc = read_entry(r, at, s->count, item, err);
		if (!rc && at + item->entry_bytes - h->snapshots_offset >
				   MAX_TABLE_BYTES)
			rc = refuse(r, s->count, at, "table above 64 MiB", err);
		if (!rc && !plausible(h, item, counted))
			rc = refuse(r, s->count, at,
				    "no id, or no L1 table", err);
		if (rc) {
			free(item->id);
			free(item->name);
			return rc;
		}
		s->table_bytes = at + item->entry_bytes - h->snapshots_offset;
		at = (at + item->entry_bytes + 7) & ~7ull;
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
	int rc = 0;

	if (flawed && (!tolerant || h->snapshot_count <= QCOW2_MAX_SNAPSHOTS ||
		       h->snapshots_offset & (qcow2_cluster_bytes(h) - 1)))
		rc = tide_error_set(err, -EINVAL, "qcow2-snapshot", 60,
				    "%s: %u snapshots at %#llx: not a table",
				    r->path, h->snapshot_count,
				    (unsigned long long)h->snapshots_offset);
	else
		rc = read_all(r, h, &s, err);
	if (tolerant && (rc == -EINVAL || (flawed && !rc))) {
		s.broken = true;
		rc = 0;
	}
	if (rc)
		qcow2_snapshots_fini(&s);
	else
		*out = s;
	return rc;
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
