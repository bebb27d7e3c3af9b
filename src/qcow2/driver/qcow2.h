/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The qcow2 driver from the inside: one image, and what its files share.
 *
 * Locks, in the order in which they are taken:
 *   flush_lock  one flush at a time; held while it writes and syncs
 *   lock        everything below that is not constant after open. Held for
 *               memory work and for loading one metadata page, never while
 *               guest data is read or written.
 *
 * A request that is outside the lock is registered as a range (ranges.c), so
 * that a cluster is not given away while somebody still reads or writes it.
 *
 * What keeps the image whole if the power goes (flush.c has the proof): a
 * reference is written to the file only after what it refers to; what was
 * referred to is given back only after the reference is gone from the file.
 */
#ifndef TIDE_QCOW2_DRIVER_QCOW2_H
#define TIDE_QCOW2_DRIVER_QCOW2_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"
#include "qcow2/driver/cache.h"
#include "qcow2/driver/ranges.h"
#include "qcow2/format/entry.h"
#include "qcow2/format/header.h"
#include "qcow2/format/reader.h"
#include "tidemark/kinds.h"

#define L1_OFFSET_MASK QCOW2_OFFSET_MASK
#define ALL_SUBCLUSTERS 0xffffffffull
#define NO_KIND TIDE_KIND_COUNT

/* An array of big-endian u64 in the file that is wholly in memory. */
struct qcow2_table {
	uint64_t *entries; /* host order */
	uint64_t count;
	uint64_t offset; /* in the file */
	uint64_t dirty_from, dirty_to; /* entries not yet in the file */
};

/* A reference that is to be given back when its L2 entry is gone for good. */
struct qcow2_free {
	uint64_t offset;
	uint64_t clusters;
	uint32_t kind; /* also to leave the kind map; NO_KIND for data */
	bool punch; /* the file may give the space back */
};

struct qcow2_free_list {
	struct qcow2_free *items;
	uint64_t count, room;
};

struct qcow2_flight;

struct qcow2 {
	struct tide_disk disk;
	struct tide_disk *file; /* the image */
	struct tide_disk *data; /* == file without an external data file */
	struct tide_disk *backing; /* NULL: none */

	/* Constant after open. */
	uint32_t cluster_bits;
	uint32_t l2_bits; /* log2 of entries in one L2 table */
	uint32_t entry_bytes; /* 8, or 16 with extended L2 */
	uint32_t unit_bits; /* log2 of what an entry tells apart */
	uint32_t refblock_bits;
	uint64_t cluster_bytes;
	bool extended; /* extended L2 */
	bool external; /* guest data is in another file */
	bool raw_external;
	bool guarded;
	bool growable; /* the file can be made longer */

	pthread_mutex_t flush_lock;
	pthread_mutex_t lock;
	struct qcow2_header header;
	struct qcow2_table l1, reftable;
	bool l1_on_its_way; /* a flush has taken changes of it */
	struct qcow2_cache cache;
	struct qcow2_ranges ranges;
	struct qcow2_free_list frees;
	struct qcow2_flight *flights; /* start.c: free ones */
	struct tide_kinds *kinds;
	uint64_t free_hint; /* no free cluster lies below */
	uint64_t touched_end; /* clusters from here on were never written */
	uint64_t packed_end; /* compress.c: of the last stream; 0: none */
	uint8_t *unpacked; /* one decompressed cluster */
	uint64_t unpacked_entry; /* its L2 entry, 0: none */
	bool prepared; /* for writing: first_write.c */
	int broken; /* -errno: no more writes */
	char why_broken[200];
	uint64_t guard_checks, guard_hits;
};

enum qcow2_type {
	QCOW2_UNALLOCATED, /* the backing file shows through */
	QCOW2_ZERO, /* reads as zeroes; host cluster or none */
	QCOW2_DATA,
	QCOW2_PACKED /* compressed */
};

/* Consecutive guest bytes of one type. */
struct qcow2_extent {
	enum qcow2_type type;
	bool has_host; /* host_offset is valid (data, allocated zero) */
	bool copied; /* the host cluster is this entry's alone */
	uint64_t host_offset; /* of the first guest byte asked for */
	uint64_t length_bytes;
	uint64_t entry; /* packed: the raw L2 entry */
	bool durable; /* what says so is in the file, and synced */
};

static inline struct qcow2 *qcow2_of(struct tide_disk *d)
{
	return (struct qcow2 *)d;
}
static inline uint64_t round_down(uint64_t value, uint64_t to)
{
	return value & ~(to - 1);
}
static inline uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) & ~(to - 1);
}

extern const struct tide_disk_ops tide__qcow2_ops;

/* header_write.c: bring fixed header fields to the file, in one sector. */
int qcow2_header_store(struct qcow2 *q, struct tide_error *err);
/* The image is damaged: remember, say so in the header, stop writing. */
int qcow2_mark_corrupt(struct qcow2 *q, struct tide_error *err,
		       uint64_t offset, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* table.c: L1 and refcount table in memory */
int qcow2_table_load(struct qcow2 *q, struct qcow2_table *t, uint64_t offset,
		     uint64_t count, const char *what, struct tide_error *err);
void qcow2_table_set(struct qcow2_table *t, uint64_t index, uint64_t value);
/* Encode entries [from, to) for the file. */
void qcow2_table_encode(const struct qcow2_table *t, uint64_t from, uint64_t to,
			uint8_t *out);

/*
 * guard.c: the door to the image file. Every write goes through one of these.
 * @kinds: mask of 1 << kind that the caller is rightly writing, 0 for guest
 * data. A hit is -EIO, names offset, section and request, and marks the image
 * corrupt. Lock held for check; not for write.
 */
int qcow2_guard(struct qcow2 *q, uint64_t offset, uint64_t length_bytes,
		uint32_t kinds, const char *request, struct tide_error *err);
/* Check and write metadata; lock held or not as `locked` says. */
int qcow2_write_meta(struct qcow2 *q, uint64_t offset, const void *bytes,
		     uint64_t length_bytes, uint32_t kinds, bool locked,
		     struct tide_error *err);

/* refcount.c; all with the lock held */
/*
 * Are @count clusters from @cluster on counted in one page that is in memory?
 */
bool qcow2_refcounts_cached(struct qcow2 *q, uint64_t cluster, uint64_t count);
int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count,
		       struct tide_error *err);
int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, int delta,
		       struct tide_error *err);

/*
 * alloc.c; lock held. @want clusters in a row, or fewer (1 to *got).
 * *zeroed: their bytes are known to read as zeroes.
 */
int qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got,
		bool *zeroed, struct tide_error *err);
/* Exactly @count in a row. */
int qcow2_alloc_row(struct qcow2 *q, uint64_t count, uint64_t *offset,
		    bool *zeroed, struct tide_error *err);
/* Give back at once what nothing refers to yet. */
void qcow2_unalloc(struct qcow2 *q, uint64_t offset, uint64_t clusters);
/* Give back after the next flush. reserve first: later cannot fail. */
int qcow2_free_reserve(struct qcow2 *q, uint64_t items, struct tide_error *err);
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t clusters,
		      uint32_t kind, bool punch);
/* The file must reach to @end; it grows in steps, as a hole. */
int qcow2_reach(struct qcow2 *q, uint64_t end, struct tide_error *err);

/* grow.c; lock held. The refcount structures must cover cluster @index. */
int qcow2_cover(struct qcow2 *q, uint64_t index, struct tide_error *err);
/* @count clusters in a row behind all that is covered, with their blocks. */
int qcow2_alloc_area(struct qcow2 *q, uint64_t count, uint64_t *offset,
		     bool *zeroed, struct tide_error *err);
/* All dirty counts to the file at once; they stay dirty. No sync at the end. */
int qcow2_write_counts(struct qcow2 *q, struct tide_error *err);
/* New metadata clusters must read as zeroes. */
int qcow2_zero_clusters(struct qcow2 *q, uint64_t offset, uint64_t clusters,
			bool zeroed, struct tide_error *err);

/* l2.c; lock held */
/* An L2 entry in hand, with its page. */
struct qcow2_entry {
	struct qcow2_pin pin;
	uint8_t *at;
};

static inline void qcow2_entry_put(struct qcow2_entry *entry)
{
	qcow2_unpin(&entry->pin);
}
#define QCOW2_ENTRY(name)                                                      \
	struct qcow2_entry name __attribute__((cleanup(qcow2_entry_put))) = {  \
		{ NULL }, NULL                                                 \
	}

/* What lies at @offset; at most @max bytes, all within one metadata page. */
int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t max,
		 struct qcow2_extent *extent, struct tide_error *err);
/* The same without loading: false if a page is not in memory. */
bool qcow2_lookup_cached(struct qcow2 *q, uint64_t offset, uint64_t max,
			 struct qcow2_extent *extent);
/* Make the L2 table for @offset ours to write, and take its entry in hand. */
int qcow2_l2_writable(struct qcow2 *q, uint64_t offset,
		      struct qcow2_entry *entry, struct tide_error *err);
/* False: that table is not ours alone, or its page is not in memory. */
bool qcow2_l2_writable_cached(struct qcow2 *q, uint64_t offset,
			      struct qcow2_entry *entry);
/* Bytes from @offset to the end of what its L2 metadata page maps. */
uint64_t qcow2_page_reach(const struct qcow2 *q, uint64_t offset);
/* Give back later what an L2 entry referred to. Reserve one item first. */
void qcow2_release_entry(struct qcow2 *q, uint64_t entry, bool punch);
int qcow2_packed_span(const struct qcow2 *q, uint64_t entry, uint64_t *offset,
		      uint64_t *length_bytes);

/* read.c */
int qcow2_readv(struct tide_disk *d, uint64_t offset, const struct tide_vec *to,
		struct tide_error *err);
/* For who has registered the range already; the lock is not held. */
int qcow2_read_registered(struct qcow2 *q, uint64_t offset, void *buf,
			  uint64_t length_bytes, struct tide_error *err);
/* unpack.c: the cluster of a compressed entry; lock held. */
int qcow2_unpack(struct qcow2 *q, uint64_t entry, const uint8_t **cluster,
		 struct tide_error *err);

/* write.c */
int qcow2_writev(struct tide_disk *d, uint64_t offset,
		 const struct tide_vec *from, uint32_t flags,
		 struct tide_error *err);
/* first_write.c; lock held */
int qcow2_first_write(struct qcow2 *q, struct tide_error *err);
/* May the image be written? Also makes it ready before the first write. */
int qcow2_may_write(struct qcow2 *q, struct tide_error *err);
/* Does anything but zeroes show through at unallocated @offset? */
bool qcow2_backed(const struct qcow2 *q, uint64_t offset);

/* bitmaps_load.c, bitmaps_save.c: the bitmaps extension, whole */
int qcow2_bitmaps_load(struct tide_disk *d,
		       int (*each)(void *opaque,
				   const struct tide_disk_bitmap *bitmap),
		       void *opaque, struct tide_error *err);
int qcow2_bitmaps_save(struct tide_disk *d,
		       const struct tide_disk_bitmap *list, uint32_t count,
		       struct tide_error *err);
/* The image file, for the readers of the format. */
struct qcow2_reader qcow2_reader_of(struct qcow2 *q);

/* zero.c */
int qcow2_zero(struct tide_disk *d, uint64_t offset, uint64_t length_bytes,
	       uint32_t flags, struct tide_error *err);
int qcow2_discard(struct tide_disk *d, uint64_t offset, uint64_t length_bytes,
		  struct tide_error *err);
/* Make whole clusters [from, to) unallocated, whatever shows through. */
int qcow2_forget(struct qcow2 *q, uint64_t from, uint64_t to,
		 struct tide_error *err);

/* flush.c */
int qcow2_flush(struct tide_disk *d, struct tide_error *err);
/* The same for who holds flush_lock. */
int qcow2_flush_locked(struct qcow2 *q, struct tide_error *err);
/* Flush if so much is dirty that the cache would not hold it. No lock held. */
int qcow2_make_room(struct qcow2 *q, struct tide_error *err);

/* resize.c, status.c, bitmaps_touch.c, start.c */
int qcow2_resize(struct tide_disk *d, uint64_t size_bytes,
		 struct tide_error *err);
int qcow2_status(struct tide_disk *d, uint64_t offset, uint64_t length_bytes,
		 struct tide_disk_extent *extent, struct tide_error *err);
int qcow2_bitmaps_touch(struct qcow2 *q, struct tide_error *err);
bool qcow2_start(struct tide_disk *d, struct tide_io *io);
void qcow2_flights_free(struct qcow2 *q);
#endif
