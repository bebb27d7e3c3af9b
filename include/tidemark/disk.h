/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks: something with a size that is read, written, zeroed, discarded and
 * flushed in bytes. Raw files, block devices and qcow2 images, whose every
 * write is checked against the map of the image's own metadata.
 *
 * All calls but open and close may be made from any thread at any time, and
 * block until they are done. Who wants many requests in flight from one thread
 * uses a queue (tidemark/queue.h).
 *
 * What holds for all disks:
 *  - a request outside [0, size) is -EINVAL and changes nothing;
 *  - a write that returned is seen by every later read, and is durable after
 *    the next flush that returned 0, or, with TIDE_FUA, at once;
 *  - overlapping requests in flight at the same time may take effect in either
 *    order, never mixed with data of some other place;
 *  - an error leaves the disk consistent: the bytes of a failed write are
 *    unknown within its range, and nowhere else.
 *
 * Caveats:
 *  - What was not flushed is lost when the power goes; an image is consistent
 *    all the same, but for clusters that are counted and not used.
 *  - A child that is forked must not use a disk of its parent's.
 *  - Images that strangers made: see no_backing, no_data_file and
 *    trusted_folder. A format that is not named is told by the first bytes,
 *    which the guest of a raw disk writes.
 *  - Under O_DIRECT a write of a part of a block waits for writes that are in
 *    its block: the thread of a queue must not, by these calls, write into a
 *    block that it has a request in flight for.
 */
#ifndef TIDEMARK_DISK_H
#define TIDEMARK_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tidemark/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tide_disk;

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
 * How to open a disk: zeroes, and what differs. @size is the struct's size as
 * the caller was compiled, or 0, which stands for version 0.1 of it.
 */
struct tide_disk_options {
	size_t size;
	const char *format; /* "raw", "qcow2", a driver; NULL: the magic says */
	bool writable;
	bool direct; /* O_DIRECT on the files below */
	bool no_lock; /* open beside a writer, who may change what is read */
	/*
	 * qcow2, for images that a stranger made: their header names other
	 * files, and they are opened unless something here says otherwise.
	 */
	bool no_backing; /* do not open the backing chain: it reads as zeroes */
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
 * tide_disk_open: open the image at @path, or at file:PATH, or what a driver
 * has registered a scheme for (tidemark/disk_driver.h).
 * @options NULL: to read, all else as it is. Returns 0 and *out, to be closed,
 * or -errno: what open(2) says; -EINVAL (not an image of that format, damaged,
 * or options that are not known here); -EBUSY (somebody else writes it, or
 * would be written under: the locks are those of QEMU); -ENOTSUP (a feature we
 * do not know, named in @err); -EPERM (it leads where it may not); -EROFS (must
 * not be written, and why). Each error names the file. Nothing is changed in
 * it before the first write. Blocks, allocates; qcow2: reads all tables that
 * the guard has to know.
 */
int tide_disk_open(const char *path, const struct tide_disk_options *options,
		   struct tide_disk **out, struct tide_error *err);

/* The same for a file as it is, whatever its first bytes say. */
int tide_disk_open_file(const char *path,
			const struct tide_disk_options *options,
			struct tide_disk **out, struct tide_error *err);

/*
 * tide_disk_close: flush and free; no request may be under way. NULL is fine.
 * 0 or the first error: the disk is gone in any case. Blocks.
 */
int tide_disk_close(struct tide_disk *d, struct tide_error *err);

/* tide_disk_size: in bytes. Never fails, never blocks. */
uint64_t tide_disk_size(const struct tide_disk *d);

/*
 * tide_disk_read, _write: @length_bytes at @offset_bytes, of any alignment; 0
 * bytes do nothing. @buf is the caller's. 0, or -errno: -EINVAL outside the
 * disk, -EROFS (write) if it was opened to be read, -ENOSPC, -EIO, -ENOMEM.
 * qcow2: -EIO for a write that would hit metadata: the image is then marked
 * corrupt, and takes no more writes. Blocks.
 */
int tide_disk_read(struct tide_disk *d, uint64_t offset_bytes, void *buf,
		   uint64_t length_bytes, struct tide_error *err);
int tide_disk_write(struct tide_disk *d, uint64_t offset_bytes,
		    const void *buf, uint64_t length_bytes,
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

/*
 * tide_disk_zero: the range reads as zeroes afterwards. @flags: TIDE_ZERO_* and
 * TIDE_FUA. Errors as of write, and -ENOTSUP where TIDE_ZERO_NO_FALLBACK asks
 * for it. Blocks; costs as much as a write where the file cannot do it.
 */
int tide_disk_zero(struct tide_disk *d, uint64_t offset_bytes,
		   uint64_t length_bytes, uint32_t flags,
		   struct tide_error *err);
/*
 * tide_disk_discard: a hint: what was discarded reads as zeroes or as before.
 * Errors as of write, and -ENOTSUP. Blocks.
 */
int tide_disk_discard(struct tide_disk *d, uint64_t offset_bytes,
		      uint64_t length_bytes, struct tide_error *err);
/*
 * tide_disk_flush: all that was done before is durable. Nothing to do on a disk
 * that is open to be read. After an error nothing is known to be durable that
 * was not before; what was to be written is tried again by the next. Blocks.
 */
int tide_disk_flush(struct tide_disk *d, struct tide_error *err);

/*
 * tide_disk_status: what lies at @offset_bytes; *extent covers at least one
 * byte and at most @length_bytes (> 0, else -EINVAL). To see all, go on at its
 * end. May read metadata.
 */
int tide_disk_status(struct tide_disk *d, uint64_t offset_bytes,
		     uint64_t length_bytes, struct tide_disk_extent *extent,
		     struct tide_error *err);
/*
 * tide_disk_resize: what is added reads as zeroes, what is cut off is gone.
 * -ENOTSUP for a block device, or for what the image has that forbids it (named
 * in @err); -EFBIG; errors as of write. Durable after the next flush. Blocks.
 */
int tide_disk_resize(struct tide_disk *d, uint64_t size_bytes,
		     struct tide_error *err);

/*
 * tide_disk_real_size: how large the raw file or device below is by now.
 * -ENOTSUP: this format knows its own size. Any thread; one system call.
 */
int tide_disk_real_size(struct tide_disk *d, uint64_t *size_bytes,
			struct tide_error *err);
/*
 * tide_disk_notice: the raw file or device below was made longer or shorter by
 * somebody else: the disk's size becomes what it is. Also of a disk that is
 * open for reading. 0; -ENOTSUP: this format knows its own size.
 */
int tide_disk_notice(struct tide_disk *d, struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
