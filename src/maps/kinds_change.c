/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Adding and removing references in the kind map.
 *
 * A change rewrites the runs that it touches, and those that abut, into a list
 * of its own, and the tallies of its clusters into another. Both are spliced
 * into their sheets only when all memory is there: until then the map is as
 * before, and afterwards nothing can fail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "maps/kinds.h"

/* References of each kind to one cluster. */
struct tally {
	uint64_t n[TIDE_KIND_COUNT];
};

struct words {
	uint64_t *v;
	size_t n, room;
	uint64_t few[16];
};

struct change {
	const struct tide_kinds *k;
	uint32_t kind;
	uint32_t refs;		/* to add; 0: remove one */
	uint64_t from, end;	/* clusters */
	uint64_t start, n;	/* the run under way; n == 0: none */
	uint32_t code;
	struct words runs, tallies;
	bool no_memory;
	uint64_t missing;	/* cluster that lacks the kind, or UINT64_MAX */
};

static void words_init(struct words *w)
{
	w->v = w->few;
	w->n = 0;
	w->room = sizeof(w->few) / sizeof(*w->few);
}

static void words_fini(struct words *w)
{
	if (w->v != w->few)
		free(w->v);
}

static void push(struct change *c, struct words *w, uint64_t word)
{
	if (w->n == w->room) {
		uint64_t *more = malloc(2 * w->room * sizeof(*more));

		if (!more) {
			c->no_memory = true;
			return;
		}
		memcpy(more, w->v, w->n * sizeof(*more));
		words_fini(w);
		w->v = more;
		w->room *= 2;
	}
	w->v[w->n++] = word;
}

static void flush(struct change *c)
{
	while (c->n) {
		uint64_t n = c->n < RUN_MOST ? c->n : RUN_MOST;

		push(c, &c->runs, run_pack(c->start, c->code, n));
		c->start += n;
		c->n -= n;
	}
}

/* Clusters that bear @code from now on, in ascending order. */
static void emit(struct change *c, uint64_t start, uint64_t n, uint32_t code)
{
	if (!n)
		return;
	if (c->n && (c->code != code || c->start + c->n != start))
		flush(c);
	if (!c->n) {
		c->start = start;
		c->code = code;
	}
	c->n += n;
}

static struct tally tally_of(uint32_t code)
{
	struct tally t = { 0 };

	for (uint32_t i = 0; i < TIDE_KIND_COUNT; i++)
		t.n[i] = code_kinds(code) >> i & 1;
	return t;
}

static struct tally tally_read(const struct change *c, uint64_t cluster)
{
	const struct tide__sheet *s = &c->k->tallies;
	uint64_t key = cluster << TALLY_CLUSTER_SHIFT;
	struct tide__place p = tide__sheet_find(s, key);
	struct tally t = { 0 };
	const uint64_t *v;

	while ((v = tide__sheet_at(s, &p)) &&
	       v[0] >> TALLY_CLUSTER_SHIFT == cluster) {
		t.n[v[0] & 31] = v[1];
		p.at += 2;
	}
	return t;
}

/* The code that says @t; -1: there is nothing left to say. */
static int tally_code(const struct tally *t)
{
	uint32_t kinds = 0;
	uint64_t highest = 0;

	for (uint32_t i = 0; i < TIDE_KIND_COUNT; i++) {
		if (t->n[i])
			kinds |= 1u << i;
		highest = t->n[i] > highest ? t->n[i] : highest;
	}
	if (!kinds)
		return -1;
	if (highest == 1 && kinds == code_kinds(CODE_SHARED_L2))
		return CODE_SHARED_L2;
	if (highest == 1 && !(kinds & (kinds - 1)))
		return __builtin_ctz(kinds);
	return CODE_MANY;
}

static void tally_write(struct change *c, uint64_t cluster,
			const struct tally *t)
{
	uint64_t key = cluster << TALLY_CLUSTER_SHIFT;

	for (uint32_t i = 0; i < TIDE_KIND_COUNT; i++)
		if (t->n[i]) {
			push(c, &c->tallies, key | i);
			push(c, &c->tallies, t->n[i]);
		}
}

/* Clusters with the references @t get or lose one. */
static void change_tally(struct change *c, uint64_t start, uint64_t n,
			 struct tally t)
{
	int code;

	if (!c->refs && !t.n[c->kind]) {
		c->missing = start;
		return;
	}
	t.n[c->kind] += c->refs ? c->refs : UINT64_MAX;
	code = tally_code(&t);
	if (code >= 0)
		emit(c, start, n, (uint32_t)code);
	if (code == CODE_MANY)
		for (uint64_t i = start; i < start + n && !c->no_memory; i++)
			tally_write(c, i, &t);
}

/* Clusters that bore nothing. */
static void change_gap(struct change *c, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	if (c->refs == 1)
		emit(c, start, end - start, c->kind);
	else
		change_tally(c, start, end - start, (struct tally){ 0 });
}

static bool stopped(const struct change *c)
{
	return c->no_memory || c->missing != UINT64_MAX;
}

static void change_run(struct change *c, uint64_t start, uint64_t end,
		       uint32_t code)
{
	if (code != CODE_MANY) {
		change_tally(c, start, end - start, tally_of(code));
		return;
	}
	for (; start < end && !stopped(c); start++)
		change_tally(c, start, 1, tally_read(c, start));
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What lies at and around a run that overlaps or abuts; all before is done. */
static uint64_t rewrite_run(struct change *c, uint64_t run, uint64_t done)
{
	uint64_t first = run_start(run), last = run_end(run);
	uint64_t start = least(most(first, c->from), c->end);
	uint64_t end = least(last, c->end);

	if (first < c->from)
		emit(c, first, least(last, c->from) - first, run_code(run));
	change_gap(c, done, start);
	if (start < end && !stopped(c))
		change_run(c, start, end, run_code(run));
	if (last > c->end && !stopped(c))
		emit(c, most(first, c->end), last - most(first, c->end),
		     run_code(run));
	return most(done, end);
}

/* @a to @b are the places of the runs that the list replaces. */
static void rewrite(struct change *c, struct tide__place *a,
		    struct tide__place *b)
{
	uint64_t done = c->from;
	const uint64_t *run;

	*a = tide__kinds_from(c->k, c->from ? c->from - 1 : 0);
	*b = *a;
	while ((run = tide__sheet_at(&c->k->runs, b)) &&
	       run_start(*run) <= c->end && !stopped(c)) {
		done = rewrite_run(c, *run, done);
		b->at++;
	}
	if (!stopped(c))
		change_gap(c, done, c->end);
	flush(c);
}

/* Cells too many do no harm; both sheets, or none. */
static int apply(struct tide_kinds *k, const struct change *c,
		 struct tide__place a, struct tide__place b)
{
	struct tide__place ta = tide__sheet_find(
		&k->tallies, c->from << TALLY_CLUSTER_SHIFT);
	struct tide__place tb = tide__sheet_find(
		&k->tallies, c->end << TALLY_CLUSTER_SHIFT);
	struct tide__splice runs, tallies;
	int ret = tide__cells_reserve(&k->cells, &k->runs,
				      k->runs.words + c->runs.n, c->end);

	if (ret == 0)
		ret = tide__splice_make(&k->runs, &runs, a, b, c->runs.v,
					c->runs.n);
	if (ret < 0)
		return ret;
	ret = tide__splice_make(&k->tallies, &tallies, ta, tb, c->tallies.v,
				c->tallies.n);
	if (ret < 0) {
		tide__splice_drop(&runs);
		return ret;
	}
	tide__splice_commit(&k->runs, &runs);
	tide__splice_commit(&k->tallies, &tallies);
	if (c->refs)
		tide__cells_set(&k->cells, c->from, c->end);
	else
		tide__cells_review(&k->cells, &k->runs, c->from, c->end);
	return 0;
}

static int check_range(uint32_t kind, uint64_t offset, uint64_t length,
		       struct tide_error *err)
{
	if (kind >= TIDE_KIND_COUNT)
		return tide_error_set(err, -EINVAL, "kinds", offset,
				      "no such kind: %u", kind);
	if (!length || length > TIDE_KINDS_END_BYTES ||
	    offset > TIDE_KINDS_END_BYTES - length)
		return tide_error_set(err, -EINVAL, "kinds", offset,
				      "%s of %llu bytes: it must have some, "
				      "and end by 2^56",
				      tide_kind_name((enum tide_kind)kind),
				      (unsigned long long)length);
	if (length > TIDE_KINDS_MOST_BYTES)
		return tide_error_set(err, -E2BIG, "kinds", offset,
				      "%s of %llu bytes: no metadata is "
				      "longer than 2^36",
				      tide_kind_name((enum tide_kind)kind),
				      (unsigned long long)length);
	return 0;
}

static int change_failed(const struct change *c, int ret,
			 struct tide_error *err)
{
	if (c->missing != UINT64_MAX)
		return tide_error_set(err, -ENOENT, "kinds",
				      c->missing << c->k->cluster_bits,
				      "no %s lies there to be removed",
				      tide_kind_name((enum tide_kind)c->kind));
	return tide_error_set(err, ret, "kinds",
			      c->from << c->k->cluster_bits,
			      "no memory to map a %s",
			      tide_kind_name((enum tide_kind)c->kind));
}

static int change(struct tide_kinds *k, enum tide_kind kind, uint32_t refs,
		  uint64_t offset, uint64_t length, struct tide_error *err)
{
	struct change c = { .k = k, .kind = kind, .refs = refs,
			    .missing = UINT64_MAX };
	struct tide__place a, b;
	int ret = check_range(kind, offset, length, err);

	if (ret < 0)
		return ret;
	c.from = offset >> k->cluster_bits;
	c.end = ((offset + length - 1) >> k->cluster_bits) + 1;
	words_init(&c.runs);
	words_init(&c.tallies);
	rewrite(&c, &a, &b);
	ret = stopped(&c) ? -ENOMEM : apply(k, &c, a, b);
	if (ret < 0)
		ret = change_failed(&c, ret, err);
	words_fini(&c.runs);
	words_fini(&c.tallies);
	return ret;
}

int tide_kinds_add(struct tide_kinds *kinds, enum tide_kind kind,
		   uint64_t offset_bytes, uint64_t length_bytes,
		   struct tide_error *err)
{
	return change(kinds, kind, 1, offset_bytes, length_bytes, err);
}

int tide_kinds_add_refs(struct tide_kinds *kinds, enum tide_kind kind,
			uint64_t offset_bytes, uint64_t length_bytes,
			uint32_t refs, struct tide_error *err)
{
	if (!refs)
		return tide_error_set(err, -EINVAL, "kinds", offset_bytes,
				      "no references to add");
	return change(kinds, kind, refs, offset_bytes, length_bytes, err);
}

int tide_kinds_remove(struct tide_kinds *kinds, enum tide_kind kind,
		      uint64_t offset_bytes, uint64_t length_bytes,
		      struct tide_error *err)
{
	return change(kinds, kind, 0, offset_bytes, length_bytes, err);
}
