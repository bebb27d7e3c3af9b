/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The check, in three passes: count every reference (layout.c walks, this
 * file counts metadata, check_l2.c guest clusters), compare with the refcounts
 * on disk (check_counts.c), and, now that the true counts are known, judge
 * the COPIED flags (check_l2.c).
 */
#include "qcow2/check/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#include "base/text.h"
#include "qcow2/check/check_internal.h"

static const char *const names[QCOW2_PROBLEM_COUNT] = {
	"refcount", "leak", "overlap", "reference", "copied", "note",
};

const char *qcow2_problem_name(enum qcow2_problem_type type)
{
	return type < QCOW2_PROBLEM_COUNT ? names[type] : "?";
}

bool check_will_say(const struct check *c, enum qcow2_problem_type type)
{
	return c->each && c->out.found[type] < QCOW2_CHECK_SAID;
}

void check_say(struct check *c, enum qcow2_problem_type type, uint64_t offset,
	       const char *format, ...)
{
	struct qcow2_problem p = { .type = type, .offset_bytes = offset };
	char raw[sizeof(p.text)];
	va_list args;

	if (!check_will_say(c, type)) {
		c->out.found[type]++;
		return;
	}
	c->out.found[type]++;
	va_start(args, format);
	vsnprintf(raw, sizeof(raw), format, args);
	va_end(args);
	tide__text_show(p.text, sizeof(p.text), raw, strlen(raw));
	c->each(c->opaque, &p);
}

int check_no_memory(struct check *c)
{
	return tide_error_set(c->err, -ENOMEM, "qcow2-check", TIDE_NO_OFFSET,
			      "%s: no memory to check it", c->r->path);
}

static const char *use_name(uint32_t use)
{
	if (use == QCOW2_USE_DATA)
		return "guest data";
	if (use == QCOW2_USE_PACKED)
		return "compressed guest data";
	return qcow2_section_name((enum qcow2_section)use);
}

/* The uses that one cluster may have beside @use. */
static uint32_t compatible(uint32_t use)
{
	switch (use) {
	case QCOW2_SECTION_L2:
	case QCOW2_SECTION_INACTIVE_L2:
		return 1u << QCOW2_SECTION_L2 | 1u << QCOW2_SECTION_INACTIVE_L2;
	case QCOW2_USE_DATA:
	case QCOW2_USE_PACKED:
		return 1u << QCOW2_USE_DATA | 1u << QCOW2_USE_PACKED;
	default:
		return 0;
	}
}

/* Does an overlap mean that some reference lost what it meant? */
static bool is_loss(uint32_t use, uint32_t before)
{
	uint32_t bitmaps = 1u << QCOW2_SECTION_BITMAP_DIRECTORY |
			   1u << QCOW2_SECTION_BITMAP_TABLE |
			   1u << QCOW2_SECTION_BITMAP_DATA;
	uint32_t counts = 1u << QCOW2_SECTION_REFCOUNT_TABLE |
			  1u << QCOW2_SECTION_REFCOUNT_BLOCK;
	uint32_t all = before | 1u << use;

	return (all & ~(bitmaps | counts)) &&
	       !(before & bitmaps) && !(1u << use & bitmaps);
}

int check_count(struct check *c, uint64_t offset, uint64_t bytes,
		uint64_t refs, uint32_t use, uint64_t from)
{
	uint64_t first = offset / c->cluster;
	uint64_t last = (offset + bytes - 1) / c->cluster;
	uint32_t before;

	for (uint64_t i = first; i <= last && i < c->census.clusters; i++) {
		if (qcow2_census_add(&c->census, i, refs, use, &before))
			return check_no_memory(c);
		before &= ~compatible(use);
		if (!before)
			continue;
		c->out.lost_refs += is_loss(use, before);
		check_say(c, QCOW2_PROBLEM_OVERLAP, i * c->cluster,
			  "%s at offset %llu lies on the %s (referred to at "
			  "offset %llu)", use_name(use),
			  (unsigned long long)(i * c->cluster),
			  use_name((uint32_t)__builtin_ctz(before)),
			  (unsigned long long)from);
	}
	return 0;
}

static int keep_block(struct check *c, const struct qcow2_place *p)
{
	struct refblock *more;
	uint64_t n = c->block_count;

	/* All its counts are zero, as if it were not there. */
	if (qcow2_is_hole(c->r, p->offset_bytes, c->cluster))
		return 0;

	if (!(n & (n - 1))) {
		more = reallocarray(c->blocks, n ? 2 * n : 1, sizeof(*more));
		if (!more)
			return check_no_memory(c);
		c->blocks = more;
	}
	c->blocks[n] = (struct refblock){ p->owner, p->offset_bytes };
	c->block_count++;
	return 0;
}

static int each_place(void *opaque, const struct qcow2_place *p)
{
	struct check *c = opaque;
	int ret = check_count(c, p->offset_bytes, p->length_bytes, p->refs,
			      p->section, p->from);

	if (!ret && p->section == QCOW2_SECTION_REFCOUNT_BLOCK)
		ret = keep_block(c, p);
	return ret;
}

static int each_defect(void *opaque, const struct qcow2_defect *d)
{
	struct check *c = opaque;

	switch (d->section) {
	case QCOW2_SECTION_REFCOUNT_TABLE:
	case QCOW2_SECTION_REFCOUNT_BLOCK:
		c->out.count_defects++;
		break;
	case QCOW2_SECTION_BITMAP_DIRECTORY:
	case QCOW2_SECTION_BITMAP_TABLE:
	case QCOW2_SECTION_BITMAP_DATA:
		break;
	default:
		c->out.lost_refs += !d->harmless;
		c->out.mendable += d->harmless;
	}
	check_say(c, QCOW2_PROBLEM_REFERENCE, d->from,
		  "reference to a %s at offset %llu: %#llx: %s",
		  qcow2_section_name(d->section), (unsigned long long)d->from,
		  (unsigned long long)d->value, d->why);
	return 0;
}

static int note_snapshots(struct check *c)
{
	struct qcow2_snapshots s;
	int ret;

	if (!c->h->snapshot_count || c->h->flaws & QCOW2_FLAW_SNAPSHOTS)
		return 0;
	ret = qcow2_snapshots_read(c->r, c->h, true, &s, c->err);
	if (ret)
		return ret;
	for (uint32_t i = 0; i < s.count; i++)
		if (s.items[i].note)
			check_say(c, QCOW2_PROBLEM_NOTE,
				  s.items[i].entry_offset,
				  "snapshot table entry %u at offset %llu: %s",
				  i,
				  (unsigned long long)s.items[i].entry_offset,
				  s.items[i].note);
	qcow2_snapshots_fini(&s);
	return 0;
}

static void notes(struct check *c)
{
	const struct qcow2_header *h = c->h;

	if (h->incompatible & QCOW2_INCOMPAT_CORRUPT)
		check_say(c, QCOW2_PROBLEM_NOTE, 72,
			  "the image is marked as corrupt");
	if (h->incompatible & QCOW2_INCOMPAT_DIRTY)
		check_say(c, QCOW2_PROBLEM_NOTE, 72,
			  "the image was not closed: refcounts may be behind");
	if (c->external && !h->data_file) {
		c->out.lost_refs++;
		check_say(c, QCOW2_PROBLEM_REFERENCE, 72,
			  "guest data is in another file, and none is named");
	}
	if (!c->external && h->autoclear & QCOW2_AUTOCLEAR_RAW_EXTERNAL)
		check_say(c, QCOW2_PROBLEM_REFERENCE, 88,
			  "the data file is raw, but there is none");
	if (h->version == 3 && !h->has_bitmaps &&
	    !(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		for (uint32_t i = 0; i < h->extension_count; i++)
			if (h->extensions[i].type == QCOW2_EXT_BITMAPS)
				check_say(c, QCOW2_PROBLEM_NOTE, 88,
					  "bitmaps are void: the image was "
					  "written to without them");
}

static int run(struct check *c)
{
	struct qcow2_visitor v = { c, each_place, check_l2_count, each_defect };
	int ret;

	c->out.clusters = (c->r->size_bytes + c->cluster - 1) / c->cluster;
	c->out.guest_clusters = (c->h->size_bytes + c->cluster - 1) /
				c->cluster;
	if (qcow2_census_init(&c->census, c->out.clusters))
		return check_no_memory(c);
	notes(c);
	ret = note_snapshots(c);
	if (!ret)
		ret = qcow2_visit(c->r, c->h, &v, c->err);
	if (!ret)
		ret = check_counts(c);
	if (!ret)
		ret = check_copied(c);
	c->out.used_clusters = qcow2_census_used(&c->census);
	return ret;
}

int qcow2_check(const struct qcow2_reader *r, const struct qcow2_header *h,
		qcow2_problem_fn *each, void *opaque, struct qcow2_check *out,
		struct qcow2_census *census, struct tide_error *err)
{
	struct check c = {
		.r = r, .h = h, .each = each, .opaque = opaque, .err = err,
		.cluster = qcow2_cluster_bytes(h),
		.external = h->incompatible & QCOW2_INCOMPAT_DATA_FILE,
	};
	int ret = run(&c);

	free(c.blocks);
	if (!ret) {
		*out = c.out;
		if (census) {
			*census = c.census;
			return 0;
		}
	}
	qcow2_census_fini(&c.census);
	return ret;
}
