/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk: something with a size that is read, written, zeroed, discarded and
 * flushed in bytes. Two drivers stand behind it: file.c (raw files and block
 * devices) and qcow2/ (guarded images); a third may be added by filling a
 * struct tide_disk_ops.
 *
 * Every operation here blocks until it is done, and may be called from any
 * thread at any time: a driver locks for itself. That is the reference
 * behaviour. Who wants many requests in flight from one thread uses a queue
 * (queue.h), which asks the driver to *start* a request without blocking and
 * gives what cannot be started so to a worker thread, where the operations of
 * this page carry it out.
 *
 * Rules for all drivers:
 *  - a request outside [0, size) is -EINVAL and changes nothing;
 *  - a write that returned is seen by every later read, and is durable after
 *    the next flush that returned 0;
 *  - overlapping requests in flight at the same time may take effect in either
 *    order, never mixed with data of some other place;
 *  - below O_DIRECT a write of a part of a block waits for writes that are in
 *    its block: the thread of a queue must not, by these calls, write into a
 *    block that it has a request in flight for;
 *  - an error leaves the disk consistent: the bytes of a failed write are
 *    unknown within its range, and nowhere else.
 */
#ifndef TIDE_DISK_DISK_H
#define TIDE_DISK_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/vec.h"
#include "tidemark/error.h"

struct tide_disk;
struct tide_io;

enum {
	TIDE_ZERO_MAY_UNMAP = 1, /* zero: the space may be given back */
	TIDE_ZERO_NO_FALLBACK = 2, /* zero: -ENOTSUP rather than write zeroes */
	/*
	 * Forced unit access, of a write, zero or discard: what it changed is
	 * durable when it is done, and so is what is needed to find it again.
	 * Nothing is said about other changes.
	 */
	TIDE_FUA = 4
};

/* What lies at a range of the disk; the flags are those of base:allocation. */
enum {
	TIDE_EXTENT_HOLE = 1, /* nothing is allocated at this layer */
	TIDE_EXTENT_ZERO = 2, /* reads as zeroes */
	TIDE_EXTENT_COMPRESSED = 4,
	TIDE_EXTENT_HAS_HOST = 8 /* host_offset_bytes is valid */
};

struct tide_disk_extent {
	uint64_t length_bytes; /* > 0; the flags hold for all of it */
	uint64_t host_offset_bytes; /* in the file of layer `depth` */
	uint32_t flags;
	uint32_t depth; /* 0 this image, 1 its backing file, ... */
};

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

struct tide_disk_options {
	const char *format; /* "raw", "qcow2"; NULL: look at the magic */
	bool writable;
	bool direct; /* O_DIRECT on the files below */
	bool no_lock; /* open beside a writer, who may change what is read */
	/*
	 * qcow2, for images that a stranger made: their header names other
	 * files, and they are opened unless something here says otherwise.
	 */
	bool no_backing; /* leave the backing chain closed: its part is zeroes */
	bool no_data_file; /* -EPERM for an image with an external data file */
	/*
	 * A folder, besides the image's own, that the names in a header may
	 * lead into; NULL: none. What they lead to is a regular file, or
	 * -EPERM. Not asked of backing_path and data_path.
	 */
	const char *trusted_folder;
	const char *backing_path; /* this file and not the one that is named */
	const char *data_path; /* likewise */
	bool no_guard; /* qcow2: measurements only: do not check writes */
	bool repair_dirty; /* qcow2: dirty bit set: rebuild the refcounts */
	uint64_t cache_bytes; /* qcow2 metadata cache; 0: the default */
	/*
	 * Instead of the file driver, for every file that is opened with these
	 * options - the image, its data file, each layer of its backing chain,
	 * and the look at a magic - a layer, or a policy, of the caller's: it
	 * opens the file or refuses. NULL: the file driver.
	 */
	int (*open_file)(const char *path,
			 const struct tide_disk_options *options,
			 struct tide_disk **out, struct tide_error *err);
	void *open_opaque; /* open_file's */
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

/*
 * tide_disk_open: open the image at @path.
 * Returns 0 and *out, or -errno: what open(2) says, -EINVAL (not an image of
 * that format, damaged), -EBUSY (somebody else writes it, or would be written
 * under: the locks are those of QEMU), -ENOTSUP (a feature we do not know, named
 * in @err), -EROFS (must not be written, and why). Each error names the file.
 * Blocks, allocates.
 */
int tide_disk_open(const char *path, const struct tide_disk_options *options,
		   struct tide_disk **out, struct tide_error *err);

/* The file driver alone, as other drivers open what is below them. */
int tide_disk_open_file(const char *path,
			const struct tide_disk_options *options,
			struct tide_disk **out, struct tide_error *err);

/* tide_disk_close: flush and free. NULL is fine. 0 or the first error. */
int tide_disk_close(struct tide_disk *d, struct tide_error *err);

uint64_t tide_disk_size(const struct tide_disk *d);

/* 0 or -errno. Ranges in bytes, of any alignment; length 0 does nothing. */
int tide_disk_read(struct tide_disk *d, uint64_t offset_bytes, void *buf,
		   uint64_t length_bytes, struct tide_error *err);
int tide_disk_write(struct tide_disk *d, uint64_t offset_bytes,
		    const void *buf, uint64_t length_bytes,
		    struct tide_error *err);
int tide_disk_zero(struct tide_disk *d, uint64_t offset_bytes,
		   uint64_t length_bytes, uint32_t flags,
		   struct tide_error *err);
/*
 * The same for memory in @count parts (any number; some may be empty): one
 * request for the sum of their lengths. writev's @flags: 0 or TIDE_FUA.
 * -EINVAL also for parts that no address space holds.
 */
int tide_disk_readv(struct tide_disk *d, uint64_t offset_bytes,
		    const struct iovec *parts, uint32_t count,
		    struct tide_error *err);
int tide_disk_writev(struct tide_disk *d, uint64_t offset_bytes,
		     const struct iovec *parts, uint32_t count, uint32_t flags,
		     struct tide_error *err);
/* The same for drivers, who have a slice of what they were given. */
int tide__disk_readv(struct tide_disk *d, uint64_t offset_bytes,
		     const struct tide_vec *to, struct tide_error *err);
int tide__disk_writev(struct tide_disk *d, uint64_t offset_bytes,
		      const struct tide_vec *from, uint32_t flags,
		      struct tide_error *err);
/* A hint: what was discarded reads as zeroes or as before. */
int tide_disk_discard(struct tide_disk *d, uint64_t offset_bytes,
		      uint64_t length_bytes, struct tide_error *err);
int tide_disk_flush(struct tide_disk *d, struct tide_error *err);

/*
 * tide_disk_status: what lies at @offset_bytes; *extent covers at least one
 * byte and at most @length_bytes (> 0).
 */
int tide_disk_status(struct tide_disk *d, uint64_t offset_bytes,
		     uint64_t length_bytes, struct tide_disk_extent *extent,
		     struct tide_error *err);
int tide_disk_resize(struct tide_disk *d, uint64_t size_bytes,
		     struct tide_error *err);
/*
 * tide_disk_real_size: how large the raw file or device below is by now.
 * -ENOTSUP: this format knows its own size.
 */
int tide_disk_real_size(struct tide_disk *d, uint64_t *size_bytes,
			struct tide_error *err);
/*
 * tide_disk_notice: the raw file or device below was made longer or shorter by
 * somebody else: the disk's size becomes what it is. Also of a disk that is
 * open for reading. 0; -ENOTSUP: this format knows its own size.
 */
int tide_disk_notice(struct tide_disk *d, struct tide_error *err);

#endif
