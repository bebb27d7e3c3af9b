/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty set: a concurrent hierarchical bitmap; its cut, an atomic
 * fetch-and-clear of all of it; and the epoch, which is what a cut took.
 *
 * A set remembers which of its pages (or blocks) were written. Any number of
 * threads mark; one thread at a time (the taker) cuts. A cut moves the dirty
 * pages into the set's epoch, while marking goes on; the epoch is then read
 * as ranges, acknowledged piece by piece, and ends in a commit (forget what
 * it held) or a rollback (what was not acknowledged is dirty again).
 *
 * Caveats - what can lose data, or surprise:
 *  - A page must be marked AFTER its data was stored, or before the store and
 *    again after it. A mark that precedes its store can be taken, and the page
 *    copied, before the data is there.
 *  - Marks are counted in pages of the caller's choice; two parties with
 *    different granularities must convert outwards (too wide, never lost).
 *  - After fork() the child has its own copy: marks there are not seen here.
 *  - Bitmaps are words of 64 bits, bit i of word w is page 64 * w + i, in the
 *    machine's byte order; on little-endian machines that is the layout of
 *    KVM's log, vhost's log and QEMU's bitmaps.
 *  - A page number at or past the size of the set is a caller's bug. It is
 *    counted, and the next cut returns everything as dirty.
 */
#ifndef TIDEMARK_DIRTY_H
#define TIDEMARK_DIRTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"
#include "tidemark/range.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TIDE_SET_MAX_PAGES (1ull << 40)

struct tide_set;
struct tide_epoch;

/*
 * tide_set_create: a set of @pages pages (1 to TIDE_SET_MAX_PAGES), all clean.
 * The address space for the set and for one epoch is reserved here; memory is
 * used only where marks fall. Returns 0; -EINVAL (size), -ENOMEM. The caller
 * owns *@out and destroys it. Cost: three mmaps, whatever the size.
 */
int tide_set_create(struct tide_set **out, uint64_t pages,
		    struct tide_error *err);

/*
 * tide_set_use_fences: for a process that must not call membarrier(2), because
 * a filter of system calls kills it for that. By default a cut that took
 * something calls it once, and a mark of a page that is dirty already costs no
 * barrier. After this call cuts make no system call, and such a mark costs a
 * full one (2 to 4 ns). Before the first mark. Where the kernel has no
 * membarrier, or a filter refuses it, sets do so by themselves, and no mark is
 * lost.
 */
void tide_set_use_fences(struct tide_set *set);

/* tide_set_destroy: frees the set and its epoch. NULL is fine. */
void tide_set_destroy(struct tide_set *set);

/* tide_set_pages: the size given at creation. Any thread. */
uint64_t tide_set_pages(const struct tide_set *set);

/*
 * tide_set_mark: page @page was written. Any thread, lock-free: never
 * allocates, blocks or fails. Cost: one atomic OR when the page was clean, two
 * loads when it was dirty already (and a fence: see tide_set_use_fences).
 */
void tide_set_mark(struct tide_set *set, uint64_t page);

/*
 * tide_set_mark_range: pages [@first, @first + @count) were written. Any
 * thread, lock-free. Whole words at a time.
 */
void tide_set_mark_range(struct tide_set *set, uint64_t first, uint64_t count);

/*
 * tide_set_merge_bitmap: mark every page whose bit is set in @words, a flat
 * bitmap of @pages bits whose bit 0 is page @first of the set. Bits past
 * @pages in its last word are ignored. Any thread, lock-free; any @first.
 */
void tide_set_merge_bitmap(struct tide_set *set, uint64_t first,
			   const uint64_t *words, uint64_t pages);

/*
 * tide_set_count: number of dirty pages in the live set (without an open
 * epoch). Any thread; exact only while nobody marks or cuts.
 */
uint64_t tide_set_count(const struct tide_set *set);

/*
 * tide_set_next: like tide_epoch_next, but for the live set: shows what is
 * dirty without a cut. Any thread; while others mark, a page may be missed or
 * a run seen in part, so it is for display, not for copying.
 */
size_t tide_set_next(const struct tide_set *set, uint64_t *cursor,
		     struct tide_range *ranges, size_t max);

/* tide_set_is_dirty: whether the live set holds @page. Any thread. */
bool tide_set_is_dirty(const struct tide_set *set, uint64_t page);

/*
 * tide_set_export_bitmap: store the live bits of [@first, @first + @pages)
 * into @words, bit 0 = page @first; tail bits of the last word become 0.
 * Returns 0, or -EINVAL if the range leaves the set. Any thread.
 */
int tide_set_export_bitmap(const struct tide_set *set, uint64_t first,
			   uint64_t pages, uint64_t *words);

/* tide_set_out_of_range: how many marks fell outside since creation. */
uint64_t tide_set_out_of_range(const struct tide_set *set);

/*
 * tide_set_cut: move all dirty pages from the live set into its epoch.
 * Every mark that returned before this call is in the epoch; a concurrent one
 * is in the epoch or in the live set, never in neither. One taker at a time;
 * marking goes on. Returns 0, or -EBUSY while the previous epoch is open. The
 * set owns *@out, valid until commit, rollback or destroy. Never allocates.
 */
int tide_set_cut(struct tide_set *set, struct tide_epoch **out,
		 struct tide_error *err);

/*
 * A cut by several threads of the caller. One thread calls begin (-EBUSY as
 * above) and, when all are done, finish; in between each @part (0 to
 * @parts - 1) is taken once, by any thread, in any order. Marking goes on;
 * together it is one cut: every mark that returned before begin is in it.
 */
int tide_set_cut_begin(struct tide_set *set, struct tide_error *err);
void tide_set_cut_part(struct tide_set *set, unsigned int part,
		       unsigned int parts);
void tide_set_cut_finish(struct tide_set *set, struct tide_epoch **out);

/* tide_epoch_number: 1 for the first cut of a set, 2 for the next, ... */
uint64_t tide_epoch_number(const struct tide_epoch *epoch);

/* tide_epoch_count: pages in the epoch that are not acknowledged yet. */
uint64_t tide_epoch_count(const struct tide_epoch *epoch);

/*
 * tide_epoch_next: store at most @max ranges, in ascending order and maximal
 * (no two of them touch, except where a batch ended), from page *@cursor on;
 * *@cursor moves past them. Start with 0. Returns the number of ranges; 0 at
 * the end. Acknowledged pages are left out. The taker's thread, or several
 * threads that only iterate.
 */
size_t tide_epoch_next(const struct tide_epoch *epoch, uint64_t *cursor,
		       struct tide_range *ranges, size_t max);

/*
 * tide_epoch_next_part: the share of one of @parts threads that read an epoch
 * together. Start with *@cursor 0. The ranges of a part are those that start
 * in it, whole; part after part they are those of tide_epoch_next.
 */
size_t tide_epoch_next_part(const struct tide_epoch *epoch, unsigned int part,
			    unsigned int parts, uint64_t *cursor,
			    struct tide_range *ranges, size_t max);

/*
 * tide_epoch_ack: the receiver has [@first, @first + @count) for good: these
 * pages leave the epoch, and a rollback will not bring them back. Pages that
 * the epoch does not hold are ignored. The taker's thread.
 */
void tide_epoch_ack(struct tide_epoch *epoch, uint64_t first, uint64_t count);

/* tide_epoch_commit: the receiver has all of it. Ends the epoch. */
void tide_epoch_commit(struct tide_epoch *epoch);

/*
 * tide_epoch_rollback: what was not acknowledged is dirty again. Ends the
 * epoch. Markers may run meanwhile.
 */
void tide_epoch_rollback(struct tide_epoch *epoch);

#ifdef __cplusplus
}
#endif

#endif
