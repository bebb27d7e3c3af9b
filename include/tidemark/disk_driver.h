/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bringing a disk of one's own: something that is reached by a library of the
 * embedder's - an object store, a cluster's block device, memory - and then
 * used as any other disk, in a queue, too.
 *
 * A driver is registered once, by name, and says how a disk is opened; what it
 * opens is made with tide_disk_create from a table of calls. tide_disk_open
 * takes it where options name it as the format, or where the path begins with
 * its scheme and a colon. Paths with a slash before the first colon are never
 * taken for that, nor are the names that an image's header has for other files.
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
 * What a disk can do. Ranges were checked against its size already, and are not
 * empty; calls come from any thread, many at a time, and may block, but for
 * start. Each returns 0 or -errno, and fills @err (which may be NULL). @size is
 * the struct's, as the driver was compiled.
 */
struct tide_disk_calls {
	size_t size;
	const char *name; /* for messages; copied with the table */
	/* All of the parts, one after the other. */
	int (*read)(void *opaque, uint64_t offset_bytes,
		    const struct iovec *parts, uint32_t count,
		    struct tide_error *err);
	/* NULL: the disk is never open to be written. @flags: 0 or TIDE_FUA */
	int (*write)(void *opaque, uint64_t offset_bytes,
		     const struct iovec *parts, uint32_t count, uint32_t flags,
		     struct tide_error *err);
	/* NULL: what was written is durable. */
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
	/* NULL: nothing to do. After the last call; a flush came before it. */
	int (*close)(void *opaque, struct tide_error *err);
	/*
	 * NULL: a queue's requests go to its workers, which make the calls
	 * above. Else, on the queue's thread: begin @io without blocking, after
	 * tide_io_park; its end is said with tide_io_unpark. False: nothing was
	 * done and not parked; a worker shall do it.
	 */
	bool (*start)(void *opaque, struct tide_io *io);
	bool fua; /* write and start know TIDE_FUA; else a flush follows */
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
	/* @path as it was given, scheme and all; @opaque from below. */
	int (*open)(void *opaque, const char *path,
		    const struct tide_disk_options *options,
		    struct tide_disk **out, struct tide_error *err);
	void *opaque;
};

/*
 * tide_disk_register: for the life of the process; strings are borrowed as
 * long. Any thread. 0; -EINVAL: a name or scheme that is not a small letter and
 * then small letters, digits, '+', '-' or '.', or no open; -EEXIST: name or
 * scheme are taken; -ENOSPC: 16 are registered.
 */
int tide_disk_register(const struct tide_disk_driver *driver,
		       struct tide_error *err);

/* tide_io_parts: the memory of a read or write, however it was given. */
const struct iovec *tide_io_parts(struct tide_io *io, uint32_t *count);
/*
 * tide_io_park: in `start`: another thread will end @io. False: no memory, and
 * nothing was done. Then, once, from any thread: tide_io_unpark, and it is
 * complete with @result (0 or -errno); or tide_io_again, and the queue's thread
 * asks start once more. Who sleeps on the queue is woken. @io is not to be
 * touched afterwards.
 */
bool tide_io_park(struct tide_io *io);
void tide_io_unpark(struct tide_io *io, int result);
void tide_io_again(struct tide_io *io);

#ifdef __cplusplus
}
#endif

#endif
