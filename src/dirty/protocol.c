/* SPDX-License-Identifier: BSD-2-Clause */
#include "dirty/protocol.h"

#include "base/atomic.h"
#include "bits/word.h"

/* M2 at one level: the summary bit of word @word of the level below. */
static inline void raise(uint64_t *summaries, uint64_t word)
{
	uint64_t bit = UINT64_C(1) << (word % TIDE__WORD_BITS);
	uint64_t *summary = &summaries[word / TIDE__WORD_BITS];

	/*
	 * Pairs with T1, the taker's exchange of this word. Sequential
	 * consistency orders it after M1 (or after the fence of a marker that
	 * found its bits set).
	 */
	if (__builtin_expect(!(tide__load_seqcst(summary) & bit), 0))
		tide__or_seqcst(summary, bit);
}

/* M2: from the leaf word upwards, every summary bit must be seen set. */
static inline void raise_summaries(uint64_t *const *summaries,
				   unsigned int levels, uint64_t word)
{
	for (unsigned int i = 0; i < levels; i++) {
		raise(summaries[i], word);
		word /= TIDE__WORD_BITS;
	}
}

void tide__mark_word(struct tide__tree *live, uint64_t word, uint64_t bits)
{
	uint64_t *leaf = &live->level[0][word];
	/* Read before the barrier, which would hold them up. */
	uint64_t *const *summaries = live->level + 1;
	unsigned int levels = live->levels - 1;

	/*
	 * This first look only chooses the way: a clean page goes straight to
	 * the OR, whose barrier is the only one it pays for.
	 */
	if ((tide__load_relaxed(leaf) & bits) == bits) {
		/*
		 * Orders the caller's data store before the second look. Pairs
		 * with T2: if the taker's exchange precedes our look, we see 0
		 * and set the bit again; if it follows, whoever reads the page
		 * after the cut sees the data.
		 */
		tide__fence_seqcst();
		if ((tide__load_seqcst(leaf) & bits) == bits) {
			raise_summaries(summaries, levels, word);
			return;
		}
	}
	/* M1. Pairs with T2, the taker's exchange of the leaf. */
	tide__or_seqcst(leaf, bits);
	raise_summaries(summaries, levels, word);
}

/*
 * The cost of a cut is the wait for memory, not the work: so the taker runs
 * ahead. It takes summaries first, queues up to AHEAD level-1 words, and asks
 * for the leaves under them; by the time that it comes to the leaves they are
 * near. Each level is still taken before the one below.
 */
#define AHEAD 16

struct take {
	struct tide__tree *live;
	struct tide__tree *into; /* NULL: what is taken goes to the log */
	struct tide__log *log;
	struct tide__tree *spill;	/* where to when the log is full */
	const struct tide__kernels *kernels;
	uint64_t taken;			/* pages */
	uint64_t queued, done;		/* level-1 words so far */
	struct {
		uint64_t word, bits;	/* at level 1 */
	} queue[AHEAD];
};

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

static inline uint64_t take_leaf(struct take *t, uint64_t word)
{
	/* T2. Pairs with M1. */
	uint64_t bits = tide__swap_seqcst(&t->live->level[0][word], 0);

	if (t->into)
		t->into->level[0][word] = bits;
	else if (bits && __builtin_expect(!tide__log_add(t->log, word, bits),
					  0))
		spill(t, word, bits);
	return bits;
}

static void take_oldest(struct take *t)
{
	uint64_t first = t->queue[t->done % AHEAD].word * TIDE__WORD_BITS;
	uint64_t bits = t->queue[t->done % AHEAD].bits;
	uint64_t got[TIDE__WORD_BITS];
	size_t n = 0;

	for (; bits; bits &= bits - 1)
		got[n++] = take_leaf(t, first + tide__lowest_bit(bits));
	t->taken += t->kernels->count(got, n);
	t->done++;
}

/* Ask for the cache lines, of 8 words, that level-1 @bits stand for. */
static void ask_for_leaves(const struct take *t, uint64_t word, uint64_t bits)
{
	uint64_t first = word * TIDE__WORD_BITS;

	while (bits) {
		unsigned int line = tide__lowest_bit(bits) / 8 * 8;

		__builtin_prefetch(&t->live->level[0][first + line], 1);
		if (t->into)
			__builtin_prefetch(&t->into->level[0][first + line], 1);
		bits &= ~(UINT64_C(0xff) << line);
	}
}

static void ask_for_summaries(const struct take *t, uint64_t word,
			      uint64_t bits)
{
	for (; bits; bits &= bits - 1) {
		uint64_t below = word * TIDE__WORD_BITS +
				 tide__lowest_bit(bits);

		__builtin_prefetch(&t->live->level[1][below], 1);
		if (t->into)
			__builtin_prefetch(&t->into->level[1][below], 1);
	}
}

static void take_below(struct take *t, unsigned int level, uint64_t word)
{
	/* T1. Pairs with M2, the marker's look at this summary. */
	uint64_t bits = tide__swap_seqcst(&t->live->level[level][word], 0);

	if (t->into)
		t->into->level[level][word] = bits;
	if (level == 1) {
		if (t->queued - t->done == AHEAD)
			take_oldest(t);
		ask_for_leaves(t, word, bits);
		t->queue[t->queued % AHEAD].word = word;
		t->queue[t->queued % AHEAD].bits = bits;
		t->queued++;
		return;
	}
	if (level == 2)
		ask_for_summaries(t, word, bits);
	for (; bits; bits &= bits - 1)
		take_below(t, level - 1,
			   word * TIDE__WORD_BITS + tide__lowest_bit(bits));
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
		take_oldest(t);
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
