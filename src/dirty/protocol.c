/* SPDX-License-Identifier: BSD-2-Clause */
#include "dirty/protocol.h"

#include "base/atomic.h"
#include "bits/word.h"

void tide__raise_unit(struct tide__tree *live, uint64_t unit)
{
	for (unsigned int level = 1; level < live->levels; level++) {
		uint64_t bit = UINT64_C(1) << (unit % TIDE__WORD_BITS);
		uint64_t *summary = &live->level[level][unit / TIDE__WORD_BITS];

		/* See tide__see_unit_raised. */
		if (!(tide__load_seqcst(summary) & bit))
			tide__or_seqcst(summary, bit);
		unit /= TIDE__WORD_BITS;
	}
}

/*
 * The cost of a cut is the wait for memory, not the work: so the taker runs
 * ahead. It takes summaries first, queues up to AHEAD units, and asks for their
 * lines; by the time that it comes to the leaves they are near. Each level is
 * still taken before the one below.
 */
#define AHEAD 8
#define LINE_WORDS 8

struct take {
	struct tide__tree *live;
	struct tide__tree *into; /* NULL: what is taken goes to the log */
	struct tide__log *log;
	struct tide__tree *spill;	/* where to when the log is full */
	const struct tide__kernels *kernels;
	uint64_t taken;			/* pages */
	uint64_t queued, done;		/* units so far */
	uint64_t queue[AHEAD];
};

static uint64_t words_of(const struct tide__tree *tree, uint64_t unit)
{
	uint64_t left = tree->words[0] - unit * TIDE__UNIT_WORDS;

	return left < TIDE__UNIT_WORDS ? left : TIDE__UNIT_WORDS;
}

/* Which words of @unit are not 0, each seen behind what was done before. */
static uint64_t busy_words(const struct tide__tree *live,
			   const struct tide__kernels *kernels, uint64_t unit)
{
	const uint64_t *leaf = &live->level[0][unit * TIDE__UNIT_WORDS];
	uint64_t n = words_of(live, unit), busy = 0;

	if (n == TIDE__UNIT_WORDS) {
#ifdef __SANITIZE_THREAD__	/* which cannot know that these are atomic */
		(void)kernels;
		return tide__busy_scalar(leaf, n);
#else
		return kernels->busy(leaf, n);
#endif
	}
	for (unsigned int i = 0; i < n; i++)
		busy |= (uint64_t)(tide__load_seqcst(&leaf[i]) != 0) << i;
	return busy;
}

/* More was marked during the cut than the look before it saw. */
static void spill(struct take *t, uint64_t word, uint64_t bits)
{
	for (uint64_t i = 0; i < t->log->count; i++) {
		const struct tide__log_entry *e = &t->log->entry[i];

		t->spill->level[0][e->word] = e->bits;
		tide__tree_raise(t->spill, e->word);
	}
	t->log->count = t->log->room = 0;
	t->spill->level[0][word] = bits;
	tide__tree_raise(t->spill, word);
}

/* T2. Pairs with M1. */
static inline uint64_t take_leaf(struct take *t, uint64_t word)
{
	uint64_t bits = tide__swap_seqcst(&t->live->level[0][word], 0);

	if (t->into)
		t->into->level[0][word] = bits;
	else if (bits && __builtin_expect(!tide__log_add(t->log, word, bits),
					  0))
		spill(t, word, bits);
	return bits;
}

/*
 * The summaries of a fine tree: those @words of a unit, that begins with word
 * @first, have bits. From level 2 on a word may belong to two shares.
 */
static void raise_words(struct tide__tree *into, uint64_t first, uint64_t words)
{
	uint64_t at = first / TIDE__WORD_BITS;

	if (into->levels == 1 || !words)
		return;
	into->level[1][at] |= words << (first % TIDE__WORD_BITS);
	for (unsigned int level = 2; level < into->levels; level++) {
		uint64_t bit = UINT64_C(1) << (at % TIDE__WORD_BITS);

		at /= TIDE__WORD_BITS;
		/* Pairs with nothing: the caller's join makes it visible. */
		if (!(tide__load_relaxed(&into->level[level][at]) & bit))
			tide__or_seqcst(&into->level[level][at], bit);
	}
}

static void take_unit(struct take *t, uint64_t unit)
{
	uint64_t busy = busy_words(t->live, t->kernels, unit), used = 0;
	uint64_t first = unit * TIDE__UNIT_WORDS, got[TIDE__UNIT_WORDS];
	size_t n = 0;

	for (uint64_t left = busy; left; left &= left - 1) {
		unsigned int i = tide__lowest_bit(left);

		got[n] = take_leaf(t, first + i);
		used |= (uint64_t)(got[n++] != 0) << i;
	}
	t->taken += t->kernels->count(got, n);
	if (t->into)
		raise_words(t->into, first, used);
}

static void ask_for_unit(const struct take *t, uint64_t unit)
{
	uint64_t first = unit * TIDE__UNIT_WORDS;
	uint64_t end = first + words_of(t->live, unit);

	for (uint64_t at = first; at < end; at += LINE_WORDS) {
		__builtin_prefetch(&t->live->level[0][at], 1);
		if (t->into)
			__builtin_prefetch(&t->into->level[0][at], 1);
	}
}

static void queue_unit(struct take *t, uint64_t unit)
{
	if (t->queued - t->done == AHEAD)
		take_unit(t, t->queue[t->done++ % AHEAD]);
	ask_for_unit(t, unit);
	t->queue[t->queued++ % AHEAD] = unit;
}

static void take_below(struct take *t, unsigned int level, uint64_t word)
{
	/* T1. Pairs with M2, the marker's look at this summary. */
	uint64_t bits = tide__swap_seqcst(&t->live->level[level][word], 0);

	for (; bits; bits &= bits - 1) {
		uint64_t below = word * TIDE__WORD_BITS +
				 tide__lowest_bit(bits);

		if (level == 1)
			queue_unit(t, below);
		else
			take_below(t, level - 1, below);
	}
}

static void take_share(struct take *t, unsigned int part, unsigned int parts)
{
	unsigned int top = t->live->levels - 1;
	uint64_t words = t->live->words[top];
	uint64_t word = tide__share_start(words, part, parts);
	uint64_t end = tide__share_start(words, part + 1, parts);

	for (; word < end; word++) {
		/*
		 * Pairs with M2 (M1 if the top is the leaves): a mark that
		 * returned before the cut is seen here.
		 */
		if (!tide__load_seqcst(&t->live->level[top][word]))
			continue;
		if (top == 0)
			t->taken += tide__count_bits(take_leaf(t, word));
		else
			take_below(t, top, word);
	}
	while (t->done < t->queued)
		take_unit(t, t->queue[t->done++ % AHEAD]);
}

uint64_t tide__take(struct tide__tree *live, struct tide__tree *into,
		    const struct tide__kernels *kernels, unsigned int part,
		    unsigned int parts)
{
	struct take t = { .live = live, .into = into, .kernels = kernels };

	take_share(&t, part, parts);
	return t.taken;
}

uint64_t tide__take_log(struct tide__tree *live, struct tide__log *log,
			struct tide__tree *spill_into,
			const struct tide__kernels *kernels)
{
	struct take t = { .live = live, .log = log, .spill = spill_into,
			  .kernels = kernels };
	uint64_t room = log->room;

	take_share(&t, 0, 1);
	log->room = room;
	return t.taken;
}

#define SAMPLES 32

/* Blocks in use; a hint while others mark. */
static uint64_t units_in_use(const struct tide__tree *live)
{
	uint64_t n = 0;

	for (uint64_t at = 0; at < live->words[1]; at++) {
		uint64_t bits = tide__load_relaxed(&live->level[1][at]);

		if (bits)	/* counting is a call */
			n += tide__count_bits(bits);
	}
	return n;
}

/* Words in use in @n units, by those of some units, drawn evenly. */
static uint64_t guess_words(const struct tide__tree *live,
			    const struct tide__kernels *kernels, uint64_t n)
{
	uint64_t all = live->words[1] * TIDE__WORD_BITS, words = 0, seen = 0;

	for (uint64_t i = 0; i < SAMPLES; i++) {
		uint64_t unit = tide__tree_next_at(live, 1, all / SAMPLES * i);

		if (unit >= all)
			break;
		words += tide__count_bits(busy_words(live, kernels, unit));
		seen++;
	}
	return seen ? n * words / seen : 0;
}

bool tide__is_sparse(const struct tide__tree *live,
		     const struct tide__kernels *kernels, uint64_t room)
{
	uint64_t used = 0;

	if (live->levels > 1) {
		used = units_in_use(live);
		return used * TIDE__UNIT_WORDS <= room ||
		       guess_words(live, kernels, used) <= room;
	}
	for (uint64_t at = 0; at < live->words[0] && used <= room; at++)
		used += tide__load_relaxed(&live->level[0][at]) != 0;
	return used <= room;
}
