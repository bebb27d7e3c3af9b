/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Zero-copy reads: large reads of a raw file, answered with pages of the page
 * cache.
 *
 * Such a read costs two copies here, from the cache into a buffer and from
 * there into the socket, and a third at the client. sendfile leaves only the
 * last: the socket gets references to the pages. Consequences:
 *
 *  - A page may still change before the client receives it. The client does
 *    not have the answer yet, so such a write is concurrent with the read, and
 *    either content may be seen. For an instant that would be wrong: its disk
 *    has no descriptor.
 *  - The loop would have to wait for what is not cached. So the kernel is asked
 *    first, and everything else goes through the queue.
 *  - Nobody looks at the bytes: allocated zeroes are sent as data. So it is
 *    done only on Unix sockets, where bytes are cheap, and where the file has
 *    no hole.
 */
#include "nbd/pages.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "nbd/conn.h"

/* Below, two more system calls cost as much as a copy. */
#define MIN_BYTES (UINT64_C(128) << 10)
#define PROBE_BYTES (UINT64_C(256) << 10)

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* on every machine */
#endif

/* linux/mman.h of 6.5 */
struct cachestat_range {
	uint64_t offset, length;
};
struct cachestat_counts {
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

static bool is_in_cache(int fd, uint64_t offset, uint64_t length)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t pages = (offset + length - 1) / page - offset / page + 1;
	struct cachestat_range range = { offset, length };
	struct cachestat_counts counts;

	return !syscall(SYS_cachestat, fd, &range, &counts, 0) &&
	       counts.cached >= pages;
}

/* A page that is still being read counts as cached. */
static bool is_there(int fd, uint64_t offset)
{
	uint8_t byte;
	struct iovec part = { &byte, 1 };

	return preadv2(fd, &part, 1, (off_t)offset, RWF_NOWAIT) == 1;
}

static bool has_no_hole(int fd, uint64_t offset, uint64_t length)
{
	off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);

	return hole >= 0 && (uint64_t)hole >= offset + length;
}

bool nbd_pages_can(const struct nbd_request *r)
{
	const struct nbd_conn *c = r->conn;
	int fd = c->export->reader_fd;
	uint64_t end = r->offset + r->length;

	if (fd < 0 || r->length < MIN_BYTES || !c->stream.ops->send_file ||
	    !is_in_cache(fd, r->offset, r->length) ||
	    !has_no_hole(fd, r->offset, r->length))
		return false;
	for (uint64_t at = r->offset; at < end; at += PROBE_BYTES)
		if (!is_there(fd, at))
			return false;
	return is_there(fd, end - 1);
}
