/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intents, in power mode: the first write into a block that the saved bits do
 * not have waits until its region is named in the log, durably.
 *
 *            waiter, log block durable
 *      IDLE -------------------------> ACTIVE <-----------+
 *        ^                               | a victim       | a write comes
 *        |      its bits are saved       v                |
 *        +---------------------------- RETIRING ----------+
 *
 * The writer marks first and looks at the region's state then; who retires one
 * sets the state first and reads the marks then (a full fence on both sides):
 * either the writer sees RETIRING, or its mark is among those that are saved.
 *
 * One thread a disk writes the log: whoever came while a block was being
 * written shares the next. Each block holds all active regions. A second one
 * saves the bits of those that retire, and is asked to before room is short.
 *
 * Who writes in order finds the next regions named already: they cost no block
 * more than the one that is being written, and count against the same bound.
 *
 * If the log cannot be written, writes are let through and `lost` is said, in
 * the store too if that can be: the guest's work goes on, tracking says what it
 * lost.
 */
#ifndef TIDE_CBT_INTENTS_H
#define TIDE_CBT_INTENTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cbt/store.h"
#include "tidemark/error.h"

struct cbt;
struct tide_io;

struct cbt_intents {
	struct cbt *c;
	bool on;
	uint32_t shift; /* of a region's bytes */
	uint32_t max; /* active at once */
	uint64_t regions;
	uint8_t *state; /* one a region; atomic */
	uint64_t *durable; /* a bit a block: the saved bits; atomic */
	uint64_t durable_words;
	pthread_t thread, saver;
	pthread_mutex_t lock; /* what follows */
	pthread_cond_t work, moved; /* for the log's thread; for who waits */
	pthread_cond_t save, room; /* for the saver; after each batch of it */
	bool started, saving, stop, lost;
	bool dropped; /* the last block names regions that need it no more */
	bool save_idle; /* asked of the saver: those that nobody uses */
	uint32_t save_max; /* and: so many of the oldest; 0: none */
	uint64_t batches; /* of the oldest, so far */
	int save_result; /* of the last of them */
	struct tide_io *waiting; /* parked, linked by scratch[0] */
	struct cbt_waiter *waiters; /* threads */
	uint64_t ahead; /* a region that is written to in order; 0: none */
	uint64_t active[CBT_MAX_REGIONS];
	uint32_t active_count;
	uint64_t sequence;
	uint64_t blocks, first_writes;
};

/* For the disk's size and granularity now; the saved bits are as the live. */
int cbt_intents_start(struct cbt_intents *in, struct cbt *c,
		      uint32_t region_shift, uint64_t bound_bytes,
		      struct tide_error *err);
void cbt_intents_stop(struct cbt_intents *in);

/* Inside of the gate, after the mark: may the write go? */
bool cbt_intents_ready(struct cbt_intents *in, uint64_t offset_bytes,
		       uint64_t length_bytes);
/* Outside. False: it is ready by now, or there is no memory: see ready. */
bool cbt_intents_park(struct cbt_intents *in, struct tide_io *io);
void cbt_intents_wait(struct cbt_intents *in, uint64_t offset_bytes,
		      uint64_t length_bytes);

/* The gate is held: nothing is in the saved bits of the epoch that begins. */
void cbt_intents_forget(struct cbt_intents *in);
/* The gate is held: the disk has another size, or blocks another. */
void cbt_intents_resize(struct cbt_intents *in);

#endif
