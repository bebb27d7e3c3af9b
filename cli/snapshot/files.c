/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/snapshot/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define PIECE 256u	/* pages at once */

int snapshot_write_all(int fd, const unsigned char *at, size_t n,
		       uint64_t offset, const char *path,
		       struct tide_error *err)
{
	while (n) {
		ssize_t put = pwrite(fd, at, n, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return tide_error_set(err, put ? -errno : -EIO,
					      "snapshot", offset, "%s: %s",
					      path, strerror(errno));
		at += put;
		offset += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

/* Every page is read, and with it its checksum; zeroes stay holes. */
int snapshot_write_memory(struct snap_chain *c, const struct output_file *o,
			  uint64_t offset, struct tide_error *err)
{
	uint64_t pages = snap_chain_header(c)->pages, page = 0;
	unsigned char *bytes = malloc(PIECE * SNAP_PAGE);
	int fd = fileno(o->file), ret = 0;

	if (!bytes)
		return tide_error_set(err, -ENOMEM, "snapshot",
				      TIDE_NO_OFFSET, "no memory");
	if (ftruncate(fd, (off_t)(offset + pages * SNAP_PAGE)) < 0)
		ret = tide_error_set(err, -errno, "snapshot", TIDE_NO_OFFSET,
				     "%s: %s", o->path, strerror(errno));
	while (!ret && page < pages) {
		uint64_t n = snap_chain_zeroes(c, page);

		if (!n) {
			n = pages - page < PIECE ? pages - page : PIECE;
			ret = snap_chain_read(c, page, n, bytes, err);
			if (!ret)
				ret = snapshot_write_all(fd, bytes,
							 n * SNAP_PAGE, offset +
							 page * SNAP_PAGE,
							 o->path, err);
		}
		page += n;
	}
	free(bytes);
	return ret;
}

int snapshot_write_order(const struct lazy *l, const char *path,
			 struct tide_error *err)
{
	struct output_file o;
	int ret = output_open(&o, path, true, err);

	if (ret)
		return ret;
	for (size_t i = 0; i < l->touched_count; i++) {
		unsigned char word[8];

		tide__put_le(word, l->touched[i], 8);
		if (fwrite(word, 8, 1, o.file) != 1)
			ret = tide_error_set(err, -errno, "lazy",
					     TIDE_NO_OFFSET, "%s: %s", path,
					     strerror(errno));
	}
	if (ret) {
		output_drop(&o);
		return ret;
	}
	return output_close(&o, err);
}
