/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/kinds_btree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A leaf smaller than this is merged with a neighbour. */
#define SMALL_WORDS (TIDE__LEAF_WORDS / 4)

/* What goes into the new leaves: parts of the old ones around the new words. */
struct gather {
	const uint64_t *v[5];
	size_t words[5];
	int n, now;
	size_t done;		/* words of part `now` already copied */
};

void tide__btree_init(struct tide__btree *s, uint32_t shift)
{
	memset(s, 0, sizeof(*s));
	s->shift = shift;
}

void tide__btree_fini(struct tide__btree *s)
{
	for (uint32_t i = 0; i < s->leaves; i++)
		free(s->leaf[i]);
	free(s->leaf);
	free(s->first);
}

uint64_t tide__btree_bytes(const struct tide__btree *s)
{
	uint64_t slot = sizeof(*s->first) + sizeof(*s->leaf);
	uint64_t head = sizeof(struct tide__leaf) + 8;

	return s->room * slot + (s->room ? 16 : 0) + s->leaves * head +
	       s->words * 8;
}

struct tide__cursor tide__btree_find(const struct tide__btree *s, uint64_t key)
{
	size_t w = tide__below(s->first, s->leaves, 0, key);
	const struct tide__leaf *leaf;

	if (!w)
		return (struct tide__cursor){ 0, 0 };
	leaf = s->leaf[w - 1];
	return (struct tide__cursor){
		(uint32_t)w - 1,
		(uint32_t)(tide__below(leaf->v, leaf->words >> s->shift,
				       s->shift, key) << s->shift)
	};
}

const uint64_t *tide__btree_get(const struct tide__btree *s,
				struct tide__cursor *p)
{
	if (p->leaf < s->leaves && p->at == s->leaf[p->leaf]->words) {
		p->leaf++;
		p->at = 0;
	}
	return p->leaf < s->leaves ? s->leaf[p->leaf]->v + p->at : NULL;
}

static void gather_add(struct gather *p, const uint64_t *v, size_t words)
{
	if (!words)
		return;
	p->v[p->n] = v;
	p->words[p->n++] = words;
}

static size_t gather_words(const struct gather *p)
{
	size_t words = 0;

	for (int i = 0; i < p->n; i++)
		words += p->words[i];
	return words;
}

static void gather_take(struct gather *p, uint64_t *to, size_t words)
{
	while (words) {
		size_t n = p->words[p->now] - p->done;

		n = n < words ? n : words;
		memcpy(to, p->v[p->now] + p->done, n * sizeof(*to));
		to += n;
		words -= n;
		p->done += n;
		if (p->done == p->words[p->now]) {
			p->now++;
			p->done = 0;
		}
	}
}

static void gather_leaf(const struct tide__btree *s, struct gather *p,
			uint32_t leaf)
{
	gather_add(p, s->leaf[leaf]->v, s->leaf[leaf]->words);
}

/* Decides what the new leaves hold and which old ones they replace. */
static void plan(const struct tide__btree *s, struct tide__replace *r,
		 struct tide__cursor a, struct tide__cursor b,
		 const uint64_t *v, size_t words, struct gather *p)
{
	const struct tide__leaf *last;
	size_t rest = 0, sum;

	memset(p, 0, sizeof(*p));
	r->from = a.leaf;
	if (!s->leaves) {
		gather_add(p, v, words);
		return;
	}
	last = s->leaf[b.leaf];
	r->removed = b.leaf - a.leaf + 1;
	rest = last->words - b.at;
	sum = a.at + words + rest;
	if (sum && sum < SMALL_WORDS && a.leaf > 0 &&
	    s->leaf[a.leaf - 1]->words + sum <= TIDE__LEAF_WORDS) {
		r->from--;
		r->removed++;
		gather_leaf(s, p, a.leaf - 1);
		sum = TIDE__LEAF_WORDS; /* one neighbour is enough */
	}
	gather_add(p, s->leaf[a.leaf]->v, a.at);
	gather_add(p, v, words);
	gather_add(p, last->v + b.at, rest);
	if (sum && sum < SMALL_WORDS && b.leaf + 1 < s->leaves &&
	    s->leaf[b.leaf + 1]->words + sum <= TIDE__LEAF_WORDS) {
		r->removed++;
		gather_leaf(s, p, b.leaf + 1);
	}
}

static int directory_room(struct tide__btree *s, uint64_t leaves)
{
	uint64_t room = leaves + leaves / 4 + 4;
	struct tide__leaf **leaf;
	uint64_t *first;

	if (leaves <= s->room)
		return 0;
	if (room > UINT32_MAX)
		return -ENOMEM;
	first = realloc(s->first, room * sizeof(*first));
	if (!first)
		return -ENOMEM;
	s->first = first;
	leaf = realloc(s->leaf, room * sizeof(struct tide__leaf *));
	if (!leaf)
		return -ENOMEM;
	s->leaf = leaf;
	s->room = (uint32_t)room;
	return 0;
}

/*
 * New leaves of equal size; at the end of the tree full ones, or a map filled
 * in order would consist of half-full leaves.
 */
static int fill(struct tide__replace *r, struct gather *p, uint32_t shift,
		size_t words, uint32_t n, bool at_end)
{
	size_t elements = words >> shift;

	for (uint32_t i = 0; i < n; i++) {
		size_t take = at_end ? TIDE__LEAF_WORDS >> shift :
				       elements / (n - i);
		struct tide__leaf *w;

		take = take < elements ? take : elements;
		w = malloc(sizeof(*w) + (take << shift) * sizeof(*w->v));
		if (!w)
			return -ENOMEM;
		r->fresh[r->n++] = w;
		w->words = take << shift;
		gather_take(p, w->v, w->words);
		elements -= take;
	}
	return 0;
}

int tide__replace_prepare(struct tide__btree *s, struct tide__replace *r,
			  struct tide__cursor a, struct tide__cursor b,
			  const uint64_t *v, size_t words)
{
	struct gather p;
	size_t sum, n;
	int ret;

	memset(r, 0, sizeof(*r));
	r->fresh = r->small;
	if (!words && a.leaf == b.leaf && a.at == b.at)
		return 0;
	if (b.leaf > a.leaf && b.at == 0) {
		b.leaf--; /* its own leaf need not change */
		b.at = (uint32_t)s->leaf[b.leaf]->words;
	}
	plan(s, r, a, b, v, words, &p);
	sum = gather_words(&p);
	n = (sum + TIDE__LEAF_WORDS - 1) / TIDE__LEAF_WORDS;
	ret = directory_room(s, s->leaves - r->removed + n);
	if (ret == 0 && n > sizeof(r->small) / sizeof(*r->small)) {
		r->fresh = calloc(n, sizeof(struct tide__leaf *));
		ret = r->fresh ? 0 : -ENOMEM;
	}
	if (ret == 0)
		ret = fill(r, &p, s->shift, sum, (uint32_t)n,
			   r->from + r->removed == s->leaves);
	if (ret < 0)
		tide__replace_abort(r);
	return ret;
}

void tide__replace_commit(struct tide__btree *s, struct tide__replace *r)
{
	uint32_t end = r->from + r->removed;
	uint32_t to = r->from + r->n;
	size_t rest = s->leaves - end;

	for (uint32_t i = r->from; i < end; i++) {
		s->words -= s->leaf[i]->words;
		free(s->leaf[i]);
	}
	if (rest && end != to) {
		memmove(s->first + to, s->first + end,
			rest * sizeof(*s->first));
		memmove(s->leaf + to, s->leaf + end,
			rest * sizeof(struct tide__leaf *));
	}
	for (uint32_t i = 0; i < r->n; i++) {
		s->leaf[r->from + i] = r->fresh[i];
		s->first[r->from + i] = r->fresh[i]->v[0];
		s->words += r->fresh[i]->words;
	}
	s->leaves = to + (uint32_t)rest;
	if (r->fresh != r->small)
		free(r->fresh);
}

void tide__replace_abort(struct tide__replace *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		free(r->fresh[i]);
	if (r->fresh != r->small)
		free(r->fresh);
	r->n = 0;
}
