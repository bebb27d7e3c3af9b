/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/kinds_sheet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A window below this looks for a neighbour to join. */
#define SMALL_WORDS (TIDE__WINDOW_WORDS / 4)

/* The words of the windows to come: pieces of the old ones around the new. */
struct pieces {
	const uint64_t *v[5];
	size_t words[5];
	int n, now;
	size_t done;		/* words of piece `now` that were taken */
};

void tide__sheet_init(struct tide__sheet *s, uint32_t shift)
{
	memset(s, 0, sizeof(*s));
	s->shift = shift;
}

void tide__sheet_fini(struct tide__sheet *s)
{
	for (uint32_t i = 0; i < s->windows; i++)
		free(s->window[i]);
	free(s->window);
	free(s->first);
}

uint64_t tide__sheet_bytes(const struct tide__sheet *s)
{
	uint64_t slot = sizeof(*s->first) + sizeof(*s->window);
	uint64_t head = sizeof(struct tide__window) + 8;

	return s->room * slot + (s->room ? 16 : 0) + s->windows * head +
	       s->words * 8;
}

struct tide__place tide__sheet_find(const struct tide__sheet *s, uint64_t key)
{
	size_t w = tide__below(s->first, s->windows, 0, key);
	const struct tide__window *window;

	if (!w)
		return (struct tide__place){ 0, 0 };
	window = s->window[w - 1];
	return (struct tide__place){
		(uint32_t)w - 1,
		(uint32_t)(tide__below(window->v, window->words >> s->shift,
				       s->shift, key) << s->shift)
	};
}

const uint64_t *tide__sheet_at(const struct tide__sheet *s,
			       struct tide__place *p)
{
	if (p->window < s->windows && p->at == s->window[p->window]->words) {
		p->window++;
		p->at = 0;
	}
	return p->window < s->windows ? s->window[p->window]->v + p->at : NULL;
}

static void piece(struct pieces *p, const uint64_t *v, size_t words)
{
	if (!words)
		return;
	p->v[p->n] = v;
	p->words[p->n++] = words;
}

static size_t pieces_words(const struct pieces *p)
{
	size_t words = 0;

	for (int i = 0; i < p->n; i++)
		words += p->words[i];
	return words;
}

static void pieces_take(struct pieces *p, uint64_t *to, size_t words)
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

static void piece_window(const struct tide__sheet *s, struct pieces *p,
			 uint32_t window)
{
	piece(p, s->window[window]->v, s->window[window]->words);
}

/* What the new windows will hold, and which old ones they replace. */
static void gather(const struct tide__sheet *s, struct tide__splice *splice,
		   struct tide__place a, struct tide__place b,
		   const uint64_t *v, size_t words, struct pieces *p)
{
	const struct tide__window *last;
	size_t rest = 0, sum;

	memset(p, 0, sizeof(*p));
	splice->from = a.window;
	if (!s->windows) {
		piece(p, v, words);
		return;
	}
	last = s->window[b.window];
	splice->gone = b.window - a.window + 1;
	rest = last->words - b.at;
	sum = a.at + words + rest;
	if (sum && sum < SMALL_WORDS && a.window > 0 &&
	    s->window[a.window - 1]->words + sum <= TIDE__WINDOW_WORDS) {
		splice->from--;
		splice->gone++;
		piece_window(s, p, a.window - 1);
		sum = TIDE__WINDOW_WORDS; /* one neighbour is enough */
	}
	piece(p, s->window[a.window]->v, a.at);
	piece(p, v, words);
	piece(p, last->v + b.at, rest);
	if (sum && sum < SMALL_WORDS && b.window + 1 < s->windows &&
	    s->window[b.window + 1]->words + sum <= TIDE__WINDOW_WORDS) {
		splice->gone++;
		piece_window(s, p, b.window + 1);
	}
}

static int directory_room(struct tide__sheet *s, uint64_t windows)
{
	uint64_t room = windows + windows / 4 + 4;
	struct tide__window **window;
	uint64_t *first;

	if (windows <= s->room)
		return 0;
	if (room > UINT32_MAX)
		return -ENOMEM;
	first = realloc(s->first, room * sizeof(*first));
	if (!first)
		return -ENOMEM;
	s->first = first;
	window = realloc(s->window, room * sizeof(struct tide__window *));
	if (!window)
		return -ENOMEM;
	s->window = window;
	s->room = (uint32_t)room;
	return 0;
}

/*
 * New windows of equal size; at the sheet's end full ones, since a map that is
 * filled in order should not consist of halves.
 */
static int fill(struct tide__splice *splice, struct pieces *p, uint32_t shift,
		size_t words, uint32_t n, bool at_end)
{
	size_t elements = words >> shift;

	for (uint32_t i = 0; i < n; i++) {
		size_t take = at_end ? TIDE__WINDOW_WORDS >> shift :
				       elements / (n - i);
		struct tide__window *w;

		take = take < elements ? take : elements;
		w = malloc(sizeof(*w) + (take << shift) * sizeof(*w->v));
		if (!w)
			return -ENOMEM;
		splice->fresh[splice->n++] = w;
		w->words = take << shift;
		pieces_take(p, w->v, w->words);
		elements -= take;
	}
	return 0;
}

int tide__splice_make(struct tide__sheet *s, struct tide__splice *splice,
		      struct tide__place a, struct tide__place b,
		      const uint64_t *v, size_t words)
{
	struct pieces p;
	size_t sum, n;
	int ret;

	memset(splice, 0, sizeof(*splice));
	splice->fresh = splice->few;
	if (!words && a.window == b.window && a.at == b.at)
		return 0;
	if (b.window > a.window && b.at == 0) {
		b.window--; /* its own window need not change */
		b.at = (uint32_t)s->window[b.window]->words;
	}
	gather(s, splice, a, b, v, words, &p);
	sum = pieces_words(&p);
	n = (sum + TIDE__WINDOW_WORDS - 1) / TIDE__WINDOW_WORDS;
	ret = directory_room(s, s->windows - splice->gone + n);
	if (ret == 0 && n > sizeof(splice->few) / sizeof(*splice->few)) {
		splice->fresh = calloc(n, sizeof(struct tide__window *));
		ret = splice->fresh ? 0 : -ENOMEM;
	}
	if (ret == 0)
		ret = fill(splice, &p, s->shift, sum, (uint32_t)n,
			   splice->from + splice->gone == s->windows);
	if (ret < 0)
		tide__splice_drop(splice);
	return ret;
}

void tide__splice_commit(struct tide__sheet *s, struct tide__splice *splice)
{
	uint32_t end = splice->from + splice->gone;
	uint32_t to = splice->from + splice->n;
	size_t rest = s->windows - end;

	for (uint32_t i = splice->from; i < end; i++) {
		s->words -= s->window[i]->words;
		free(s->window[i]);
	}
	if (rest && end != to) {
		memmove(s->first + to, s->first + end,
			rest * sizeof(*s->first));
		memmove(s->window + to, s->window + end,
			rest * sizeof(struct tide__window *));
	}
	for (uint32_t i = 0; i < splice->n; i++) {
		s->window[splice->from + i] = splice->fresh[i];
		s->first[splice->from + i] = splice->fresh[i]->v[0];
		s->words += splice->fresh[i]->words;
	}
	s->windows = to + (uint32_t)rest;
	if (splice->fresh != splice->few)
		free(splice->fresh);
}

void tide__splice_drop(struct tide__splice *splice)
{
	for (uint32_t i = 0; i < splice->n; i++)
		free(splice->fresh[i]);
	if (splice->fresh != splice->few)
		free(splice->fresh);
	splice->n = 0;
}
