/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An L1 table that the file does not hold, or not to its end, or that is longer
 * than the disk needs and lies on something else with the rest.
 *
 * First the header's two fields are doubted: with one bit of the offset or of
 * the length the other way, or with the length that the disk needs, is every
 * reference and every count right? Then that is what was meant.
 *
 * Else, if loss is accepted: entries that the disk does not need are cut off,
 * where they are not there or another's; nobody could read through them. What
 * is missed of the others becomes zeroes: the file is made longer, or, where
 * not even the first entry is there, an empty table is put behind its end, and
 * one write of the header names it. What else led behind the end and now meets
 * that table is resolved like all that claims another's clusters.
 */
#include "qcow2/check/repair_tables.h"

static uint32_t span_bits(const struct repair *x)
{
	return x->h.cluster_bits + qcow2_l2_bits(&x->h);
}

/* Is what the disk does not need of it not there, or another's? */
static bool has_foreign_end(const struct repair *x)
{
	uint64_t end = x->h.l1_offset + 8ull * x->h.l1_entries;
	uint64_t from = x->h.l1_offset + 8ull * qcow2_l1_needed(&x->h);

	from = (from + x->cluster - 1) & -x->cluster;
	if (x->h.l1_entries <= qcow2_l1_needed(&x->h) || from >= end)
		return false;
	return x->h.flaws & QCOW2_FLAW_L1 ||
	       !repair_alone(x, from, end - from, QCOW2_SECTION_L1);
}

/* Is all in order if the table is the one of @h? */
static int try_table(struct repair *x, struct qcow2_header *h, bool *fit)
{
	bool proven = false;
	int ret = 0;

	*fit = false;
	h->flaws &= ~(uint32_t)QCOW2_FLAW_L1;
	if (!h->l1_offset || h->l1_offset & (x->cluster - 1) ||
	    h->l1_entries < qcow2_l1_needed(h) ||
	    h->l1_offset > x->r->size_bytes ||
	    8ull * h->l1_entries > x->r->size_bytes - h->l1_offset)
		return 0;
	ret = repair_proves_l1(x, h->l1_offset, h->l1_entries, &proven);
	return ret || !proven ? ret : repair_fits(x, h, fit);
}

static int try_lengths(struct repair *x, struct qcow2_header *out, bool *fit)
{
	int ret = 0;

	*fit = false;
	for (uint32_t bit = 0; bit <= 32 && !ret && !*fit; bit++) {
		*out = x->h;
		out->l1_entries = bit == 32 ? qcow2_l1_needed(&x->h) :
					      x->h.l1_entries ^ 1u << bit;
		ret = try_table(x, out, fit);
	}
	return ret;
}

static int try_offsets(struct repair *x, struct qcow2_header *out, bool *fit)
{
	int ret = 0;

	*fit = false;
	for (uint32_t bit = x->h.cluster_bits; bit < 56 && !ret && !*fit;
	     bit++) {
		*out = x->h;
		out->l1_offset ^= 1ull << bit;
		ret = try_table(x, out, fit);
	}
	return ret;
}

int repair_l1_fields(struct repair *x)
{
	struct qcow2_header h;
	bool fit;
	int ret;

	if (!(x->h.flaws & QCOW2_FLAW_L1) && !has_foreign_end(x))
		return 0;
	ret = try_lengths(x, &h, &fit);
	if (!ret && !fit && x->h.flaws & QCOW2_FLAW_L1)
		ret = try_offsets(x, &h, &fit);
	if (ret || !fit)
		return ret;
	ret = h.l1_offset == x->h.l1_offset ?
		     repair_field(x, 36, h.l1_entries, 4) :
		     repair_field(x, 40, h.l1_offset, 8);
	if (!ret)
		repair_say(x, "L1 table: %u entries at offset %llu, not %u at "
			   "%llu; with them every count is right", h.l1_entries,
			   (unsigned long long)h.l1_offset, x->h.l1_entries,
			   (unsigned long long)x->h.l1_offset);
	return ret ? ret : repair_look(x);
}

/* What the missing entries mapped. */
static void lose(struct repair *x, uint64_t there)
{
	struct repair_entry e = {
		.active = true,
		.guest_bytes = there << span_bits(x),
		.length_bytes = (x->h.l1_entries - there) << span_bits(x),
	};

	repair_lose(x, &e, "its part of the L1 table is past the end of the "
			   "file");
}

/* Zeroes where the table is, or where one is to be. */
static int put_zeroes(struct repair *x)
{
	uint64_t bytes = (8ull * x->h.l1_entries + x->cluster - 1) &
			 -x->cluster;
	uint64_t end = (x->r->size_bytes + x->cluster - 1) & -x->cluster;
	uint64_t at = x->h.l1_offset < x->r->size_bytes ? x->h.l1_offset : end;
	int ret = repair_extend(x, at + bytes);

	if (!ret)
		ret = repair_sync(x);
	if (!ret && at != x->h.l1_offset)
		ret = repair_field(x, 40, at, 8);
	return ret;
}

/* Nothing of the disk goes with it. */
static int cut_end(struct repair *x)
{
	uint32_t had = x->h.l1_entries, needed = qcow2_l1_needed(&x->h);
	int ret = repair_field(x, 36, needed, 4);

	if (!ret)
		repair_say(x,
			   "L1 table: has %u entries, of which the disk "
			   "needs %u; the others were not its own",
			   had, needed);
	return ret ? ret : repair_look(x);
}

static int fill_end(struct repair *x)
{
	uint32_t there = qcow2_l1_readable(&x->h, x->r->size_bytes);
	uint32_t all = x->h.l1_entries;
	int ret;

	lose(x, there);
	ret = put_zeroes(x);
	if (!ret)
		repair_say(x, "L1 table: %u of %u entries were past the end of "
			   "the file, and are zeroes now", all - there, all);
	return ret ? ret : repair_look(x);
}

int repair_l1(struct repair *x)
{
	uint32_t there = qcow2_l1_readable(&x->h, x->r->size_bytes);
	bool foreign = has_foreign_end(x);
	int ret = 0;

	if (!(x->h.flaws & QCOW2_FLAW_L1) && !foreign)
		return 0;
	if (!x->options->accept_loss || x->doubtful) {
		repair_say(x, "kept: of %u entries of the L1 table %u can be "
			   "its own; nothing is freed while that is open",
			   x->h.l1_entries,
			   foreign && there > qcow2_l1_needed(&x->h) ?
				   qcow2_l1_needed(&x->h) : there);
		return 0;
	}
	if (foreign)
		ret = cut_end(x);
	return ret || !(x->h.flaws & QCOW2_FLAW_L1) ? ret : fill_end(x);
}
