/* SPDX-License-Identifier: BSD-2-Clause */
#include "qcow2/format/guest.h"

#include <errno.h>
#include <stdlib.h>

#include "qcow2/format/entry.h"

struct walk {
	const struct qcow2_reader *r;
	const struct qcow2_header *h;
	qcow2_guest_fn *each;
	void *opaque;
	struct tide_error *err;
	uint64_t cluster;
	struct qcow2_guest_run run; /* what grows; length 0: none */
	uint8_t *table; /* owned */
};

const char *qcow2_guest_name(enum qcow2_guest_type type)
{
	static const char *const names[QCOW2_GUEST_TYPES] = {
		"hole", "zero", "data", "compressed", "damaged",
	};

	return type < QCOW2_GUEST_TYPES ? names[type] : "?";
}

static bool continues(const struct qcow2_guest_run *a,
		      const struct qcow2_guest_run *b)
{
	return a->type == b->type && a->has_host == b->has_host &&
	       (!a->has_host ||
		a->host_bytes + a->length_bytes == b->host_bytes);
}

static int put(struct walk *w, struct qcow2_guest_run next)
{
	uint64_t size = w->h->size_bytes;
	int ret = 0;

	if (next.guest_bytes >= size)
		return 0;
	if (next.length_bytes > size - next.guest_bytes)
		next.length_bytes = size - next.guest_bytes;
	if (w->run.length_bytes && continues(&w->run, &next)) {
		w->run.length_bytes += next.length_bytes;
		return 0;
	}
	if (w->run.length_bytes)
		ret = w->each(w->opaque, &w->run);
	w->run = next;
	return ret;
}

/* Type of one cluster without subclusters, and its place. */
static void classify(const struct walk *w, uint64_t entry,
		     struct qcow2_guest_run *run)
{
	bool external = w->h->incompatible & QCOW2_INCOMPAT_DATA_FILE;
	uint64_t offset = entry & QCOW2_OFFSET_MASK;

	run->type = QCOW2_GUEST_DATA;
	run->host_bytes = offset;
	run->has_host = offset || (external && entry & QCOW2_ENTRY_COPIED);
	if (entry & QCOW2_ENTRY_PACKED) {
		run->type = QCOW2_GUEST_PACKED;
		run->has_host = false; /* not the guest's bytes as they are */
	} else if (offset & (w->cluster - 1) || entry & QCOW2_ENTRY_RESERVED ||
		   (!external && offset >= w->r->size_bytes)) {
		run->type = QCOW2_GUEST_DAMAGED;
	} else if (entry & QCOW2_ENTRY_ZERO && w->h->version > 2 &&
		   qcow2_l2_entry_bytes(w->h) == 8) {
		run->type = QCOW2_GUEST_ZERO;
	} else if (!run->has_host) {
		run->type = QCOW2_GUEST_HOLE;
	}
}

static int put_subclusters(struct walk *w, struct qcow2_guest_run run,
			   uint64_t bits)
{
	struct qcow2_guest_run part = run;
	int ret = 0;

	part.length_bytes = w->cluster / 32;
	for (uint32_t i = 0; i < 32 && !ret; i++) {
		part.type = bits >> i & 1 ? QCOW2_GUEST_DATA :
			    bits >> (32 + i) & 1 ? QCOW2_GUEST_ZERO :
						   QCOW2_GUEST_HOLE;
		/* An allocated cluster says nothing of a hole in it. */
		part.has_host = run.has_host && part.type != QCOW2_GUEST_HOLE;
		ret = put(w, part);
		part.guest_bytes += part.length_bytes;
		part.host_bytes += part.length_bytes;
	}
	return ret;
}

static int walk_table(struct walk *w, uint64_t guest)
{
	uint64_t entries = 1ull << qcow2_l2_bits(w->h), subclusters, entry;
	struct qcow2_guest_run run = { .length_bytes = w->cluster };
	int ret = 0;

	for (uint64_t i = 0; i < entries && !ret; i++) {
		run.guest_bytes = guest + i * w->cluster;
		entry = qcow2_entry(w->h, w->table, i, &subclusters);
		classify(w, entry, &run);
		if (qcow2_l2_entry_bytes(w->h) == 16 &&
		    run.type != QCOW2_GUEST_PACKED &&
		    run.type != QCOW2_GUEST_DAMAGED)
			ret = put_subclusters(w, run, subclusters);
		else
			ret = put(w, run);
	}
	return ret;
}

static int each_l1(void *opaque, uint64_t index, uint64_t entry, uint64_t at)
{
	struct walk *w = opaque;
	uint32_t shift = w->h->cluster_bits + qcow2_l2_bits(w->h);
	uint64_t offset = entry & QCOW2_OFFSET_MASK;
	struct qcow2_guest_run run = { .type = QCOW2_GUEST_HOLE,
				       .guest_bytes = index << shift,
				       .length_bytes = 1ull << shift };
	int ret;

	(void)at;
	/* Behind the disk, only the state of VMs is mapped. */
	if (index && run.guest_bytes >= w->h->size_bytes)
		return 0;
	/* A table in a hole of the file refers to nothing, either. */
	if (!offset || (!(offset & (w->cluster - 1)) &&
			qcow2_is_hole(w->r, offset, w->cluster)))
		return put(w, run);
	if (offset & (w->cluster - 1) || offset >= w->r->size_bytes) {
		run.type = QCOW2_GUEST_DAMAGED;
		return put(w, run);
	}
	ret = qcow2_read_at(w->r, offset, w->table, w->cluster, w->err);
	return ret ? ret : walk_table(w, run.guest_bytes);
}

/* What the part of the L1 table maps that the file does not hold. */
static int put_missing(struct walk *w, uint64_t from)
{
	uint32_t shift = w->h->cluster_bits + qcow2_l2_bits(w->h);
	struct qcow2_guest_run run = {
		.type = QCOW2_GUEST_DAMAGED,
		.guest_bytes = from << shift,
		.length_bytes = (w->h->l1_entries - from) << shift,
	};

	return put(w, run);
}

int qcow2_guest_walk(const struct qcow2_reader *r,
		     const struct qcow2_header *h, qcow2_guest_fn *each,
		     void *opaque, struct tide_error *err)
{
	struct walk w = { .r = r, .h = h, .each = each, .opaque = opaque,
			  .err = err, .cluster = qcow2_cluster_bytes(h) };
	uint32_t there = qcow2_l1_readable(h, r->size_bytes);
	int ret;

	w.table = malloc(w.cluster);
	if (!w.table)
		return tide_error_set(err, -ENOMEM, "qcow2-map",
				      TIDE_NO_OFFSET, "%s: no memory for an L2 "
				      "table", r->path);
	ret = qcow2_read_entries(r, h->l1_offset, there, each_l1, &w, err);
	if (!ret && there < h->l1_entries)
		ret = put_missing(&w, there);
	if (!ret && w.run.length_bytes)
		ret = each(opaque, &w.run);
	free(w.table);
	return ret;
}
