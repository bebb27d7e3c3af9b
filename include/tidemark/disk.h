/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks: a block layer whose disks are read, written, zeroed, discarded and
 * flushed by the byte: raw files, block devices, and qcow2 images, where every
 * write is checked against the map of the image's own metadata.
 *
 * All calls but open and close may be made from any thread at any time, and
 * block until they are done. To have many requests in flight from one thread
 * use a queue (tidemark/queue.h).
 *
 * What holds for all disks:
 *  - a request outside [0, size) is -EINVAL and changes nothing;
 *  - a write that returned is visible to every later read, and durable after
 *    the next flush that returned 0, or, with TIDE_FUA, at once;
 *  - overlapping requests in flight at the same time may take effect in either
 *    order, never mixed with data from elsewhere;
 *  - an error leaves the disk consistent: a failed write leaves unknown bytes
 *    within its range, and nowhere else.
 *
 * Caveats:
 *  - What was not flushed is lost in a power failure; an image is consistent
 *    all the same, except for leaked clusters.
 *  - A forked child must not use a disk of its parent.
 *  - For untrusted images see no_backing, no_data_file and trusted_folder. A
 *    format that is not given is guessed from the first bytes, which the guest
 *    of a raw disk controls.
 *  - With O_DIRECT a write to a part of a block waits for other writes to the
 *    block: the thread of a queue must not use these calls to write to a block
 *    for which it has a request in flight.
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
	TIDE_ZERO_MAY_UNMAP = 1, /* zero: the space may be deallocated */
	TIDE_ZERO_NO_FALLBACK = 2, /* zero: -ENOTSUP rather than write zeroes */
	/*
	 * Forced unit access, for a write, zero or discard: its data is durable
	 * when it is done, and so is the metadata needed to find it again.
	 * This says nothing about other changes.
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
 * How to open a disk; zeroes are the defaults. @size is the size of the struct
 * that the caller was compiled with; 0 stands for that of version 0.1.
 */
struct tide_disk_options {
	size_t size;
	const char *format; /* "raw", "qcow2", a driver; NULL: by its magic */
	bool writable;
	bool direct; /* O_DIRECT on the files below */
	bool no_lock; /* open despite a writer, which may change what is read */
	/*
	 * qcow2, for untrusted images: the other files that their header names
	 * are opened unless one of these options forbids it.
	 */
	bool no_backing; /* do not open the backing chain: it reads as zeroes */
	bool no_data_file; /* -EPERM for an image with an external data file */
	/*
	 * A folder, besides the image's own, in which the files that a header
	 * names may be; NULL: none. Anything else, or what is no regular file,
	 * is -EPERM. Not applied to backing_path and data_path.
	 */
	const char *trusted_folder;
	const char *backing_path; /* instead of the one in the header */
	const char *data_path; /* likewise */
	bool no_guard; /* qcow2, for measurements: do not check writes */
	bool repair_dirty; /* qcow2: dirty bit set: rebuild the refcounts */
	uint64_t cache_bytes; /* qcow2 metadata cache; 0: the default */
	/*
	 * Called instead of the file driver for every file that is opened with
	 * these options - the image, its data file, each layer of its backing
	 * chain, and to read a magic: the caller's own layer, or policy. It
	 * opens the file or refuses to. NULL: the file driver.
	 */
	int (*open_file)(const char *path,
			 const struct tide_disk_options *options,
			 struct tide_disk **out, struct tide_error *err);
	void *open_opaque; /* open_file's */
};

/*
 * tide_disk_open: open the image at @path or file:PATH, or a path whose scheme
 * a driver has registered (tidemark/disk_driver.h).
 * @options NULL: read-only, with the defaults. Returns 0 and *out, which the
 * caller closes, or -errno: what open(2) returns; -EINVAL (not an image of that
 * format, damaged, or unknown options); -EBUSY (in use: the locks are those of
 * QEMU); -ENOTSUP (an unknown feature, named in @err); -EPERM (a file that may
 * not be opened); -EROFS (must not be written, and why). Each error names the
 * file. Nothing in it is changed before the first write. Blocks, allocates;
 * qcow2: reads all tables that the guard needs.
 */
int tide_disk_open(const char *path, const struct tide_disk_options *options,
		   struct tide_disk **out, struct tide_error *err);

/* The same for a raw file, whatever its first bytes are. */
int tide_disk_open_file(const char *path,
			const struct tide_disk_options *options,
			struct tide_disk **out, struct tide_error *err);

/*
 * tide_disk_close: flush and free; no request may be in flight. NULL is fine.
 * 0 or the first error: the disk is closed in any case. Blocks.
 */
int tide_disk_close(struct tide_disk *d, struct tide_error *err);

/* tide_disk_size: in bytes. Never fails, never blocks. */
uint64_t tide_disk_size(const struct tide_disk *d);

/*
 * tide_disk_read, _write: @length_bytes at @offset_bytes, of any alignment; 0
 * bytes do nothing. @buf is the caller's. 0, or -errno: -EINVAL outside the
 * disk, -EROFS (write) if it was opened read-only, -ENOSPC, -EIO, -ENOMEM.
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
 * -EINVAL also if the parts do not fit into an address space.
 */
int tide_disk_readv(struct tide_disk *d, uint64_t offset_bytes,
		    const struct iovec *parts, uint32_t count,
		    struct tide_error *err);
int tide_disk_writev(struct tide_disk *d, uint64_t offset_bytes,
		     const struct iovec *parts, uint32_t count, uint32_t flags,
		     struct tide_error *err);

/*
 * tide_disk_zero: the range reads as zeroes afterwards. @flags: TIDE_ZERO_* and
 * TIDE_FUA. Errors as of write, and -ENOTSUP if TIDE_ZERO_NO_FALLBACK asks for
 * it. Blocks; costs as much as a write if the file cannot do it by itself.
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
 * tide_disk_flush: makes everything done before durable. Does nothing on a
 * read-only disk. After an error nothing more is known to be durable than
 * before; the next flush tries again. Blocks.
 */
int tide_disk_flush(struct tide_disk *d, struct tide_error *err);

/*
 * tide_disk_status: what is at @offset_bytes; *extent covers at least one byte
 * and at most @length_bytes (> 0, else -EINVAL). To iterate, continue at its
 * end. May read metadata.
 */
int tide_disk_status(struct tide_disk *d, uint64_t offset_bytes,
		     uint64_t length_bytes, struct tide_disk_extent *extent,
		     struct tide_error *err);
/*
 * tide_disk_resize: an added part reads as zeroes, one cut off is lost.
 * -ENOTSUP for a block device, or if something in the image forbids it (named
 * in @err); -EFBIG; errors as of write. Durable after the next flush. Blocks.
 */
int tide_disk_resize(struct tide_disk *d, uint64_t size_bytes,
		     struct tide_error *err);

/*
 * tide_disk_real_size: the current size of the raw file or device below.
 * -ENOTSUP: this format knows its own size. Any thread; one system call.
 */
int tide_disk_real_size(struct tide_disk *d, uint64_t *size_bytes,
			struct tide_error *err);
/*
 * tide_disk_notice: somebody else has resized the raw file or device below:
 * adopt its size. Also for read-only disks. 0; -ENOTSUP: this format knows its
 * own size.
 */
int tide_disk_notice(struct tide_disk *d, struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
