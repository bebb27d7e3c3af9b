/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The slot map: which memory slot contains a guest address, if any? An interval
 * map, read under RCU-like protection.
 *
 * A slot is a run of guest physical addresses backed by host memory. Slots do
 * not overlap, neither in the guest nor in the host. All addresses and lengths
 * are multiples of 4 KiB.
 *
 * Threads: readers are wait-free, in any number; changes are serialised by an
 * internal lock. A lookup sees the map entirely before or entirely after a
 * change. Its result is a copy: before unmapping the memory of a removed slot
 * make sure that no thread still uses such a copy.
 */
#ifndef TIDEMARK_SLOTS_H
#define TIDEMARK_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TIDE_SLOT_ALIGN_BYTES 4096u

enum {
	TIDE_SLOT_READONLY = 1u << 0,
};

struct tide_slot {
	uint32_t id;		/* the caller's, unique in the map */
	uint32_t flags;		/* TIDE_SLOT_* */
	uint64_t gpa_bytes;	/* guest physical address */
	uint64_t len_bytes;
	void *host;		/* NULL only in a description of a slot */
};

/* A piece of a guest range that lies in one slot. */
struct tide_slot_piece {
	uint32_t id;
	void *host;		/* of the piece, not of its slot */
	uint64_t gpa_bytes;
	uint64_t len_bytes;
};

struct tide_slots;

/* tide_slots_create: an empty map. 0 or -ENOMEM. The caller destroys it. */
int tide_slots_create(struct tide_slots **out, struct tide_error *err);
/* tide_slots_destroy: forgets the slots; their memory is the caller's. */
void tide_slots_destroy(struct tide_slots *slots);

/*
 * tide_slots_insert: add a copy of @slot. -EINVAL: zero length, unaligned,
 * wrapping past 2^64; -EEXIST: the id is taken, or it overlaps another slot in
 * guest or host (the error names both); -ENOMEM. The map is then unchanged.
 */
int tide_slots_insert(struct tide_slots *slots, const struct tide_slot *slot,
		      struct tide_error *err);
/*
 * tide_slots_insert_many: all @count slots in one step, or none. Errors as of
 * insert. Cheaper than as many calls of insert, since nothing is copied twice.
 */
int tide_slots_insert_many(struct tide_slots *slots,
			   const struct tide_slot *more, uint32_t count,
			   struct tide_error *err);
/* tide_slots_remove: -ENOENT if no slot has that id. */
int tide_slots_remove(struct tide_slots *slots, uint32_t id,
		      struct tide_error *err);
/*
 * tide_slots_resize, tide_slots_move: change the length, or the guest address,
 * of the slot @id in one step: no reader sees it missing. Errors as of insert
 * and remove; the map is then unchanged.
 */
int tide_slots_resize(struct tide_slots *slots, uint32_t id,
		      uint64_t len_bytes, struct tide_error *err);
int tide_slots_move(struct tide_slots *slots, uint32_t id, uint64_t gpa_bytes,
		    struct tide_error *err);

/* Lookups: true and a copy in *@out (which may be NULL), or false. */
bool tide_slots_find_gpa(const struct tide_slots *slots, uint64_t gpa_bytes,
			 struct tide_slot *out);
bool tide_slots_find_host(const struct tide_slots *slots, const void *host,
			  struct tide_slot *out);
bool tide_slots_find_id(const struct tide_slots *slots, uint32_t id,
			struct tide_slot *out);

/*
 * A reader, for one thread: a small cache of the last intervals found, slots
 * and gaps alike, valid until the map changes. A faster tide_slots_find_gpa. A
 * reader that is not used keeps one old version of the map from being freed.
 * Destroy it before the map.
 */
struct tide_slots_reader;

int tide_slots_reader_create(struct tide_slots *slots,
			     struct tide_slots_reader **out,
			     struct tide_error *err);
void tide_slots_reader_destroy(struct tide_slots_reader *reader);

/*
 * tide_slots_reader_find_gpa: as find_gpa. The reader's thread. Some
 * nanoseconds; slots_inline.h saves the call, for code that does several
 * hundred million lookups a second and is compiled with the library.
 */
bool tide_slots_reader_find_gpa(struct tide_slots_reader *reader,
				uint64_t gpa_bytes, struct tide_slot *out);

/*
 * tide_slots_next: the slot that holds @from_gpa or the first one after it, in
 * order of guest addresses; false behind the last.
 */
bool tide_slots_next(const struct tide_slots *slots, uint64_t from_gpa,
		     struct tide_slot *out);

/*
 * tide_slots_split: cut [@gpa_bytes, +@len_bytes) into at most @max pieces,
 * each inside one slot, in order. Returns their number and in *@covered_bytes
 * how much of the range they cover: less than the length where a gap or @max
 * ended it.
 */
size_t tide_slots_split(const struct tide_slots *slots, uint64_t gpa_bytes,
			uint64_t len_bytes, struct tide_slot_piece *pieces,
			size_t max, uint64_t *covered_bytes);

uint32_t tide_slots_count(const struct tide_slots *slots);
/* tide_slots_bytes: memory that the map takes now, without old views. */
size_t tide_slots_bytes(const struct tide_slots *slots);
/*
 * tide_slots_generation: rises with every change. Lookups between two calls
 * that give the same saw the same map.
 */
uint64_t tide_slots_generation(const struct tide_slots *slots);
/* tide_slots_top_bytes: end of the highest slot in the guest; 0 if none. */
uint64_t tide_slots_top_bytes(const struct tide_slots *slots);

#ifdef __cplusplus
}
#endif

#endif
