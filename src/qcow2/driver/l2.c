/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a guest offset to what lies there.
 *
 * An L1 entry names an L2 table, an L2 entry a host cluster. A lookup answers
 * for one metadata page at most (512 entries of 8 bytes), and joins entries
 * whose host clusters follow each other, so that a long request becomes one
 * transfer. With extended L2 the unit is a subcluster: 32 of them share an
 * entry, each allocated, zero, or neither.
 *
 * Entries come from a file that may be damaged: each is checked when it is
 * met, and a bad one marks the image corrupt.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"

/* Where in the file the L2 entry for @offset is; 0: no table. */
static int locate(struct qcow2 *q, uint64_t offset, uint64_t *at,
		  struct tide_error *err)
{
	uint64_t l1_index = offset >> (q->cluster_bits + q->l2_bits);
	uint64_t index = offset >> q->cluster_bits &
			 ((1ull << q->l2_bits) - 1);
	uint64_t table;

	*at = 0;
	if (l1_index >= q->l1.count)
		return 0;
	table = q->l1.entries[l1_index] & L1_OFFSET_MASK;
	if (!table)
		return 0;
	if (table & (q->cluster_bytes - 1))
		return qcow2_mark_corrupt(q, err, table,
					  "L1 entry %llu names an L2 table at "
					  "%llu, which is not aligned",
					  (unsigned long long)l1_index,
					  (unsigned long long)table);
	*at = table + index * q->entry_bytes;
	return 0;
}

uint64_t qcow2_page_reach(const struct qcow2 *q, uint64_t offset)
{
	uint64_t entries = q->cache.page_bytes / q->entry_bytes;
	uint64_t reach = entries << q->cluster_bits;

	return reach - (offset & (reach - 1));
}

int qcow2_packed_span(const struct qcow2 *q, uint64_t entry, uint64_t *offset,
		      uint64_t *length_bytes)
{
	qcow2_entry_packed(&q->header, entry, offset, length_bytes);
	return *offset < QCOW2_MAX_OFFSET ? 0 : -EINVAL;
}

/* What one entry says of the unit at @offset; length is set by the caller. */
static int decode(struct qcow2 *q, const uint8_t *at, uint64_t offset,
		  struct qcow2_extent *e, struct tide_error *err)
{
	uint64_t entry = tide__get_be(at, 8), bits = 0;
	uint64_t host = entry & QCOW2_OFFSET_MASK;
	uint32_t sub = 0;

	memset(e, 0, sizeof(*e));
	if (entry & QCOW2_ENTRY_PACKED) {
		e->type = QCOW2_PACKED;
		e->entry = entry;
		return 0;
	}
	e->copied = (entry & QCOW2_ENTRY_COPIED) != 0;
	e->host_offset = host + (offset & (q->cluster_bytes - 1));
	/* With an external data file, cluster 0 is a good host. */
	e->has_host = host != 0 || (q->external && e->copied);
	if ((host & (q->cluster_bytes - 1)) || entry & QCOW2_ENTRY_RESERVED ||
	    (q->extended && entry & QCOW2_ENTRY_ZERO))
		return qcow2_mark_corrupt(q, err, host,
					  "the L2 entry for guest offset %llu "
					  "is %#llx, which is not valid",
					  (unsigned long long)offset,
					  (unsigned long long)entry);
	if (!q->extended) {
		e->type = entry & QCOW2_ENTRY_ZERO && q->header.version >= 3 ?
				  QCOW2_ZERO :
			  e->has_host ? QCOW2_DATA :
					QCOW2_UNALLOCATED;
		return 0;
	}
	bits = tide__get_be(at + 8, 8);
	sub = (uint32_t)(offset >> q->unit_bits & 31);
	if (bits & bits >> 32 & ALL_SUBCLUSTERS ||
	    (!e->has_host && bits & ALL_SUBCLUSTERS))
		return qcow2_mark_corrupt(q, err, host,
					  "the subclusters at guest offset "
					  "%llu are %#llx, which is not valid",
					  (unsigned long long)offset,
					  (unsigned long long)bits);
	e->type = bits >> sub & 1 ? QCOW2_DATA :
		  bits >> (sub + 32) & 1 ? QCOW2_ZERO :
					   QCOW2_UNALLOCATED;
	return 0;
}

static bool follows(const struct qcow2_extent *a, const struct qcow2_extent *b)
{
	if (a->type != b->type || a->has_host != b->has_host ||
	    a->copied != b->copied || a->type == QCOW2_PACKED)
		return false;
	return !a->has_host ||
	       b->host_offset == a->host_offset + a->length_bytes;
}

/*
 * Does the file say already what page and L1 table say here? Pages of a flush
 * that fails are dirty again, as is its part of the table.
 */
static bool is_durable(const struct qcow2 *q, const struct qcow2_pin *pin)
{
	return qcow2_pin_is_durable(pin) && !q->l1_on_its_way &&
	       q->l1.dirty_from == q->l1.dirty_to;
}

/* Walk the entries of one page from @offset on. */
static int walk(struct qcow2 *q, const struct qcow2_pin *pin, uint64_t at,
		uint64_t offset, uint64_t max, struct qcow2_extent *e,
		struct tide_error *err)
{
	uint64_t unit = 1ull << q->unit_bits, pos, step;
	struct qcow2_extent next;
	const uint8_t *data;
	int ret;

	for (pos = offset; pos < offset + max; pos += step) {
		data = qcow2_pin_at(pin, at) +
		       ((pos >> q->cluster_bits) -
			(offset >> q->cluster_bits)) * q->entry_bytes;
		/* Packed clusters are one piece, whatever the unit. */
		step = unit - (pos & (unit - 1));
		ret = decode(q, data, pos, pos == offset ? e : &next, err);
		if (ret < 0)
			return pos == offset ? ret : 0;
		if (pos != offset && !follows(e, &next))
			return 0;
		if (pos == offset)
			e->durable = is_durable(q, pin);
		if (pos == offset && e->type == QCOW2_PACKED)
			step = q->cluster_bytes -
			       (pos & (q->cluster_bytes - 1));
		if (step > offset + max - pos)
			step = offset + max - pos;
		e->length_bytes += step;
		if (e->type == QCOW2_PACKED)
			return 0;
	}
	return 0;
}

static void no_table(struct qcow2 *q, uint64_t offset, uint64_t max,
		     struct qcow2_extent *e)
{
	uint64_t span = 1ull << (q->cluster_bits + q->l2_bits);

	memset(e, 0, sizeof(*e));
	e->length_bytes = span - (offset & (span - 1));
	if (e->length_bytes > max)
		e->length_bytes = max;
}

int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t max,
		 struct qcow2_extent *e, struct tide_error *err)
{
	QCOW2_PIN(pin);
	uint64_t at, reach = qcow2_page_reach(q, offset);
	int ret = locate(q, offset, &at, err);

	if (ret < 0)
		return ret;
	if (!at) {
		no_table(q, offset, max, e);
		return 0;
	}
	ret = qcow2_pin_get(q, at, TIDE_KIND_L2, &pin, err);
	if (ret < 0)
		return ret;
	return walk(q, &pin, at, offset, max < reach ? max : reach, e, err);
}

bool qcow2_lookup_cached(struct qcow2 *q, uint64_t offset, uint64_t max,
			 struct qcow2_extent *e)
{
	QCOW2_PIN(pin);
	uint64_t at, reach = qcow2_page_reach(q, offset);

	if (locate(q, offset, &at, NULL) < 0)
		return false;
	if (!at) {
		no_table(q, offset, max, e);
		return true;
	}
	return qcow2_pin_cached(&q->cache, at, &pin) &&
	       walk(q, &pin, at, offset, max < reach ? max : reach, e, NULL) ==
		       0;
}

static int new_table(struct qcow2 *q, uint64_t *offset, struct tide_error *err)
{
	bool zeroed;
	int ret = qcow2_alloc_row(q, 1, offset, &zeroed, err);

	if (ret < 0)
		return ret;
	qcow2_cache_drop(&q->cache, *offset, q->cluster_bytes);
	ret = qcow2_zero_clusters(q, *offset, 1, zeroed, err);
	if (ret == 0)
		ret = tide_kinds_add(q->kinds, TIDE_KIND_L2, *offset,
				     q->cluster_bytes, err);
	if (ret < 0)
		qcow2_unalloc(q, *offset, 1);
	return ret;
}

/* The pages of the table at @to become those at @from. */
static int copy_table(struct qcow2 *q, uint64_t from, uint64_t to,
		      struct tide_error *err)
{
	uint32_t step = q->cache.page_bytes;
	int ret = 0;

	for (uint64_t i = 0; ret == 0 && i < q->cluster_bytes; i += step) {
		QCOW2_PIN(old);
		QCOW2_PIN(new);

		ret = qcow2_pin_get(q, from + i, TIDE_KIND_L2, &old, err);
		if (ret == 0)
			ret = qcow2_pin_new(q, to + i, TIDE_KIND_L2, &new, err);
		if (ret < 0)
			break;
		memcpy(qcow2_pin_at(&new, to + i), qcow2_pin_at(&old, from + i),
		       step);
		qcow2_pin_dirty(&q->cache, &new);
	}
	return ret;
}

/* A table of our own for an L1 entry that has none, or shares one. */
static int own_table(struct qcow2 *q, uint64_t l1_index, struct tide_error *err)
{
	uint64_t old = q->l1.entries[l1_index] & L1_OFFSET_MASK, offset;
	/* One for the old table, one for a refcount table that may grow. */
	int ret = qcow2_free_reserve(q, 2, err);

	if (ret == 0)
		ret = new_table(q, &offset, err);
	if (ret < 0)
		return ret;
	if (old)
		ret = copy_table(q, old, offset, err);
	if (ret < 0) {
		qcow2_cache_drop(&q->cache, offset, q->cluster_bytes);
		tide_kinds_remove(q->kinds, TIDE_KIND_L2, offset,
				  q->cluster_bytes, NULL);
		qcow2_unalloc(q, offset, 1);
		return ret;
	}
	if (old)
		qcow2_free_later(q, old, 1, TIDE_KIND_L2, false);
	qcow2_table_set(&q->l1, l1_index, offset | QCOW2_ENTRY_COPIED);
	return 0;
}

int qcow2_l2_writable(struct qcow2 *q, uint64_t offset,
		      struct qcow2_entry *entry, struct tide_error *err)
{
	uint64_t l1_index = offset >> (q->cluster_bits + q->l2_bits), at;
	int ret = 0;

	if (l1_index >= q->l1.count)
		return tide_error_set(err, -EIO, "qcow2", offset,
				      "%s: the L1 table of %llu entries does "
				      "not reach offset %llu",
				      q->disk.path,
				      (unsigned long long)q->l1.count,
				      (unsigned long long)offset);
	if (!(q->l1.entries[l1_index] & QCOW2_ENTRY_COPIED))
		ret = own_table(q, l1_index, err);
	if (ret == 0)
		ret = locate(q, offset, &at, err);
	if (ret == 0)
		ret = qcow2_pin_get(q, at, TIDE_KIND_L2, &entry->pin, err);
	if (ret == 0)
		entry->at = qcow2_pin_at(&entry->pin, at);
	return ret;
}

bool qcow2_l2_writable_cached(struct qcow2 *q, uint64_t offset,
			      struct qcow2_entry *entry)
{
	uint64_t l1_index = offset >> (q->cluster_bits + q->l2_bits), at;

	if (locate(q, offset, &at, NULL) < 0 || !at ||
	    !(q->l1.entries[l1_index] & QCOW2_ENTRY_COPIED))
		return false;
	if (!qcow2_pin_cached(&q->cache, at, &entry->pin))
		return false;
	entry->at = qcow2_pin_at(&entry->pin, at);
	return true;
}

void qcow2_release_entry(struct qcow2 *q, uint64_t entry, bool punch)
{
	uint64_t offset = entry & QCOW2_OFFSET_MASK, length, first, last;

	if (entry & QCOW2_ENTRY_PACKED) {
		if (qcow2_packed_span(q, entry, &offset, &length) < 0)
			return;
		first = offset >> q->cluster_bits;
		last = (offset + length - 1) >> q->cluster_bits;
		qcow2_free_later(q, first << q->cluster_bits, last - first + 1,
				 NO_KIND, false);
		return;
	}
	if (offset && !q->external)
		qcow2_free_later(q, offset, 1, NO_KIND, punch);
}
