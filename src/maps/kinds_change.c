/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Adding and removing references in the kind map.
 *
 * A two-phase commit: a change rewrites the runs that it touches, and those
 * adjacent to them, into one list, and the counts of its clusters into another.
 * Both replace the old elements of their trees once all memory is allocated:
 * until then the map is unchanged, and afterwards nothing can fail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "maps/kinds.h"

/* References of each kind to one cluster. */
struct refs {
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
	struct words runs, counts;
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
		uint64_t n = c->n < RUN_MAX ? c->n : RUN_MAX;

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

static struct refs refs_of(uint32_t code)
{
	struct refs t = { 0 };

	for (uint32_t i = 0; i < TIDE_KIND_COUNT; i++)
		t.n[i] = code_kinds(code) >> i & 1;
	return t;
}

static struct refs refs_read(const struct change *c, uint64_t cluster)
{
	const struct tide__btree *s = &c->k->counts;
	uint64_t key = cluster << COUNT_CLUSTER_SHIFT;
	struct tide__cursor p = tide__btree_find(s, key);
	struct refs t = { 0 };
	const uint64_t *v;

	while ((v = tide__btree_get(s, &p)) &&
	       v[0] >> COUNT_CLUSTER_SHIFT == cluster) {
		t.n[v[0] & 31] = v[1];
		p.at += 2;
	}
	return t;
}

/* The code that stands for @t; -1: no references are left. */
static int refs_code(const struct refs *t)
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

static void refs_write(struct change *c, uint64_t cluster,
		       const struct refs *t)
{
	uint64_t key = cluster << COUNT_CLUSTER_SHIFT;

	for (uint32_t i = 0; i < TIDE_KIND_COUNT; i++)
		if (t->n[i]) {
			push(c, &c->counts, key | i);
			push(c, &c->counts, t->n[i]);
		}
}

/* Clusters with the references @t get or lose one. */
static void change_counts(struct change *c, uint64_t start, uint64_t n,
			  struct refs t)
{
	int code;

	if (!c->refs && !t.n[c->kind]) {
		c->missing = start;
		return;
	}
	t.n[c->kind] += c->refs ? c->refs : UINT64_MAX;
	code = refs_code(&t);
	if (code >= 0)
		emit(c, start, n, (uint32_t)code);
	if (code == CODE_MANY)
		for (uint64_t i = start; i < start + n && !c->no_memory; i++)
			refs_write(c, i, &t);
}

/* Clusters that bore nothing. */
static void change_gap(struct change *c, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	if (c->refs == 1)
		emit(c, start, end - start, c->kind);
	else
		change_counts(c, start, end - start, (struct refs){ 0 });
}

static bool stopped(const struct change *c)
{
	return c->no_memory || c->missing != UINT64_MAX;
}

static void change_run(struct change *c, uint64_t start, uint64_t end,
		       uint32_t code)
{
	if (code != CODE_MANY) {
		change_counts(c, start, end - start, refs_of(code));
		return;
	}
	for (; start < end && !stopped(c); start++)
		change_counts(c, start, 1, refs_read(c, start));
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* One overlapping or adjacent run, and the gap from @done up to it. */
static uint64_t rewrite_run(struct change *c, uint64_t run, uint64_t done)
{
	uint64_t first = run_start(run), last = run_end(run);
	uint64_t start = min(max(first, c->from), c->end);
	uint64_t end = min(last, c->end);

	if (first < c->from)
		emit(c, first, min(last, c->from) - first, run_code(run));
	change_gap(c, done, start);
	if (start < end && !stopped(c))
		change_run(c, start, end, run_code(run));
	if (last > c->end && !stopped(c))
		emit(c, max(first, c->end), last - max(first, c->end),
		     run_code(run));
	return max(done, end);
}

/* @a to @b: the runs that the list replaces. */
static void rewrite(struct change *c, struct tide__cursor *a,
		    struct tide__cursor *b)
{
	uint64_t done = c->from;
	const uint64_t *run;

	*a = tide__kinds_from(c->k, c->from ? c->from - 1 : 0);
	*b = *a;
	while ((run = tide__btree_get(&c->k->runs, b)) &&
	       run_start(*run) <= c->end && !stopped(c)) {
		done = rewrite_run(c, *run, done);
		b->at++;
	}
	if (!stopped(c))
		change_gap(c, done, c->end);
	flush(c);
}

/* Changes both trees or neither; a cell too many does no harm. */
static int apply(struct tide_kinds *k, const struct change *c,
		 struct tide__cursor a, struct tide__cursor b)
{
	struct tide__cursor ta = tide__btree_find(
		&k->counts, c->from << COUNT_CLUSTER_SHIFT);
	struct tide__cursor tb = tide__btree_find(
		&k->counts, c->end << COUNT_CLUSTER_SHIFT);
	struct tide__replace runs, counts;
	int ret = tide__cells_reserve(&k->cells, &k->runs,
				      k->runs.words + c->runs.n, c->end);

	if (ret == 0)
		ret = tide__replace_prepare(&k->runs, &runs, a, b, c->runs.v,
					    c->runs.n);
	if (ret < 0)
		return ret;
	ret = tide__replace_prepare(&k->counts, &counts, ta, tb, c->counts.v,
				    c->counts.n);
	if (ret < 0) {
		tide__replace_abort(&runs);
		return ret;
	}
	tide__replace_commit(&k->runs, &runs);
	tide__replace_commit(&k->counts, &counts);
	if (c->refs)
		tide__cells_set(&k->cells, c->from, c->end);
	else
		tide__cells_refresh(&k->cells, &k->runs, c->from, c->end);
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
	if (length > TIDE_KINDS_MAX_BYTES)
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
	struct tide__cursor a, b;
	int ret = check_range(kind, offset, length, err);

	if (ret < 0)
		return ret;
	c.from = offset >> k->cluster_bits;
	c.end = ((offset + length - 1) >> k->cluster_bits) + 1;
	words_init(&c.runs);
	words_init(&c.counts);
	rewrite(&c, &a, &b);
	ret = stopped(&c) ? -ENOMEM : apply(k, &c, a, b);
	if (ret < 0)
		ret = change_failed(&c, ret, err);
	words_fini(&c.runs);
	words_fini(&c.counts);
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
