/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Markers against a taker: the protocol of src/dirty/protocol.h, for spin.
 *
 * Two pages, each alone in its leaf word; one summary word of two bits; a top
 * word of one bit. A marker stores a version of its own into a page, then marks
 * the page. Its store may be on its way for any time, one at a time, even when
 * the mark has returned; an atomic operation of its own sends it home, and so
 * does the barrier that the taker makes all threads pass. The taker cuts and
 * copies while the markers run, then once more when all of them have returned.
 * After each cut the copy must hold what was marked, with the mark returned, when
 * the cut began; after the last one, everything.
 *
 * Spin interleaves sequentially consistent steps; what is reordered beyond the
 * data stores is modelled by hand. With -DFENCES the markers take a fence, and the
 * taker passes no barrier. Each of these must fail:
 *   -DNO_MARKER_BARRIER	M2's look at the summary is done before M1
 *   -DNO_TAKER_BARRIER		T1's clearing is seen only after T2
 *   -DNO_ALL_BARRIER		neither T3 nor a fence
 *   -DEARLY_ALL_BARRIER	T3 before T2
 *   -DSTOP_AT_LEAF		a marker that finds the leaf set looks no higher
 */
#define PAGES 2
#define MARKERS 2
#define MARKS 2
#ifndef CUTS		/* while the markers run; one more follows */
#define CUTS 2
#endif
#define CELLS 4			/* PAGES * MARKERS */

byte data[CELLS], copy[CELLS], returned[CELLS];
byte buffered[MARKERS];		/* 0, or page + 1 of a store on its way */
byte value[MARKERS];
bit leaf[PAGES], low[PAGES], top;	/* low: the summary word, bit by bit */
byte done;

inline drain(k)
{
	if
	:: buffered[k] ->
		data[k * PAGES + buffered[k] - 1] = value[k];
		buffered[k] = 0
	:: else
	fi
}

inline raise_summaries(p)
{
#ifndef NO_MARKER_BARRIER
	saw = low[p];
#endif
	if
	:: saw == 0 -> low[p] = 1
	:: else
	fi;
	if
	:: top == 0 -> top = 1
	:: else
	fi
}

inline mark_clean(p)
{
#ifdef NO_MARKER_BARRIER
	saw = low[p];
#endif
	d_step { drain(me); leaf[p] = 1 };	/* M1, an atomic operation */
	raise_summaries(p)			/* M2 */
}

inline mark_dirty(p)
{
#ifdef NO_MARKER_BARRIER
	saw = low[p];
#endif
#ifndef STOP_AT_LEAF
	raise_summaries(p)
#else
	skip
#endif
}

inline mark(p)
{
	d_step { drain(me); version++; buffered[me] = p + 1; value[me] = version };
	if
	:: leaf[p] == 1 ->
#ifdef FENCES
		d_step { drain(me) };
		if
		:: leaf[p] == 1 -> mark_dirty(p)
		:: else -> mark_clean(p)
		fi
#else
		mark_dirty(p)
#endif
	:: else -> mark_clean(p)
	fi
}

proctype marker(byte me)
{
	byte i, page, version;
	bit saw;

	for (i : 1 .. MARKS) {
		if
		:: page = 0
		:: page = 1
		fi;
		mark(page);
		returned[me * PAGES + page] = version
	}
	done++
}

/* Stores come home by themselves, at any time. */
proctype memory(byte k)
{
	do
	:: d_step { buffered[k] -> drain(k) }
	:: done == MARKERS && !buffered[k] -> break
	od
}

inline barrier_of_all()
{
	d_step { drain(0); drain(1) }
}

inline copy_page(p)
{
	copy[p] = data[p];
	copy[PAGES + p] = data[PAGES + p]
}

inline cut()
{
	atomic {
		for (c : 0 .. CELLS - 1) {
			sure[c] = returned[c]
		}
	}
	d_step { took_top = top; top = 0 }	/* T1, upper */
	if
	:: took_top ->
#ifdef EARLY_ALL_BARRIER
		barrier_of_all();
#endif
#ifdef NO_TAKER_BARRIER
		d_step { took[0] = low[0]; took[1] = low[1] }
#else
		d_step {			/* T1, one word */
			took[0] = low[0]; took[1] = low[1];
			low[0] = 0; low[1] = 0
		}
#endif
		;
		for (p : 0 .. PAGES - 1) {
			if		/* T2: looked at, then exchanged */
			:: took[p] && leaf[p] ->
				d_step { held[p] = leaf[p]; leaf[p] = 0 }
			:: else
			fi
		}
#ifdef NO_TAKER_BARRIER
		atomic { low[0] = 0; low[1] = 0 }
#endif
		;
#if !defined FENCES && !defined NO_ALL_BARRIER && !defined EARLY_ALL_BARRIER
		if
		:: held[0] || held[1] -> barrier_of_all()	/* T3 */
		:: else
		fi;
#endif
		for (p : 0 .. PAGES - 1) {
			if
			:: held[p] -> d_step { copy_page(p) }; held[p] = 0
			:: else
			fi
		}
	:: else
	fi;
	atomic {
		for (c : 0 .. CELLS - 1) {
			assert(copy[c] >= sure[c])
		}
	}
}

proctype taker()
{
	byte i, p, c, sure[CELLS];
	bit took_top, took[PAGES], held[PAGES];

	for (i : 1 .. CUTS) {
		cut()
	}
	done == MARKERS && !buffered[0] && !buffered[1];
	cut();
	atomic {
		for (c : 0 .. CELLS - 1) {
			assert(copy[c] == data[c])
		}
	}
	assert(leaf[0] == 0 && leaf[1] == 0)
}

init {
	atomic {
		run marker(0);
		run marker(1);
		run memory(0);
		run memory(1);
		run taker()
	}
}
