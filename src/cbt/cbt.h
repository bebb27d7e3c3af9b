/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changed block tracking: what was written to a disk since a given instant.
 *
 * Each disk has one set of live bits, however many want to know. A cut ends an
 * epoch: its bits become a delta, which never changes again, and marking goes
 * on in an empty set. A checkpoint names an instant, the beginning of an
 * epoch: "changed since" is the union of the deltas from there on and the live
 * bits. A bitmap is the same with bits of its own beside it, so that it can be
 * cleared, stopped, and merged into. Nobody clears bits that another one
 * needs, and the cost of a mark does not depend on how many ask.
 *
 * Marking is done by cbt/filter.h, a disk that tells a tracker what is written
 * through it. Everything else here may be called from any thread and blocks. A
 * change of checkpoints or bitmaps is in the store when the call returns 0
 * (durably, in power mode); otherwise it is as if it had not been asked for.
 *
 * What the store holds, and what of it is believed after a crash: docs/format-
 * store.md.
 */
#ifndef TIDE_CBT_CBT_H
#define TIDE_CBT_CBT_H

#include "cbt/catalog.h"
#include "cbt/store.h"

struct cbt;
struct tide_disk;

struct cbt_options {
	/* NULL: the disk's path and ".tidemark"; a device's has to be named. */
	const char *store_path;
	const char *live_folder; /* NULL: one in /run or /dev/shm */
	enum cbt_durability durability; /* 0: process */
	uint32_t shift; /* of a new store; 0: 64 KiB */
	uint32_t region_shift; /* power: of an intent; 0: 2 MiB */
	uint64_t bound_bytes; /* power: of active regions; 0: 1 GiB */
	uint64_t hold_ms; /* how long a cut may hold writes; 0: 5000 */
	const uint8_t *boot; /* tests: instead of the host's boot id */
};

/*
 * cbt_open: track @disk, which is open and nobody writes to yet; borrowed until
 * cbt_close. 0; -EBUSY: somebody else tracks it; -EROFS, -ENOSPC, ...: the
 * store or the live file cannot be had; -EINVAL: the store is damaged. What
 * cannot be trusted of an earlier session is no error: points become
 * inconsistent, and cbt_note says why.
 */
int cbt_open(struct tide_disk *disk, const struct cbt_options *options,
	     struct cbt **out, struct tide_error *err);
/* Of what was found at open; "" if all was well. Valid until close. */
const char *cbt_note(const struct cbt *c);

/*
 * At the end: sample the disk while it can still be read, close the disk, then
 * this, which makes the store say that all is well. The tracker is gone in any
 * case; after an error the store says that it was not closed.
 */
void cbt_sample(struct cbt *c);
int cbt_close(struct cbt *c, struct tide_error *err);

enum cbt_word {
	CBT_SAYS_RECORDING,
	CBT_SAYS_DISABLED,
	CBT_SAYS_BUSY,
	CBT_SAYS_READONLY,
	CBT_SAYS_INCONSISTENT
};
const char *cbt_word(enum cbt_word word);

/* A point as others see it. */
struct cbt_info {
	enum cbt_kind kind;
	enum cbt_word word;
	bool pending;
	char name[CBT_LONGEST_NAME + 1];
	char reason[512];
	uint64_t granularity_bytes, created_s, dirty_bytes;
	uint8_t uuid[16], parent[16];
};

struct cbt_status {
	char store_path[512];
	uint8_t uuid[16];
	enum cbt_durability durability;
	uint64_t size_bytes, granularity_bytes, epoch, deltas, points;
	uint64_t live_bytes; /* dirty in the epoch that runs */
	uint64_t safety_bytes; /* dirty only because power was lost */
	uint64_t active_regions, region_bytes;
	uint64_t intents, first_writes; /* log blocks; who waited for them */
	uint64_t commits, bytes_marked;
	char trouble[512]; /* the store fails; "" if it does not */
	bool lost; /* power mode: and a power cut would now lose marks */
};

void cbt_status(struct cbt *c, struct cbt_status *out);
/* Counting what is dirty reads all bits of the disk; else dirty_bytes is 0. */
enum cbt_detail { CBT_UNCOUNTED, CBT_COUNTED };
/* The points, oldest first: malloc'd, *count of them. 0, -ENOMEM. */
int cbt_list(struct cbt *c, enum cbt_detail detail, struct cbt_info **out,
	     size_t *count);
int cbt_info(struct cbt *c, const char *name, enum cbt_detail detail,
	     struct cbt_info *out, struct tide_error *err);

/*
 * Names: 1 to CBT_LONGEST_NAME bytes without control characters; checkpoints
 * and bitmaps of a disk share them. -EINVAL, -EEXIST, -ENOENT, -E2BIG (too
 * many), -ETIMEDOUT (writes under way did not end; nothing was done), -ESTALE
 * (inconsistent, with the reason), and what the store says.
 */

/* One instant for all @count disks, each at most once. */
int cbt_checkpoint_create(struct cbt *const *disks, size_t count,
			  const char *name, bool pending,
			  struct tide_error *err);
/*
 * After cbt_open, for all disks that belong together: a checkpoint of several
 * that a killed process was making is kept on all, or dropped on all.
 */
void cbt_finish_groups(struct cbt *const *disks, size_t count);
/*
 * A pending one, and @at_moment is called at the instant: no write of any of
 * them is under way, and all wait for it. It may have been called although
 * this fails afterwards.
 */
int cbt_checkpoint_begin(struct cbt *const *disks, size_t count,
			 const char *name, void (*at_moment)(void *opaque),
			 void *opaque, struct tide_error *err);
int cbt_checkpoint_delete(struct cbt *c, const char *name,
			  struct tide_error *err);
/* Pending no more: kept, or gone. Both may be repeated. */
int cbt_checkpoint_finish(struct cbt *c, const char *name, bool keep,
			  struct tide_error *err);

int cbt_bitmap_add(struct cbt *c, const char *name,
		   uint64_t granularity_bytes, bool enabled,
		   struct tide_error *err);
int cbt_bitmap_remove(struct cbt *c, const char *name, struct tide_error *err);
int cbt_bitmap_clear(struct cbt *c, const char *name, struct tide_error *err);
int cbt_bitmap_enable(struct cbt *c, const char *name, bool enabled,
		      struct tide_error *err);
/* Bitmaps and checkpoints. */
int cbt_rename(struct cbt *c, const char *from, const char *to,
	       struct tide_error *err);
/* @name gets what @source of @other has (maybe @c itself). */
int cbt_bitmap_merge(struct cbt *c, const char *name, struct cbt *other,
		     const char *source, struct tide_error *err);
/*
 * No change begins from here on, and when it returns 0 none is under way; each
 * ends with cbt_let_go. -ETIMEDOUT: it did not come to that, nothing is held.
 */
int cbt_hold(struct cbt *c, uint64_t limit_ns, struct tide_error *err);
void cbt_let_go(struct cbt *c);
/*
 * While it is held: changes are -ESHUTDOWN for good, points say where it went.
 * That is so whatever this returns: 0, or why the store does not have it yet.
 */
int cbt_give_away(struct cbt *c, const char *to, struct tide_error *err);

/* A bitmap, not recording, with those bits. */
int cbt_bitmap_import(struct cbt *c, const char *name,
		      const struct cbt_image *bits, struct tide_error *err);
/* A bitmap gets those bits, too. */
int cbt_bitmap_add_bits(struct cbt *c, const char *name,
			const struct cbt_image *bits, struct tide_error *err);
/* All that @name says, as an image of its own granularity. */
int cbt_export(struct cbt *c, const char *name, struct cbt_image *out,
	       struct tide_error *err);

/*
 * cbt_changes: calls @run for what is dirty and what is not, in turns, from
 * @offset_bytes on, until the end of the range or until it returns false.
 * @until: NULL, or a later checkpoint at which to stop: what changed between
 * the two. By the granularity of @name; the last run ends with the range.
 * Nothing is locked during a call: it may take its time, and use the tracker; a
 * point that is removed meanwhile ends it with -ESTALE.
 */
int cbt_changes(struct cbt *c, const char *name, const char *until,
		uint64_t offset_bytes, uint64_t length_bytes,
		bool (*run)(void *opaque, uint64_t length_bytes, bool dirty),
		void *opaque, struct tide_error *err);
/*
 * Stretches, one after the other, the first of which is @dirty, then in turns;
 * none is empty. The next call may begin with what the last one ended with.
 */
typedef bool cbt_tell(void *opaque, const uint64_t *lengths_bytes, size_t n,
		      bool dirty);
/*
 * The same of a point that was looked up before, many stretches at a time;
 * -ESTALE: it is gone.
 */
int cbt_changes_of(struct cbt *c, const uint8_t uuid[16],
		   uint64_t offset_bytes, uint64_t length_bytes,
		   cbt_tell *told, void *opaque, struct tide_error *err);

#endif
