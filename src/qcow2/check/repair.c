/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order of a repair:
 *
 *  0. what one field of the header may have put in doubt (repair_doubts.c):
 *     resolved by proof, or nothing is freed in all that follows;
 *  1. snapshot table: lengths of its entries in place, and its count in the
 *     header, each of them one write;
 *  2. bitmaps: a new directory behind the end of the file, then the switch in
 *     the header, with the autoclear bit off around it: a crash in between
 *     leaves bitmaps void, never wrong;
 *  3. a cut last cluster: the file is made longer; what is missed of the L1
 *     table becomes zeroes, if that loss is accepted (repair_l1.c);
 *  4. entries that are wrong by themselves (repair_mend.c); if loss is
 *     accepted, those that cannot be followed become zero, and clusters that
 *     two claim are resolved (repair_claims.c);
 *     Then snapshots that lack what the format demands get it, in a new table
 *     behind the end of the file, and one write switches over;
 *  5. refcounts, from the references that there are now. In place where each
 *     block can be trusted to be one: each count that is written becomes
 *     right, so any of them may be last. Else all anew behind the end of the
 *     file, and one write of the header switches over;
 *  6. COPIED flags, each of which is right by itself;
 *  7. when a check finds no corruption: the dirty and corrupt bits.
 *
 * What will be lost is said before the first write: repair_plan.c plays it all.
 * After every step the image is looked at anew: no step relies on what a
 * former one meant to write.
 */
#include "qcow2/check/repair.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "qcow2/check/repair_internal.h"

void repair_say(struct repair *x, const char *format, ...)
{
	char raw[240], text[240];
	va_list args;

	if (!x->done)
		return;
	va_start(args, format);
	vsnprintf(raw, sizeof(raw), format, args);
	va_end(args);
	tide__text_show(text, sizeof(text), raw, strlen(raw));
	x->done(x->opaque, text);
}

int repair_no_memory(struct repair *x)
{
	return tide_error_set(x->err, -ENOMEM, "qcow2-repair", TIDE_NO_OFFSET,
			      "%s: no memory to repair it", x->r->path);
}

int repair_extend(struct repair *x, uint64_t size_bytes)
{
	int ret;

	if (size_bytes <= x->r->size_bytes)
		return 0;
	ret = x->w->extend(x->w->opaque, size_bytes, x->err);
	if (!ret)
		x->r->size_bytes = size_bytes;
	return ret;
}

int repair_write(struct repair *x, uint64_t offset, const void *buf,
		 uint64_t bytes)
{
	/* A table at the end may be cut short; written, it is whole. */
	int ret = repair_extend(x, offset + bytes);

	if (ret)
		return ret;
	return x->w->pwrite(x->w->opaque, offset, buf, bytes, x->err);
}

int repair_sync(struct repair *x)
{
	return x->w->sync(x->w->opaque, x->err);
}

int repair_field(struct repair *x, uint32_t at, uint64_t value,
		 unsigned int bytes)
{
	uint8_t b[8];
	int ret;

	tide__put_be(b, value, bytes);
	ret = repair_write(x, at, b, bytes);
	return ret ? ret : repair_sync(x);
}

int repair_look(struct repair *x)
{
	struct qcow2_header h;
	int ret = qcow2_header_read(x->r, 1, &h, x->err);

	if (ret)
		return ret;
	qcow2_header_fini(&x->h);
	x->h = h;
	x->cluster = qcow2_cluster_bytes(&h);
	qcow2_census_fini(&x->census);
	return qcow2_check(x->r, &x->h, NULL, NULL, &x->found, &x->census,
			   x->err);
}

bool repair_alone(const struct repair *x, uint64_t offset, uint64_t bytes,
		  uint32_t use)
{
	uint64_t i = offset / x->cluster;
	uint64_t last = (offset + bytes - 1) / x->cluster;

	for (; i <= last; i++)
		if (qcow2_census_refs(&x->census, i) != 1 ||
		    qcow2_census_uses(&x->census, i) != 1u << use)
			return false;
	return true;
}

/* What is missed at the end becomes zeroes, as it reads today. */
static int repair_end(struct repair *x)
{
	uint64_t end = (x->r->size_bytes + x->cluster - 1) & -x->cluster;
	uint64_t cut = end - x->r->size_bytes;
	int ret;

	if (!x->found.cut_clusters)
		return 0;
	ret = repair_extend(x, end);
	if (!ret)
		ret = repair_sync(x);
	if (!ret)
		repair_say(x, "end of file: the last cluster lacked %llu bytes,"
			   " which are zeroes now", (unsigned long long)cut);
	return ret ? ret : repair_look(x);
}

static int repair_bits(struct repair *x)
{
	uint64_t bits = x->h.incompatible &
			(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
	int ret;

	if (!bits || x->doubtful || qcow2_check_corruptions(&x->found))
		return 0;
	ret = repair_field(x, 72, x->h.incompatible & ~bits, 8);
	if (!ret && bits & QCOW2_INCOMPAT_DIRTY)
		repair_say(x, "header: dirty bit cleared");
	if (!ret && bits & QCOW2_INCOMPAT_CORRUPT)
		repair_say(x, "header: corrupt bit cleared");
	return ret;
}

/* "The data file is raw", of an image that has none: it says nothing. */
static int repair_raw_bit(struct repair *x)
{
	uint64_t raw = QCOW2_AUTOCLEAR_RAW_EXTERNAL;
	int ret;

	if (!(x->h.autoclear & raw) ||
	    x->h.incompatible & QCOW2_INCOMPAT_DATA_FILE)
		return 0;
	ret = repair_field(x, 88, x->h.autoclear & ~raw, 8);
	if (!ret)
		repair_say(x, "header: bit of a raw data file cleared");
	return ret ? ret : repair_look(x);
}

bool repair_counts_wrong(const struct repair *x)
{
	return x->h.flaws & QCOW2_FLAW_REFTABLE || x->found.count_defects ||
	       x->found.found[QCOW2_PROBLEM_REFCOUNT] ||
	       x->found.found[QCOW2_PROBLEM_LEAK] ||
	       x->found.found[QCOW2_PROBLEM_OVERLAP];
}

/* May what is lost be given up? */
static bool accepted(const struct repair *x)
{
	return x->options->accept_loss && !x->doubtful;
}

static int resolve_references(struct repair *x)
{
	int ret = 0;

	if (x->found.mendable || (x->found.lost_refs && accepted(x)))
		ret = repair_mend(x, false);
	if (ret || !x->found.lost_refs || !accepted(x))
		return ret;
	/* What is no table must not be mended as one. */
	if ((ret = repair_claim_tables(x)) || (ret = repair_mend(x, true)) ||
	    (ret = repair_claim_clusters(x)))
		return ret;
	x->found.lost_refs = 0;
	return 0;
}

int repair_run(struct repair *x)
{
	int ret = repair_look(x);

	if (ret || (ret = repair_doubts(x)) || (ret = repair_raw_bit(x)) ||
	    (ret = repair_snapshots(x)) ||
	    (ret = repair_bitmaps(x)) || (ret = repair_end(x)) ||
	    (ret = repair_l1(x)) ||
	    (ret = resolve_references(x)) || (ret = repair_snapshot_table(x)))
		return ret;
	if (accepted(x))
		x->found.lost_refs = 0;
	if (repair_counts_wrong(x)) {
		ret = repair_counts(x);
		if (ret || (ret = repair_look(x)))
			return ret;
	}
	if (x->found.found[QCOW2_PROBLEM_COPIED]) {
		ret = repair_copied(x);
		if (ret || (ret = repair_look(x)))
			return ret;
	}
	return repair_bits(x);
}

int qcow2_repair(struct qcow2_reader *r, const struct qcow2_writer *w,
		 const struct qcow2_repair_options *options,
		 qcow2_repair_fn *done, void *opaque, struct tide_error *err)
{
	struct repair x = { .r = r, .w = w, .options = options, .done = done,
			    .opaque = opaque, .err = err };
	int ret = 0;

	if (options->accept_loss && options->loss)
		ret = repair_plan(&x);
	if (!ret)
		ret = repair_run(&x);
	qcow2_header_fini(&x.h);
	qcow2_census_fini(&x.census);
	return ret;
}
