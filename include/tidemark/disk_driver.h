/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disk drivers of the embedder: anything that its own library can access - an
 * object store, a cluster's block device, memory - used like any other disk,
 * also in a queue.
 *
 * A driver is registered once, by name, and provides an open call, which makes
 * a disk from a table of calls with tide_disk_create. tide_disk_open uses the
 * driver if the options name it as the format, or if the path begins with its
 * scheme and a colon. A path with a slash before the first colon never has a
 * scheme, nor has a file name in an image's header.
 */
#ifndef TIDEMARK_DISK_DRIVER_H
#define TIDEMARK_DISK_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tidemark/disk.h"
#include "tidemark/error.h"
#include "tidemark/queue.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The operations of a disk. Ranges have been checked against its size, and are
 * not empty; calls come from any thread, many at a time, and may block, except
 * start. Each returns 0 or -errno, and fills @err (which may be NULL). @size is
 * the size of the struct that the driver was compiled with.
 */
struct tide_disk_calls {
	size_t size;
	const char *name; /* for messages; copied with the table */
	/* Fills all of the parts, in order. */
	int (*read)(void *opaque, uint64_t offset_bytes,
		    const struct iovec *parts, uint32_t count,
		    struct tide_error *err);
	/* NULL: the disk is always read-only. @flags: 0 or TIDE_FUA */
	int (*write)(void *opaque, uint64_t offset_bytes,
		     const struct iovec *parts, uint32_t count, uint32_t flags,
		     struct tide_error *err);
	/* NULL: every completed write is durable. */
	int (*flush)(void *opaque, struct tide_error *err);
	/* NULL: zeroes are written. @flags: TIDE_ZERO_* */
	int (*zero)(void *opaque, uint64_t offset_bytes, uint64_t length_bytes,
		    uint32_t flags, struct tide_error *err);
	/* NULL: -ENOTSUP */
	int (*discard)(void *opaque, uint64_t offset_bytes,
		       uint64_t length_bytes, struct tide_error *err);
	/* NULL: all is data. */
	int (*status)(void *opaque, uint64_t offset_bytes,
		      uint64_t length_bytes, struct tide_disk_extent *extent,
		      struct tide_error *err);
	/* NULL: -ENOTSUP. On success the disk has that size. */
	int (*resize)(void *opaque, uint64_t size_bytes,
		      struct tide_error *err);
	/* The last call, after a flush. NULL: nothing to do. */
	int (*close)(void *opaque, struct tide_error *err);
	/*
	 * Called on a queue's thread: call tide_io_park, begin @io without
	 * blocking, and complete it with tide_io_unpark. False: it was neither
	 * parked nor begun, and a worker makes the calls above instead. NULL:
	 * workers do so for all requests.
	 */
	bool (*start)(void *opaque, struct tide_io *io);
	bool fua; /* write and start honour TIDE_FUA; else a flush follows */
	/*
	 * How large it is by now, if others may change that: what resize is
	 * called with to notice it. NULL: nobody else does.
	 */
	int (*real_size)(void *opaque, uint64_t *size_bytes,
			 struct tide_error *err);
};

/*
 * tide_disk_create: a disk of @size_bytes from @calls, which are copied.
 * @opaque is the driver's, and is not freed. 0 and *out; -EINVAL (no read, a
 * writable disk without write, calls of a later version), -ENOMEM.
 */
int tide_disk_create(const struct tide_disk_calls *calls, void *opaque,
		     const char *path, uint64_t size_bytes, bool writable,
		     struct tide_disk **out, struct tide_error *err);

struct tide_disk_driver {
	size_t size; /* of the struct, as the driver was compiled */
	const char *name; /* for options.format */
	const char *scheme; /* "rbd" for rbd:POOL/IMAGE; NULL: none */
	/* @path as given, with its scheme; @opaque: the one below. */
	int (*open)(void *opaque, const char *path,
		    const struct tide_disk_options *options,
		    struct tide_disk **out, struct tide_error *err);
	void *opaque;
};

/*
 * tide_disk_register: for the lifetime of the process; strings are borrowed for
 * as long. Any thread. 0; -EINVAL: a name or scheme that is not a lower-case
 * letter followed by lower-case letters, digits, '+', '-' or '.', or no open;
 * -EEXIST: the name or scheme is taken; -ENOSPC: 16 are registered.
 */
int tide_disk_register(const struct tide_disk_driver *driver,
		       struct tide_error *err);

/* tide_io_parts: the memory of a read or write, however it was given. */
const struct iovec *tide_io_parts(struct tide_io *io, uint32_t *count);
/*
 * tide_io_park: in `start`: another thread will complete @io. False: no memory,
 * and nothing was done. Then, once, from any thread: tide_io_unpark completes
 * it with @result (0 or -errno), or tide_io_again makes the queue's thread call
 * start again. Both wake a poll that waits. Do not touch @io afterwards.
 */
bool tide_io_park(struct tide_io *io);
void tide_io_unpark(struct tide_io *io, int result);
void tide_io_again(struct tide_io *io);

#ifdef __cplusplus
}
#endif

#endif
