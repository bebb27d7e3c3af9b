/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lookups by threads that have no reader of their own: each enters the gate
 * for as long as it looks at the current view, and copies what it found.
 */
#include "base/atomic.h"
#include "maps/slots.h"

/* A thread's use of the current view, without a registered reader. */
struct visit {
	struct tide__gate *gate;
	struct tide__gate_line *line;
	const struct tide__slot_view *view;
};

static struct visit begin(const struct tide_slots *slots)
{
	/* The gate is what readers write; the map stays as it is. */
	struct tide_slots *s = (struct tide_slots *)slots;
	struct visit v = { &s->gate, tide__gate_enter_any(&s->gate), NULL };

	/* pairs with the store in publish */
	v.view = tide__load_seqcst(&s->current);
	return v;
}

static void end(const struct visit *v)
{
	tide__gate_leave_any(v->gate, v->line);
}

/* Copies the slot, ends the visit. */
static bool give(const struct visit *v, const struct tide__record *r,
		 struct tide_slot *out)
{
	if (r && out)
		*out = r->slot;
	end(v);
	return r;
}

bool tide_slots_next(const struct tide_slots *slots, uint64_t from_gpa,
		     struct tide_slot *out)
{
	struct visit v = begin(slots);

	return give(&v, tide__radix_next(&v.view->guest, from_gpa >> 12),
		    out);
}

bool tide_slots_find_gpa(const struct tide_slots *slots, uint64_t gpa_bytes,
			 struct tide_slot *out)
{
	struct visit v = begin(slots);

	return give(&v, tide__radix_find_gpa(v.view->guest.root,
					     v.view->guest.shift, gpa_bytes),
		    out);
}

bool tide_slots_find_host(const struct tide_slots *slots, const void *host,
			  struct tide_slot *out)
{
	struct visit v = begin(slots);

	return give(&v, tide__radix_find(&v.view->host,
					(uintptr_t)host >> 12), out);
}

bool tide_slots_find_id(const struct tide_slots *slots, uint32_t id,
			struct tide_slot *out)
{
	struct visit v = begin(slots);

	return give(&v, tide__radix_find(&v.view->id, id), out);
}

size_t tide_slots_split(const struct tide_slots *slots, uint64_t gpa_bytes,
			uint64_t len_bytes, struct tide_slot_piece *pieces,
			size_t max, uint64_t *covered_bytes)
{
	struct visit v = begin(slots);
	uint64_t covered = 0;
	size_t n = 0;

	while (covered < len_bytes && n < max) {
		uint64_t gpa = gpa_bytes + covered, skip, len;
		const struct tide__record *r;

		if (gpa < gpa_bytes)	/* 2^64 was passed */
			break;
		r = tide__radix_find(&v.view->guest, gpa >> 12);
		if (!r)
			break;
		skip = gpa - r->slot.gpa_bytes;
		len = r->slot.len_bytes - skip;
		if (len > len_bytes - covered)
			len = len_bytes - covered;
		pieces[n++] = (struct tide_slot_piece){
			.id = r->slot.id,
			.host = r->slot.host ? (char *)r->slot.host + skip
					     : NULL,
			.gpa_bytes = gpa,
			.len_bytes = len,
		};
		covered += len;
	}
	end(&v);
	*covered_bytes = covered;
	return n;
}

uint32_t tide_slots_count(const struct tide_slots *slots)
{
	struct visit v = begin(slots);
	uint32_t count = v.view->count;

	end(&v);
	return count;
}

size_t tide_slots_bytes(const struct tide_slots *slots)
{
	struct visit v = begin(slots);
	size_t bytes = sizeof(*slots) + sizeof(*v.view) + v.view->bytes;

	end(&v);
	return bytes;
}

uint64_t tide_slots_generation(const struct tide_slots *slots)
{
	/* Of the view: the field is ahead of it for a moment (slots.c). */
	struct visit v = begin(slots);
	uint64_t generation = v.view->old.made;

	end(&v);
	return generation;
}

uint64_t tide_slots_top_bytes(const struct tide_slots *slots)
{
	struct visit v = begin(slots);
	const struct tide__record *r = tide__radix_last(&v.view->guest);
	uint64_t top = r ? r->slot.gpa_bytes + r->slot.len_bytes : 0;

	end(&v);
	return top;
}
