/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What seems leaked may only seem so: one damaged field of the header can make
 * everything that it spoke of look like waste.
 *
 *  - the bit "guest data is in another file", on an image that names none: are
 *    the entries' offsets places in this file or in the lost one?
 *  - a count of snapshots that is too small: the table goes on behind it, and
 *    all that only its other snapshots refer to seems leaked;
 *  - place or length of an L1 table that reaches past the end of the file
 *    (repair_l1.c).
 *
 * The other reading is tried on a copy of the header. If the whole image is in
 * order under it, down to the last count, it is the true one, and the field is
 * put right: an accident does not make every count fit. (That there is no data
 * file is only believed if loss is accepted.) Else it stays open what was
 * meant, and nothing is freed, whatever loss is accepted.
 */
#include "qcow2/check/repair_internal.h"

#define MAX_TRIES 8u

int repair_fits(struct repair *x, const struct qcow2_header *h, bool *out)
{
	struct qcow2_check found;
	int ret = qcow2_check(x->r, h, NULL, NULL, &found, NULL, x->err);

	*out = !ret && !qcow2_check_corruptions(&found) &&
	       !found.found[QCOW2_PROBLEM_LEAK];
	return ret;
}

static int doubt(struct repair *x, const char *what)
{
	x->doubtful = true;
	repair_say(x, "kept: %s; nothing is freed while that is open", what);
	return 0;
}

static int data_file_bit(struct repair *x)
{
	struct qcow2_header other = x->h;
	bool fit;
	int ret;

	if (!(x->h.incompatible & QCOW2_INCOMPAT_DATA_FILE) || x->h.data_file)
		return 0;
	other.incompatible &= ~(uint64_t)QCOW2_INCOMPAT_DATA_FILE;
	ret = repair_fits(x, &other, &fit);
	if (ret)
		return ret;
	if (!fit)
		return doubt(x, "the header says that guest data is in another "
				"file, and names none");
	/* The file may be known to somebody: not without being asked. */
	if (!x->options->accept_loss)
		return doubt(x, "the header says that guest data is in another "
				"file, and names none; all entries and counts "
				"fit this file: --accept-loss clears the bit");
	ret = repair_field(x, 72, other.incompatible, 8);
	if (!ret)
		repair_say(x, "header: the data is in this file, all of it "
			   "counted: data file bit cleared");
	return ret ? ret : repair_look(x);
}

/* How many entries the table has, whatever the header says. */
static int entries_there(struct repair *x, uint32_t *count)
{
	struct qcow2_header other = x->h;
	struct qcow2_snapshots s;
	int ret;

	other.snapshot_count = QCOW2_MAX_SNAPSHOTS + 1; /* not to be believed */
	other.flaws &= ~(uint32_t)QCOW2_FLAW_SNAPSHOTS;
	ret = qcow2_snapshots_read(x->r, &other, true, &s, x->err);
	if (ret)
		return ret;
	*count = s.count;
	qcow2_snapshots_fini(&s);
	return 0;
}

static int more_snapshots(struct repair *x)
{
	struct qcow2_header other = x->h;
	uint32_t there = 0;
	bool fit = false;
	int ret;

	if (!x->h.snapshots_offset || !repair_counts_wrong(x) ||
	    x->h.flaws & QCOW2_FLAW_SNAPSHOTS)
		return 0;
	ret = entries_there(x, &there);
	if (ret || there <= x->h.snapshot_count)
		return ret;
	other.snapshot_count = there;
	for (uint32_t i = 0; !ret && !fit && i < MAX_TRIES &&
			     other.snapshot_count > x->h.snapshot_count; i++) {
		ret = repair_fits(x, &other, &fit);
		if (!fit)
			other.snapshot_count--;
	}
	if (ret)
		return ret;
	if (!fit)
		return doubt(x, "the snapshot table goes on behind the count "
				"in the header");
	ret = repair_field(x, 60, other.snapshot_count, 4);
	if (!ret)
		repair_say(x, "snapshots: %u are there, not %u; with them "
			   "every count is right", other.snapshot_count,
			   x->h.snapshot_count);
	return ret ? ret : repair_look(x);
}

int repair_doubts(struct repair *x)
{
	int ret = data_file_bit(x);

	if (!ret)
		ret = repair_l1_fields(x);
	return ret ? ret : more_snapshots(x);
}
