/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An L1 table that the file does not hold, or not to its end.
 *
 * First the header's two fields are doubted: with one bit of the offset or of
 * the length the other way, or with the length that the disk needs, is every
 * reference and every count right? Then that is what was meant.
 *
 * Else what is missed is gone, and if that loss is accepted it becomes zeroes:
 * the file is made longer, or, where not even the first entry is there, an
 * empty table is put behind its end, and one write of the header names it. What
 * else led behind the end and now meets that table is settled like all that
 * claims another's clusters.
 */
#include "qcow2/check/repair_tables.h"

static uint32_t span_bits(const struct repair *x)
{
	return x->h.cluster_bits + qcow2_l2_bits(&x->h);
}

/* Entries that map the disk. */
static uint64_t needed(const struct repair *x)
{
	return x->h.size_bytes ? ((x->h.size_bytes - 1) >> span_bits(x)) + 1 :
				 0;
}

/* Is all in order if the table is the one of @h? */
static int try_table(struct repair *x, struct qcow2_header *h, bool *fit)
{
	bool proven = false;
	int rc = 0;

	*fit = false;
	if (!h->l1_offset || h->l1_offset & (x->cluster - 1) ||
	    h->l1_entries < needed(x) ||
	    qcow2_l1_readable(h, x->r->size_bytes) != h->l1_entries)
		return 0;
	h->flaws &= ~(uint32_t)QCOW2_FLAW_L1;
	rc = repair_proves_l1(x, h->l1_offset, h->l1_entries, &proven);
	return rc || !proven ? rc : repair_fits(x, h, fit);
}

static int try_lengths(struct repair *x, struct qcow2_header *out, bool *fit)
{
	int rc = 0;

	*fit = false;
	for (uint32_t bit = 0; bit <= 32 && !rc && !*fit; bit++) {
		*out = x->h;
		out->l1_entries = bit == 32 ? (uint32_t)needed(x) :
					      x->h.l1_entries ^ 1u << bit;
		rc = try_table(x, out, fit);
	}
	return rc;
}

static int try_offsets(struct repair *x, struct qcow2_header *out, bool *fit)
{
	int rc = 0;

	*fit = false;
	for (uint32_t bit = x->h.cluster_bits; bit < 56 && !rc && !*fit; bit++) {
		*out = x->h;
		out->l1_offset ^= 1ull << bit;
		rc = try_table(x, out, fit);
	}
	return rc;
}

int repair_l1_fields(struct repair *x)
{
	struct qcow2_header h;
	bool fit;
	int rc;

	if (!(x->h.flaws & QCOW2_FLAW_L1))
		return 0;
	rc = try_lengths(x, &h, &fit);
	if (!rc && !fit)
		rc = try_offsets(x, &h, &fit);
	if (rc || !fit)
		return rc;
	rc = h.l1_offset == x->h.l1_offset ?
		     repair_field(x, 36, h.l1_entries, 4) :
		     repair_field(x, 40, h.l1_offset, 8);
	if (!rc)
		repair_say(x, "L1 table: %u entries at offset %llu, not %u at "
			   "%llu; with them every count is right", h.l1_entries,
			   (unsigned long long)h.l1_offset, x->h.l1_entries,
			   (unsigned long long)x->h.l1_offset);
	return rc ? rc : repair_look(x);
}

/* What the missing entries mapped. */
static void lose(struct repair *x, uint64_t there)
{
	struct repair_entry e = {
		.active = true,
		.guest_bytes = there << span_bits(x),
		.length_bytes = (x->h.l1_entries - there) << span_bits(x),
	};

	if (there < needed(x))
		repair_lose(x, &e, "its part of the L1 table is past the end "
				   "of the file");
}

/* Zeroes where the table is, or where one is to be. */
static int put_zeroes(struct repair *x)
{
	uint64_t bytes = (8ull * x->h.l1_entries + x->cluster - 1) &
			 -x->cluster;
	uint64_t end = (x->r->size_bytes + x->cluster - 1) & -x->cluster;
	uint64_t at = x->h.l1_offset < x->r->size_bytes ? x->h.l1_offset : end;
	int rc = repair_extend(x, at + bytes);

	if (!rc)
		rc = repair_sync(x);
	if (!rc && at != x->h.l1_offset)
		rc = repair_field(x, 40, at, 8);
	return rc;
}

int repair_l1(struct repair *x)
{
	uint32_t there = qcow2_l1_readable(&x->h, x->r->size_bytes);
	int rc;

	if (!(x->h.flaws & QCOW2_FLAW_L1))
		return 0;
	if (!x->options->accept_loss || x->doubtful) {
		repair_say(x, "kept: of %u entries of the L1 table the file "
			   "holds %u; nothing is freed while that is open",
			   x->h.l1_entries, there);
		return 0;
	}
	lose(x, there);
	rc = put_zeroes(x);
	if (!rc)
		repair_say(x, "L1 table: %u of %u entries were past the end of "
			   "the file, and are zeroes now",
			   x->h.l1_entries - there, x->h.l1_entries);
	return rc ? rc : repair_look(x);
}
