/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reader of one thread. It keeps the view it met last until it finds that
 * the map has changed, so that a lookup enters no gate: it compares two
 * numbers, and walks a tree.
 *
 * In front of the tree it has the last few intervals, slots and gaps alike.
 * Asking them first pays where lookups come back, and costs more than the tree
 * where they jump about, since the processor guesses the outcome wrong. So the
 * reader tries now and then which share of lookups is of the same interval as
 * the one before. Where it is too small it leaves them alone for a while; else
 * the interval met last is asked inline, without counting, for a while.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "maps/slots.h"
#include "tidemark/slots_inline.h"

static const char origin[] = "slots";

#define CACHED 4
#define TRIAL_JUMPS 64u		/* to another interval; then it is judged */
#define TRIAL_RUNS 59u		/* fewer of them after a repetition: too many */
#define TRIAL_REPEATS 2048u	/* of one interval: they say enough, too */
#define REST_LOOKUPS 8192u	/* without asking, before the next trial */
#define TRUST_JUMPS 2048u	/* asking without counting, likewise */

struct interval {
	uint64_t first, len;		/* 2^64 - 1 also stands for 2^64 */
	const struct tide_slot *slot;	/* NULL: a gap */
};

struct tide_slots_reader {
	struct tide_slots_front front;	/* no len: not asked, but if trusted */
	struct tide_slots *slots;
	tide__cell root;
	struct tide__gate_line line;
	uint64_t max;			/* highest page in the tree */
	unsigned int shift;
	unsigned int turn;		/* of the cached: to be replaced next */
	uint32_t rest;			/* lookups until the next trial */
	uint32_t trust;			/* jumps until the next trial */
	uint32_t jumps, runs, repeats;	/* in this trial */
	bool repeated;			/* since the last jump of it */
	unsigned int current;		/* of the cached: met last */
	struct interval cached[CACHED];
};

int tide_slots_reader_create(struct tide_slots *slots,
			     struct tide_slots_reader **out,
			     struct tide_error *err)
{
	struct tide_slots_reader *reader = tide__slots_zeroed(sizeof(*reader));

	if (!reader)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a reader of slots");
	reader->slots = slots;
	reader->front.now = &slots->generation;
	reader->front.generation = UINT64_MAX;	/* that of no view */
	pthread_mutex_lock(&slots->lock);
	tide__gate_register(&slots->gate, &reader->line);
	pthread_mutex_unlock(&slots->lock);
	*out = reader;
	return 0;
}

void tide_slots_reader_destroy(struct tide_slots_reader *reader)
{
	if (!reader)
		return;
	pthread_mutex_lock(&reader->slots->lock);
	tide__gate_forget(&reader->slots->gate, &reader->line);
	pthread_mutex_unlock(&reader->slots->lock);
	free(reader);
}

/* Looks @gpa up in the tree; entry @at then holds its interval. */
static void remember(struct tide_slots_reader *r, unsigned int at, uint64_t gpa)
{
	unsigned int shift = r->shift;
	tide__cell cell = tide__radix_walk(r->root, TIDE__GUEST_BITS, gpa >> 12,
					   &shift);
	const struct tide__record *record = tide__cell_record(cell);
	bool above = gpa >> 12 > r->max;
	uint64_t first = above ? (r->max + 1) << 12 : 0;
	uint64_t last = UINT64_MAX, begin, end;

	/* A gap: what the cell has of it, or all that is above the tree. */
	if (!above && shift < TIDE__PAGE_BITS) {
		first = gpa & -(UINT64_C(4096) << shift);
		last = first + ((UINT64_C(4096) << shift) - 1);
	}
	if (record != &tide__nothing) {
		begin = record->slot.gpa_bytes;
		end = begin + (record->slot.len_bytes - 1);
		if (gpa < begin) {
			last = begin - 1;
			record = NULL;
		} else if (gpa > end) {
			first = end >= first ? end + 1 : first;
			record = NULL;
		} else {
			first = begin;
			last = end;
		}
	}
	r->cached[at] = (struct interval){
		.first = first,
		.len = last - first + (last - first != UINT64_MAX),
		.slot = record && record != &tide__nothing ? &record->slot
							    : NULL,
	};
}

/*
 * The cached interval @at is what is asked first: inline, if that is trusted.
 */
static inline void show(struct tide_slots_reader *r, unsigned int at)
{
	r->current = at;
	r->front.first = r->cached[at].first;
	r->front.len = r->trust ? r->cached[at].len : 0;
	r->front.slot = r->cached[at].slot;
}

static __attribute__((noinline)) void end_trial(struct tide_slots_reader *r,
						bool trust)
{
	r->trust = trust ? TRUST_JUMPS : 0;
	r->rest = trust ? 0 : REST_LOOKUPS;
	r->jumps = r->runs = r->repeats = 0;
	show(r, r->current);
}

/* The map has changed, or this is the first lookup. */
static __attribute__((noinline)) void renew(struct tide_slots_reader *r)
{
	const struct tide__slot_view *view;

	tide__gate_enter(&r->slots->gate, &r->line);
	/* pairs with the store in publish */
	view = tide__load_seqcst(&r->slots->current);
	r->front.generation = view->old.made;
	r->root = view->guest.root;
	r->shift = view->guest.shift;
	r->max = r->shift < TIDE__PAGE_BITS ? (UINT64_C(1) << r->shift) - 1
					     : UINT64_MAX;
	tide__gate_pin(&r->line, view->old.made);
	tide__gate_leave(&r->line);
	/* No entry is empty, so that none must be asked if it is. */
	for (unsigned int i = 0; i < CACHED; i++)
		remember(r, i, 0);
	show(r, 0);
}

/*
 * Another interval than the one before. Was that met again, in a trial? The
 * share of those is that of lookups which repeat.
 */
static inline void jump_to(struct tide_slots_reader *r, unsigned int at)
{
	if (r->trust) {
		r->trust--;	/* at 0: the next trial */
		show(r, at);
		return;
	}
	r->current = at;
	r->runs += r->repeated;
	r->repeated = false;
	if (++r->jumps == TRIAL_JUMPS)
		end_trial(r, r->runs >= TRIAL_RUNS);
}

/* In a trial: the interval that was met last, again. */
static inline void repeat(struct tide_slots_reader *r)
{
	r->repeated = true;
	if (++r->repeats == TRIAL_REPEATS)
		end_trial(r, true);
}

static inline bool give(const struct tide_slot *slot, struct tide_slot *out)
{
	if (slot && out)
		*out = *slot;
	return slot;
}

/*
 * The ways that are taken seldom are functions of their own, entered by a
 * jump: so the usual way saves no registers. This one: not the front, or a
 * trial.
 */
static __attribute__((noinline)) bool ask(struct tide_slots_reader *r,
					  uint64_t gpa, struct tide_slot *out)
{
	unsigned int at;

	for (at = 0; at < CACHED; at++)
		if (gpa - r->cached[at].first < r->cached[at].len)
			break;
	if (at == CACHED) {
		at = r->turn++ % CACHED;
		remember(r, at, gpa);
		jump_to(r, at);
	} else if (at != r->current) {
		jump_to(r, at);
	} else if (!r->trust) {
		repeat(r);
	}
	return give(r->cached[at].slot, out);
}

bool tide_slots_reader_renew(struct tide_slots_reader *reader,
			     uint64_t gpa_bytes, struct tide_slot *out)
{
	renew(reader);
	return ask(reader, gpa_bytes, out);
}

bool tide_slots_reader_search(struct tide_slots_reader *reader,
			      uint64_t gpa_bytes, struct tide_slot *out)
{
	const struct tide__record *record;
	uint64_t page = gpa_bytes >> 12;
	unsigned int shift = reader->shift;

	if (!reader->rest)
		return ask(reader, gpa_bytes, out);
	reader->rest--;
	if (page > reader->max)
		return false;
	record = tide__cell_record(tide__radix_walk_in(
	    reader->root, TIDE__GUEST_BITS, page, &shift));
	if (gpa_bytes - record->slot.gpa_bytes >= record->slot.len_bytes)
		return false;
	if (out)
		*out = record->slot;
	return true;
}

bool tide_slots_reader_find_gpa(struct tide_slots_reader *reader,
				uint64_t gpa_bytes, struct tide_slot *out)
{
	return tide_slots_inline_find_gpa(reader, gpa_bytes, out);
}
