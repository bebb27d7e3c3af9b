/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When may a part of an old slot map be freed? The protocol of
 * src/maps/slots_gate.h, for spin: a registered reader that pins what it uses,
 * against the writer, with membarrier(2). One is enough: a thing is freed if
 * each reader, looked at alone, does without it.
 *
 * View n consists of things n and n - 1: thing i is made by change i and
 * dropped by change i + 2. What the reader stores goes through a buffer, first in
 * first out, which empties at any time; its loads overtake that. The writer's
 * membarrier waits until it has been empty once. Whatever the reader uses, in
 * the gate or pinned, must not be freed. Each of these must fail:
 *   -DNO_MEMBARRIER	the writer does not wait for the buffer
 *   -DLOOK_AT_PINS_FIRST	... and at who is inside afterwards
 *   -DLEAVE_FIRST	a reader leaves the gate before it pins
 *   -DNO_PIN		a reader uses outside what it has not pinned
 *   -DPIN_IS_ONE	the writer keeps only what the pinned view made
 */
#define CHANGES 3
#define RENEWALS 3

#define SEEN 0
#define PINNED 1

byte epoch, current;
byte seen, pinned;
bit freed[CHANGES + 1];
chan stores = [4] of { bit, byte };

/* Things of view @v. */
#define USE(v)								\
	assert(!freed[v]);						\
	assert(v == 0 || !freed[v - 1])

proctype empty_buffer()
{
	bit what;
	byte value;

end:	do
	:: atomic { nempty(stores) ->
		stores ? what, value;
		if
		:: what == SEEN -> seen = value
		:: else -> pinned = value
		fi
	   }
	od
}

proctype reader()
{
	byte held, s, v, i;

	do
	:: i < RENEWALS ->
		s = epoch;
		stores ! SEEN, s + 1;
		v = current;
		USE(v);
#ifdef LEAVE_FIRST
		stores ! SEEN, 0;
#endif
#ifndef NO_PIN
		stores ! PINNED, v + 1;
#endif
#ifndef LEAVE_FIRST
		stores ! SEEN, 0;
#endif
		held = v;
		/* Outside, for as long as it likes. */
		USE(held);
		USE(held);
		i++
	:: else -> break
	od;
	USE(held)
}

/* Does the reader pin a view that has thing @t? */
inline look_at_pin(t)
{
	p = pinned;
#ifdef PIN_IS_ONE
	in_use = (p && p - 1 == t)
#else
	in_use = (p && p - 1 >= t && p - 1 < t + 2)
#endif
}

inline look_inside()
{
	oldest = epoch;
	p = seen;
	if
	:: p && p - 1 < oldest -> oldest = p - 1
	:: else
	fi
}

proctype writer()
{
	byte n = 1, t, p, oldest;
	bit in_use;

	do
	:: n <= CHANGES ->
		current = n;
		epoch = n;
#ifndef NO_MEMBARRIER
		empty(stores);
#endif
		look_inside();
		t = 0;
		do
		:: t + 2 <= n ->
			look_at_pin(t);
#ifdef LOOK_AT_PINS_FIRST
			look_inside();
#endif
			if
			:: !in_use && t + 2 <= oldest -> freed[t] = 1
			:: else
			fi;
			t++
		:: else -> break
		od;
		n++
	:: else -> break
	od
}

init {
	/* The reader has pinned view 0. */
	atomic {
		pinned = 1;
		run empty_buffer();
		run reader();
		run writer()
	}
}
