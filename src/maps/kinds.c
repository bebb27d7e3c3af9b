/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks and walks of the kind map; kinds.h says how it is laid out.
 *
 * A check looks at the bit of the write's cell, and is done if that is clear.
 * Else it searches for the last run that starts in or before the write's last
 * cluster. Runs do not overlap: if that one ends before the write begins,
 * nothing is hit.
 */
#include "maps/kinds.h"

#include <errno.h>
#include <stdlib.h>

static const char *const names[TIDE_KIND_COUNT] = {
	[TIDE_KIND_HEADER] = "header",
	[TIDE_KIND_L1] = "L1 table",
	[TIDE_KIND_L2] = "L2 table",
	[TIDE_KIND_REFCOUNT_TABLE] = "refcount table",
	[TIDE_KIND_REFCOUNT_BLOCK] = "refcount block",
	[TIDE_KIND_SNAPSHOT_TABLE] = "snapshot table",
	[TIDE_KIND_INACTIVE_L1] = "snapshot's L1 table",
	[TIDE_KIND_INACTIVE_L2] = "snapshot's L2 table",
	[TIDE_KIND_BITMAP_DIRECTORY] = "bitmap directory",
	[TIDE_KIND_BITMAP_TABLE] = "bitmap table",
	[TIDE_KIND_BITMAP_DATA] = "bitmap data",
	[TIDE_KIND_LUKS_HEADER] = "LUKS header",
};

/* Clusters in a row that bear the same kinds; n == 0: no more. */
struct piece {
	uint64_t start, n;
	uint32_t kinds;
};

const char *tide_kind_name(enum tide_kind kind)
{
	return (unsigned int)kind < TIDE_KIND_COUNT ? names[kind] : "unknown";
}

int tide_kinds_create(struct tide_kinds **out, uint32_t cluster_bits,
		      struct tide_error *err)
{
	struct tide_kinds *k;

	if (cluster_bits < 9 || cluster_bits > 21)
		return tide_error_set(err, -EINVAL, "kinds", TIDE_NO_OFFSET,
				      "clusters of 2^%u bytes: the format "
				      "has 2^9 to 2^21", cluster_bits);
	k = calloc(1, sizeof(*k));
	if (!k)
		return tide_error_set(err, -ENOMEM, "kinds", TIDE_NO_OFFSET,
				      "no memory for a kind map");
	k->cluster_bits = cluster_bits;
	k->end = TIDE_KINDS_END_BYTES >> cluster_bits;
	tide__btree_init(&k->runs, 0);
	tide__btree_init(&k->counts, 1);
	*out = k;
	return 0;
}

void tide_kinds_destroy(struct tide_kinds *kinds)
{
	if (!kinds)
		return;
	tide__cells_fini(&kinds->cells);
	tide__btree_fini(&kinds->runs);
	tide__btree_fini(&kinds->counts);
	free(kinds);
}

uint64_t tide_kinds_bytes(const struct tide_kinds *kinds)
{
	return sizeof(*kinds) + 8 + kinds->cells.n / 8 +
	       (kinds->cells.n ? 8 : 0) + tide__btree_bytes(&kinds->runs) +
	       tide__btree_bytes(&kinds->counts);
}

struct tide__cursor tide__kinds_from(const struct tide_kinds *kinds,
				     uint64_t cluster)
{
	struct tide__cursor p = tide__btree_find(
		&kinds->runs, cluster << RUN_CLUSTER_SHIFT);
	struct tide__cursor before = { p.leaf, p.at - 1 };

	/* find: past the first element of the leaf, or at 0 of the first. */
	if (p.at && run_end(*tide__btree_get(&kinds->runs, &before)) > cluster)
		return before;
	return p;
}

static uint32_t counted_kinds(const struct tide_kinds *k, uint64_t cluster)
{
	struct tide__cursor p = tide__btree_find(
		&k->counts, cluster << COUNT_CLUSTER_SHIFT);
	const uint64_t *t;
	uint32_t kinds = 0;

	while ((t = tide__btree_get(&k->counts, &p)) &&
	       *t >> COUNT_CLUSTER_SHIFT == cluster) {
		kinds |= 1u << (*t & 31);
		p.at += 2;
	}
	return kinds;
}

/* What lies first at or behind @from, which moves past it. */
static struct piece next_piece(const struct tide_kinds *k,
			       struct tide__cursor *p, uint64_t *from)
{
	const uint64_t *run = tide__btree_get(&k->runs, p);
	struct piece out = { 0 };

	if (!run)
		return out;
	out.start = run_start(*run) > *from ? run_start(*run) : *from;
	out.n = run_end(*run) - out.start;
	if (run_code(*run) == CODE_MANY) {
		out.kinds = counted_kinds(k, out.start);
		out.n = 1;
	} else {
		out.kinds = code_kinds(run_code(*run));
	}
	*from = out.start + out.n;
	if (*from == run_end(*run))
		p->at++;
	return out;
}

/*
 * The first clusters in [@from, @end) that bear kinds in @mask, the same ones
 * throughout; pieces whose kinds differ elsewhere only are one.
 */
static struct piece first_of(const struct tide_kinds *k, uint64_t from,
			     uint64_t end, uint32_t mask)
{
	struct tide__cursor p = tide__kinds_from(k, from);
	struct piece found = { 0 }, next;

	while ((next = next_piece(k, &p, &from)).n && next.start < end) {
		next.kinds &= mask;
		if (found.n && (next.kinds != found.kinds ||
				next.start != found.start + found.n))
			break;
		if (found.n)
			found.n += next.n;
		else if (next.kinds)
			found = next;
	}
	if (found.start + found.n > end)
		found.n = end - found.start;
	return found;
}

/* Something is there; is it allowed? */
static __attribute__((noinline)) int
check_slowly(const struct tide_kinds *k, uint64_t offset, uint64_t last,
	     uint64_t end, uint32_t allowed, struct tide_kinds_hit *hit)
{
	struct piece p = first_of(k, offset >> k->cluster_bits, end, ~allowed);
	uint64_t from = p.start << k->cluster_bits;
	uint64_t until = ((p.start + p.n) << k->cluster_bits) - 1;

	if (!p.n)
		return 0;
	if (!hit)
		return 1;
	from = from > offset ? from : offset;
	until = until < last ? until : last;
	*hit = (struct tide_kinds_hit){ p.kinds, from, until - from + 1 };
	return 1;
}

int tide_kinds_check(const struct tide_kinds *kinds, uint64_t offset_bytes,
		     uint64_t length_bytes, uint32_t allowed,
		     struct tide_kinds_hit *hit)
{
	uint64_t last = offset_bytes + length_bytes - 1, end;
	const uint64_t *run;

	if (!length_bytes || offset_bytes >= TIDE_KINDS_END_BYTES)
		return 0;
	if (last >= TIDE_KINDS_END_BYTES || last < offset_bytes)
		last = TIDE_KINDS_END_BYTES - 1;
	if (!tide__cells_maybe(&kinds->cells,
			       offset_bytes >> kinds->cluster_bits,
			       last >> kinds->cluster_bits))
		return 0;
	end = (last >> kinds->cluster_bits) + 1;
	run = tide__btree_last(&kinds->runs, end << RUN_CLUSTER_SHIFT);
	if (!run || run_end(*run) <= offset_bytes >> kinds->cluster_bits)
		return 0;
	return check_slowly(kinds, offset_bytes, last, end, allowed, hit);
}

int tide_kinds_next(const struct tide_kinds *kinds, uint64_t from_bytes,
		    struct tide_kinds_run *run)
{
	uint64_t from = from_bytes >> kinds->cluster_bits;
	struct tide__cursor p;
	struct piece out, more;

	if (from >= kinds->end)
		return 0;
	p = tide__kinds_from(kinds, from);
	out = next_piece(kinds, &p, &from);
	if (!out.n)
		return 0;
	while ((more = next_piece(kinds, &p, &from)).n &&
	       more.start == out.start + out.n && more.kinds == out.kinds)
		out.n += more.n;
	run->kinds = out.kinds;
	run->offset_bytes = out.start << kinds->cluster_bits;
	run->length_bytes = out.n << kinds->cluster_bits;
	return 1;
}
