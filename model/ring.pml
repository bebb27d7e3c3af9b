/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring between one producer and one consumer: the protocol of
 * src/dirty/ring.c, for spin.
 *
 * The producer raises the data of a page, then pushes the page. The consumer
 * drains the ring into the set, cuts (the set is bits here; how marks and cuts
 * meet is the other model's subject) and copies, while the producer runs, then
 * once more when it has returned. After each cut the copy must hold what was
 * pushed, with the push returned, when the drain began; after the last one,
 * everything. And a slot that is read must be one that was written, in order.
 *
 * Spin interleaves sequentially consistent steps. A missing barrier is
 * modelled by the reordering that it would allow. Each of these must fail:
 *   -DTAIL_FIRST	P1 is no release: the tail moves before the slot
 *   -DDATA_LATE	P1 is no release: the caller's data comes behind it
 *   -DHEAD_FIRST	C2 is no release: the head moves before the slots are read
 *   -DDROP_WHEN_FULL	a push that finds the ring full does not mark the set
 *   -DFULL_ONE_LATE	the test for "full" is off by one
 */
#define PAGES 2
#define ENTRIES 2
#define PUSHES 5
#define DRAINS 2

byte data[PAGES], copy[PAGES];
byte returned[PAGES];		/* data whose push has returned */
bit dirty[PAGES];		/* the set */
byte slot_page[ENTRIES];
byte slot_number[ENTRIES];	/* 1 + which push that was */
byte head, tail;
bit done;

#ifdef FULL_ONE_LATE
#define FULL (tail - head_seen > ENTRIES)
#else
#define FULL (tail - head_seen >= ENTRIES)
#endif

inline store_data()
{
	d_step { data[page]++; version = data[page] }
}

inline store_slot(at)
{
	slot_page[at % ENTRIES] = page;
	slot_number[at % ENTRIES] = at + 1
}

inline push()
{
	no_room = 0;
	if
	:: FULL ->
		head_seen = head;			/* P0 */
		no_room = FULL
	:: else
	fi;
	if
	:: no_room ->
#ifdef DATA_LATE
		store_data();
#endif
#ifndef DROP_WHEN_FULL
		dirty[page] = 1
#else
		skip
#endif
	:: else ->
#ifdef TAIL_FIRST
		tail++;
		store_slot(tail - 1)
#else
		store_slot(tail);
		tail++					/* P1 */
#endif
		;
#ifdef DATA_LATE
		store_data()
#endif
	fi
}

proctype producer()
{
	byte i, page, version, head_seen;
	bit no_room;

	for (i : 1 .. PUSHES) {
		if
		:: page = 0
		:: page = 1
		fi;
#ifndef DATA_LATE
		store_data();
#endif
		push();
		returned[page] = version
	}
	done = 1
}

inline drain()
{
	d_step { sure[0] = returned[0]; sure[1] = returned[1] }
	to = tail;					/* C1 */
	at = head;
#ifdef HEAD_FIRST
	head = to;
#endif
	do
	:: at < to ->
		assert(slot_number[at % ENTRIES] == at + 1);
		dirty[slot_page[at % ENTRIES]] = 1;
		at++
	:: else -> break
	od;
#ifndef HEAD_FIRST
	head = to					/* C2 */
#endif
}

inline cut()
{
	d_step {
		held[0] = dirty[0]; held[1] = dirty[1];
		dirty[0] = 0; dirty[1] = 0
	}
	for (p : 0 .. PAGES - 1) {
		if
		:: held[p] -> copy[p] = data[p]
		:: else
		fi
	}
	assert(copy[0] >= sure[0] && copy[1] >= sure[1])
}

proctype consumer()
{
	byte i, p, at, to, sure[PAGES];
	bit held[PAGES];

	for (i : 1 .. DRAINS) {
		drain();
		cut()
	}
	done == 1;
	drain();
	cut();
	assert(copy[0] == data[0] && copy[1] == data[1]);
	assert(head == tail)
}

init {
	atomic {
		run producer();
		run consumer()
	}
}
