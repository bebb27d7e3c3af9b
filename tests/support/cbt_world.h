/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The world of the tracker's tests: a disk without content that says what
 * reached it, a tracker over it, an oracle that knows of every 512 bytes what
 * each point must say, and what the tracker asks of the system, which passes
 * through here: kept for power cuts, refused on demand.
 *
 * A program that uses it is linked with the wraps that tests/unit/meson.build
 * names (cbt_wraps).
 */
#ifndef TESTS_CBT_WORLD_H
#define TESTS_CBT_WORLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cbt/filter.h"
#include "cbt/tracker.h"
#include "disk/disk.h"

#define MAX_BYTES (24u << 20)
#define UNITS (MAX_BYTES / 512)
#define SLACK (1u << 20) /* the coarsest granularity of the scripts */
#define POINTS 12

extern uint64_t world_rng;
uint32_t below(uint32_t n);
/* @many with CAMPAIGN in the environment. */
uint32_t campaign(uint32_t usual, uint32_t many);

/* What reaches the store, while world_recording. */
struct record {
	uint64_t offset;
	uint8_t *bytes; /* NULL: a sync of all before */
	size_t length;
	bool durable; /* by itself */
};
extern struct record *world_records;
extern size_t world_record_count;
extern bool world_recording;
void world_forget_records(void);
/* Past the records. */
void world_put(int fd, const void *from, size_t length, uint64_t offset);

extern int world_fail_with; /* atomic: every write and sync of a store */
/* Atomic: writes that are durable by themselves wait while it is set. */
extern bool world_hold_durable;
extern int world_allocations_left; /* atomic; negative: no limit */
extern bool world_ran_out;

struct event {
	size_t position; /* in the records */
	uint64_t start, end; /* units of 512 bytes; or a point: */
	int point; /* -1: a write */
	bool created;
};

struct spy {
	struct tide_disk disk;
	pthread_mutex_t lock;
	struct event *events;
	size_t count, room;
	bool keep;
};

void world_add_event(struct spy *s, const struct event *e);

struct expected {
	bool there, records;
	int shift;
	char name[24];
	uint8_t *dirty; /* a byte for 512 */
	uint8_t *may; /* the same, also of what a shrink cut off */
};

struct world {
	struct spy spy;
	struct tide_disk *d;
	struct cbt *c;
	struct cbt_options o;
	char folder[32], path[64], live[64], store[80];
	uint8_t boot[16];
	struct expected points[POINTS];
	uint32_t names;
};

void world_init(struct world *w, uint64_t size);
void world_open(struct world *w);
/* As kill -9 does it: the memory that is shared with a file is all there is. */
void world_kill(struct world *w);
/* And opened again; nothing is to be said of it. */
void world_reopen(struct world *w, bool kill);
void world_fini(struct world *w);

void world_expect_dirty(struct world *w, uint64_t offset, uint64_t length);

struct answer {
	uint8_t *dirty;
	uint64_t at;
};

/* For cbt_changes, with an answer. */
bool world_take_run(void *opaque, uint64_t length, bool dirty);
/* What @name says, a byte for 512 bytes. */
void world_ask(struct world *w, const char *name, uint8_t *dirty);
/* Nothing is missing; what is too much lies beside what is dirty. */
void world_check_all(struct world *w);

#endif
