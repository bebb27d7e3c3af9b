/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver interface of disks; tidemark/disk.h is the user's. There are two
 * drivers: file.c (raw files and block devices) and qcow2/ (guarded images);
 * add another by filling in a struct tide_disk_ops.
 *
 * The operations block, and are called from any thread at any time: a driver
 * does its own locking. That is the reference behaviour. A queue (queue.h) asks
 * the driver to *start* a request without blocking, and hands one that cannot
 * be started to a worker thread, which calls these operations.
 */
#ifndef TIDE_DISK_DISK_H
#define TIDE_DISK_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/vec.h"
#include "tidemark/disk.h"
#include "tidemark/error.h"

struct tide_io;

/*
 * A dirty bitmap that the format keeps with its disk. Bit n, the lowest of its
 * byte first, is for the bytes from n << shift on.
 */
struct tide_disk_bitmap {
	const char *name;
	uint32_t shift;
	bool enabled; /* it records what is written */
	bool in_use; /* it missed writes: bits is NULL, it says nothing */
	const uint8_t *bits; /* borrowed */
	uint64_t bit_count; /* of the whole disk */
};

/*
 * Filled by each driver. Ranges were checked against the size already, and are
 * not empty. A driver has read or readv, write or writev (or all four: the
 * latter win). For one that takes memory in one piece, parts are joined.
 *
 * TIDE_FUA is known to writev, and, if `fua` says so, to `start`, for writes,
 * zeroes and discards: it may refuse them as any other. Where it is not known
 * the change goes to a worker, and a flush follows it; zero never sees it.
 */
struct tide_disk_ops {
	const char *name;
	int (*readv)(struct tide_disk *d, uint64_t offset_bytes,
		     const struct tide_vec *to, struct tide_error *err);
	/* @flags: TIDE_FUA */
	int (*writev)(struct tide_disk *d, uint64_t offset_bytes,
		      const struct tide_vec *from, uint32_t flags,
		      struct tide_error *err);
	int (*read)(struct tide_disk *d, uint64_t offset_bytes, void *buf,
		    uint64_t length_bytes, struct tide_error *err);
	int (*write)(struct tide_disk *d, uint64_t offset_bytes,
		     const void *buf, uint64_t length_bytes,
		     struct tide_error *err);
	int (*zero)(struct tide_disk *d, uint64_t offset_bytes,
		    uint64_t length_bytes, uint32_t flags,
		    struct tide_error *err);
	int (*discard)(struct tide_disk *d, uint64_t offset_bytes,
		       uint64_t length_bytes, struct tide_error *err);
	int (*flush)(struct tide_disk *d, struct tide_error *err);
	int (*status)(struct tide_disk *d, uint64_t offset_bytes,
		      uint64_t length_bytes, struct tide_disk_extent *extent,
		      struct tide_error *err);
	int (*resize)(struct tide_disk *d, uint64_t size_bytes,
		      struct tide_error *err);
	/* Optional: how large what lies below is by now. */
	int (*real_size)(struct tide_disk *d, uint64_t *size_bytes,
			 struct tide_error *err);
	/*
	 * Optional: a new descriptor, for reading only, in which each byte of
	 * the disk has the offset that it has in the disk; a negative errno.
	 */
	int (*reader_fd)(struct tide_disk *d);
	/* Flush, mark clean, free. The disk is gone even when it fails. */
	int (*close)(struct tide_disk *d, struct tide_error *err);
	/*
	 * Optional: bitmaps in the format. save replaces all that there are,
	 * when nobody uses the disk any more, before close.
	 */
	int (*load_bitmaps)(struct tide_disk *d,
			    int (*each)(void *opaque,
					const struct tide_disk_bitmap *bitmap),
			    void *opaque, struct tide_error *err);
	int (*save_bitmaps)(struct tide_disk *d,
			    const struct tide_disk_bitmap *list,
			    uint32_t count, struct tide_error *err);
	/*
	 * Optional, called from the queue's own thread: start @io without
	 * blocking. True: it is under way (or already completed by
	 * tide_io_complete). False: nothing was done, a worker shall do it. The
	 * memory of a read or write is what tide__io_vec says, not ->buf.
	 */
	bool (*start)(struct tide_disk *d, struct tide_io *io);
	bool fua;
};

/* The first member of every driver's own structure. */
struct tide_disk {
	const struct tide_disk_ops *ops;
	uint64_t size_bytes; /* atomic; changed by resize only */
	uint32_t alignment_bytes; /* for O_DIRECT below: 1, 512 or 4096 */
	bool writable;
	bool fixed_size; /* resize is -ENOTSUP: a block device */
	char *path; /* owned; for messages */
};

/* tide_disk_readv and writev for who has a slice of what he was given. */
int tide__disk_readv(struct tide_disk *d, uint64_t offset_bytes,
		     const struct tide_vec *to, struct tide_error *err);
int tide__disk_writev(struct tide_disk *d, uint64_t offset_bytes,
		      const struct tide_vec *from, uint32_t flags,
		      struct tide_error *err);

/* Of the disk's operation; -ENOTSUP where there is none. The caller closes. */
int tide__disk_reader_fd(struct tide_disk *d);

#endif
