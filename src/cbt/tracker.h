/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tracker from the inside; for the files of src/cbt only.
 *
 * Lock order: `lock` of trackers (several: by ascending address), then the
 * gate, then the intents' lock. Live bits are marked without a lock by whoever
 * is inside the gate; `now` changes only while the gate is held and empty.
 */
#ifndef TIDE_CBT_TRACKER_H
#define TIDE_CBT_TRACKER_H

#include <pthread.h>

#include "cbt/cbt.h"
#include "cbt/gate.h"
#include "cbt/intents.h"
#include "cbt/live.h"

struct cbt {
	pthread_mutex_t lock; /* all but what is marked */
	struct cbt_gate gate;
	struct cbt_area *now; /* where marks go */
	struct cbt_live live;
	struct cbt_catalog catalog;
	struct cbt_store store;
	struct cbt_intents intents;
	struct tide_disk *disk; /* borrowed */
	char *disk_path; /* owned */
	enum cbt_durability durability;
	uint64_t hold_ns;
	uint64_t commits;
	struct cbt_meta *metas; /* who follows a point (meta.h) */
	struct cbt_image next_saved; /* of the epoch that a cut begins */
	/* A cut that the store has not heard of: its area must stay. */
	bool unsaved_cut;
	bool moved; /* atomic: no more changes, because of: */
	char where[400];
	bool sampled, doubted;
	bool was_open; /* the session before did not end */
	char trouble[512];
	char note[1024];
};

/* Mark, inside of the gate. */
void cbt_mark(struct cbt *c, uint64_t offset_bytes, uint64_t length_bytes);

/* Free, and say nothing to the store. */
void cbt_discard(struct cbt *c, bool unlink_live);

/* Under the lock: the store gets the catalog. */
int cbt_commit(struct cbt *c, struct tide_error *err);

/* cut.c. Under the locks: the epochs of all end at one instant. */
int cbt_cut(struct cbt *const *disks, size_t count, struct tide_error *err);
/* The same, and @meanwhile is called while no write of any is under way. */
int cbt_cut_and(struct cbt *const *disks, size_t count,
		void (*meanwhile)(void *opaque), void *opaque,
		struct tide_error *err);
/* The same for one, and the size and the granularity that come after. */
int cbt_cut_to(struct cbt *c, uint64_t size_bytes, uint32_t shift,
	       int (*meanwhile)(void *opaque), void *opaque,
	       struct tide_error *err);
/* Deltas that nobody tells apart become one; those that nobody asks for go. */
void cbt_tidy(struct cbt *c);
/* The granularity that the points want. */
uint32_t cbt_wanted_shift(const struct cbt *c);

/* points.c: every point that would have to be complete is not any more. */
void cbt_doubt(struct cbt_catalog *catalog, const char *reason);
/* The bytes that a point calls dirty, without the lock; 0: it is gone. */
uint64_t cbt_count_of(struct cbt *c, const uint8_t uuid[16]);
int cbt_usable(const struct cbt *c, const struct cbt_point *p,
	       struct tide_error *err);
int cbt_no_point(const struct cbt *c, const char *name,
		 struct tide_error *err);
int cbt_no_memory(const struct cbt *c, struct tide_error *err);

int cbt_check_name(const struct cbt *c, const char *name,
		   struct tide_error *err);
/* Out of the catalog, and freed; the store hears of it with the next commit. */
void cbt_drop_point(struct cbt *c, struct cbt_point *p);

/* identity.c */
void cbt_identity_stat(struct cbt_identity *id, const char *path,
		       uint64_t size_bytes);
void cbt_identity_sample(struct cbt_identity *id, struct tide_disk *disk,
			 const uint8_t uuid[16]);
/* "" or what differs. */
void cbt_identity_compare(const struct cbt_identity *id,
			  struct tide_disk *disk, const char *path,
			  char *what, size_t room);

#endif
