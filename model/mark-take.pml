/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Markers against a taker: the protocol of src/dirty/protocol.h, for spin.
 *
 * Two pages, each alone in its leaf word; one summary word of two bits; a top
 * word of one bit. A marker raises the data of a page, then marks it. The
 * taker cuts and copies while the markers run, then once more when all of
 * them have returned. After each cut the copy must hold what was marked, with
 * the mark returned, when the cut began; after the last one, everything.
 *
 * Spin interleaves sequentially consistent steps. A missing barrier is
 * modelled by the reordering that it would allow. Each of these must fail:
 *   -DNO_MARKER_BARRIER	M2's look at the summary is done before M1
 *   -DNO_TAKER_BARRIER		T1's clearing is seen only after T2
 *   -DNO_TEST_FENCE		the data store drifts behind the leaf test
 *   -DSTOP_AT_LEAF		a marker that finds the leaf set looks no higher
 */
#define PAGES 2
#define MARKERS 2
#define MARKS 2
#define CUTS 2

byte data[PAGES], copy[PAGES];
bit leaf[PAGES], low[PAGES], top;	/* low: the summary word, bit by bit */
byte returned[PAGES];	/* data whose mark has returned */
byte done;

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

inline mark(p)
{
#ifndef NO_TEST_FENCE
	d_step { data[p]++; version = data[p] };
#endif
	if
	:: leaf[p] == 1 ->
#ifdef NO_TEST_FENCE
		d_step { data[p]++; version = data[p] };
#endif
#ifndef STOP_AT_LEAF
#ifdef NO_MARKER_BARRIER
		saw = low[p];
#endif
		raise_summaries(p)
#endif
	:: else ->
#ifdef NO_TEST_FENCE
		d_step { data[p]++; version = data[p] };
#endif
#ifdef NO_MARKER_BARRIER
		saw = low[p];
#endif
		leaf[p] = 1;			/* M1 */
		raise_summaries(p)		/* M2 */
	fi
}

proctype marker()
{
	byte i, page, version;
	bit saw;

	for (i : 1 .. MARKS) {
		if
		:: page = 0
		:: page = 1
		fi;
		mark(page);
		d_step {
			if
			:: returned[page] < version -> returned[page] = version
			:: else
			fi
		}
	}
	done++
}

inline cut()
{
	d_step { sure[0] = returned[0]; sure[1] = returned[1] }
	d_step { took_top = top; top = 0 }	/* T1, upper */
	if
	:: took_top ->
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
			if
			:: took[p] ->
				d_step { held[p] = leaf[p]; leaf[p] = 0 } /* T2 */
			:: else
			fi
		}
#ifdef NO_TAKER_BARRIER
		atomic { low[0] = 0; low[1] = 0 }
#endif
		;
		for (p : 0 .. PAGES - 1) {
			if
			:: held[p] -> copy[p] = data[p]; held[p] = 0
			:: else
			fi
		}
	:: else
	fi;
	assert(copy[0] >= sure[0] && copy[1] >= sure[1])
}

proctype taker()
{
	byte i, p, sure[PAGES];
	bit took_top, took[PAGES], held[PAGES];

	for (i : 1 .. CUTS) {
		cut()
	}
	done == MARKERS;
	cut();
	assert(copy[0] == data[0] && copy[1] == data[1]);
	assert(leaf[0] == 0 && leaf[1] == 0)
}

init {
	atomic {
		run marker();
		run marker();
		run taker()
	}
}
