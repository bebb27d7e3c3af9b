/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/slots_gate.h"

#include <pthread.h>
#include <string.h>

#include "base/atomic.h"
#include "base/barrier.h"

void tide__gate_init(struct tide__gate *gate)
{
	memset(gate, 0, sizeof(*gate));
	gate->asymmetric = tide__barrier_register();
}

/* Threads start their search at different lines. */
static unsigned int first_line(void)
{
	uint64_t self = (uint64_t)pthread_self();

	return (unsigned int)((self * UINT64_C(0x9e3779b97f4a7c15)) >> 59) %
	       TIDE__GATE_LINES;
}

struct tide__gate_line *tide__gate_enter_any(struct tide__gate *gate)
{
	unsigned int first = first_line();
	uint64_t seen = tide__load_acquire(&gate->epoch) + 1;

	for (unsigned int i = 0; i < TIDE__GATE_LINES; i++) {
		struct tide__gate_line *line =
		    &gate->shared[(first + i) % TIDE__GATE_LINES];
		uint64_t outside = 0;

		/* Sequentially consistent, as is the load of `current`. */
		if (tide__cas_seqcst(&line->seen, outside, seen)) {
			tide__fence_seqcst();
			return line;
		}
	}
	tide__add_seqcst(&gate->strangers, 1);
	tide__fence_seqcst();
	return NULL;
}

void tide__gate_leave_any(struct tide__gate *gate, struct tide__gate_line *line)
{
	if (line)
		tide__gate_leave(line);
	else	/* a release; pairs with the load in tide__gate_oldest */
		tide__add_seqcst(&gate->strangers, (uint64_t)-1);
}

void tide__gate_register(struct tide__gate *gate, struct tide__gate_line *line)
{
	line->seen = line->pinned = 0;
	line->next = gate->registered;
	gate->registered = line;
}

void tide__gate_forget(struct tide__gate *gate, struct tide__gate_line *line)
{
	struct tide__gate_line **at = &gate->registered;

	while (*at && *at != line)
		at = &(*at)->next;
	if (*at)
		*at = line->next;
}

uint64_t tide__gate_advance(struct tide__gate *gate)
{
	uint64_t epoch = gate->epoch + 1;

	/* pairs with the acquires at the entrances */
	tide__store_release(&gate->epoch, epoch);
	return epoch;
}

static uint64_t check_line(const struct tide__gate_line *line, uint64_t oldest)
{
	/* pairs with the releases of enter and leave */
	uint64_t seen = tide__load_acquire(&line->seen);

	return seen && seen - 1 < oldest ? seen - 1 : oldest;
}

uint64_t tide__gate_oldest(struct tide__gate *gate)
{
	uint64_t oldest = gate->epoch;

	tide__fence_seqcst();
	if (gate->asymmetric && !tide__barrier_all())
		return 0;	/* no barrier, no judgement: nothing is free */
	if (tide__load_seqcst(&gate->strangers))
		return 0;
	for (unsigned int i = 0; i < TIDE__GATE_LINES; i++)
		oldest = check_line(&gate->shared[i], oldest);
	for (const struct tide__gate_line *l = gate->registered; l; l = l->next)
		oldest = check_line(l, oldest);
	return oldest;
}

bool tide__gate_pinned(const struct tide__gate *gate, uint64_t made,
		       uint64_t dropped)
{
	for (const struct tide__gate_line *l = gate->registered; l;
	     l = l->next) {
		/* pairs with the release in tide__gate_pin */
		uint64_t pinned = tide__load_acquire(&l->pinned);

		if (pinned && pinned - 1 >= made && pinned - 1 < dropped)
			return true;
	}
	return false;
}
