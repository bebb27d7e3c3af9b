/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reader of one thread: the interval it met last, slot or gap, for as long
 * as the map does not change. Then the view, through the gate.
 *
 * Asking the remembered interval first pays when lookups repeat, and costs
 * more than the whole walk through the index when they do not: the processor
 * guesses the outcome wrong. So the reader keeps a score of repetitions and
 * asks only while it is good. That is also why it remembers one interval and
 * not several (docs/evaluation.md, slot map).
 */
#include <errno.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "maps/slots.h"

static const char origin[] = "slots";

struct tide_slots_reader {
	struct tide__gate_line line;
	struct tide_slots *slots;
	uint32_t number;	/* of the interval met last */
	uint32_t repeats;	/* a bit for each lookup: the same again? */
	/* What is remembered, once lookups repeat. */
	uint64_t generation;
	uint64_t first, extent;	/* first to first + extent, included */
	struct tide_slot slot;
};

/* So many lookups of one interval in a row, and it is asked first. */
#define REPEATING 0xfu
#define NOTHING UINT64_MAX	/* the generation of no view */

int tide_slots_reader_create(struct tide_slots *slots,
			     struct tide_slots_reader **out,
			     struct tide_error *err)
{
	struct tide_slots_reader *reader = tide__slots_zeroed(sizeof(*reader));

	if (!reader)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a reader of slots");
	reader->slots = slots;
	reader->generation = NOTHING;
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

/*
 * The ways that are rarely taken are functions of their own, entered by a jump:
 * so the usual way saves no registers.
 */
static __attribute__((noinline, cold)) bool
remember(struct tide_slots_reader *r, const struct tide__slot_view *view)
{
	uint64_t last;

	if (r->number & 1) {
		r->slot = view->slot[r->number / 2];
		r->first = r->slot.gpa_bytes;
		r->extent = r->slot.len_bytes - 1;
	} else {
		tide__slot_view_gap(view, r->number, &r->first, &last);
		r->extent = last - r->first;
	}
	r->generation = view->generation;
	tide__gate_leave(&r->line);
	return r->number & 1;
}

/* Does the interval repeat? Counts the lookup. Inside the gate. */
static inline bool repeats(struct tide_slots_reader *r, uint32_t number)
{
	r->repeats = r->repeats * 2 + (number == r->number);
	r->number = number;
	return (r->repeats & REPEATING) == REPEATING;
}

/* Without membarrier, or in a view without an index. */
static __attribute__((noinline, cold)) bool
walk_slowly(struct tide_slots_reader *r, uint64_t gpa, struct tide_slot *out)
{
	const struct tide__slot_view *view;
	uint32_t number;

	tide__gate_enter(&r->slots->gate, &r->line);
	/* pairs with the store in publish */
	view = tide__load_seqcst(&r->slots->current);
	number = tide__slot_view_find(view, gpa);
	if (number & 1)
		*out = *tide__slot_view_slot(view, number);
	if (repeats(r, number))
		return remember(r, view);
	tide__gate_leave(&r->line);
	return number & 1;
}

static __attribute__((noinline)) bool
walk(struct tide_slots_reader *r, uint64_t gpa, struct tide_slot *out)
{
	const struct tide__slot_view *view;
	uint32_t number;

	r->generation = NOTHING;
	if (!r->slots->gate.asymmetric)
		return walk_slowly(r, gpa, out);
	tide__gate_enter_fast(&r->slots->gate, &r->line);
	/* pairs with the store in publish */
	view = tide__load_seqcst(&r->slots->current);
	if (!view->index.cell)
		return walk_slowly(r, gpa, out);
	number = tide__slot_index_find(&view->index, gpa);
	if (number & 1)
		*out = *tide__slot_view_slot(view, number);
	if (repeats(r, number))
		return remember(r, view);
	tide__gate_leave(&r->line);
	return number & 1;
}

static __attribute__((noinline)) bool only_ask(struct tide_slots_reader *r,
					       uint64_t gpa)
{
	struct tide_slot unwanted;

	return tide_slots_reader_find_gpa(r, gpa, &unwanted);
}

bool tide_slots_reader_find_gpa(struct tide_slots_reader *reader,
				uint64_t gpa_bytes, struct tide_slot *out)
{
	if (!out)
		return only_ask(reader, gpa_bytes);
	/* pairs with the release in publish */
	if (tide__load_acquire(&reader->slots->generation) !=
		    reader->generation ||
	    gpa_bytes - reader->first > reader->extent)
		return walk(reader, gpa_bytes, out);
	if (!(reader->number & 1))
		return false;
	*out = reader->slot;
	return true;
}
