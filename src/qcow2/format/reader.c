/* SPDX-License-Identifier: BSD-2-Clause */
#include "qcow2/format/reader.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "qcow2/format/header.h"

#define PIECE_ENTRIES 8192u

static int read_fd(void *opaque, uint64_t offset_bytes, void *buf,
		   uint64_t bytes, struct tide_error *err)
{
	int fd = *(int *)opaque;
	char *to = buf;
	ssize_t n;

	while (bytes) {
		n = pread(fd, to, bytes, (off_t)offset_bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int code = n < 0 ? -errno : -EIO;

			return tide_error_set(
				err, code, "qcow2-read", offset_bytes,
				"read at %llu: %s",
				(unsigned long long)offset_bytes,
				n < 0 ? strerror(-code)
				      : "the file became shorter");
		}
		to += n;
		offset_bytes += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

/* Where the file system cannot tell, everything may be data. */
static uint64_t next_data_fd(void *opaque, uint64_t offset_bytes)
{
	int fd = *(int *)opaque;
	off_t at = lseek(fd, (off_t)offset_bytes, SEEK_DATA);

	if (at >= 0)
		return (uint64_t)at;
	return errno == ENXIO ? (uint64_t)INT64_MAX : offset_bytes;
}

int qcow2_reader_fd(struct qcow2_reader *r, int *fd, const char *path,
		    struct tide_error *err)
{
	off_t end = lseek(*fd, 0, SEEK_END);

	if (end < 0) {
		int code = -errno;

		return tide_error_set(err, code, "qcow2-read", TIDE_NO_OFFSET,
				      "%s: %s", path, strerror(-code));
	}
	*r = (struct qcow2_reader){ read_fd, fd, (uint64_t)end, path,
				    next_data_fd };
	return 0;
}

static int read_memory(void *opaque, uint64_t offset_bytes, void *buf,
		       uint64_t bytes, struct tide_error *err)
{
	const struct qcow2_memory *m = opaque;

	(void)err;
	memcpy(buf, m->bytes + offset_bytes, bytes);
	return 0;
}

void qcow2_reader_memory(struct qcow2_reader *r, struct qcow2_memory *m,
			 const char *path)
{
	*r = (struct qcow2_reader){ read_memory, m, m->size_bytes, path,
				    NULL };
}

int qcow2_read_at(const struct qcow2_reader *r, uint64_t offset_bytes,
		  void *buf, uint64_t bytes, struct tide_error *err)
{
	uint64_t have;

	if (offset_bytes >= r->size_bytes)
		return tide_error_set(err, -EINVAL, "qcow2-read", offset_bytes,
				      "%s: offset %llu is past the end",
				      r->path,
				      (unsigned long long)offset_bytes);
	have = r->size_bytes - offset_bytes;
	if (have < bytes)
		memset((char *)buf + have, 0, bytes - have);
	else
		have = bytes;
	return r->pread(r->opaque, offset_bytes, buf, have, err);
}

int qcow2_is_hole(const struct qcow2_reader *r, uint64_t offset_bytes,
		  uint64_t bytes)
{
	return r->next_data && offset_bytes < r->size_bytes &&
	       r->next_data(r->opaque, offset_bytes) - offset_bytes >= bytes;
}

/* Whole entries from @at on that lie in a hole; 0 past the end: an error. */
static uint64_t hole_entries(const struct qcow2_reader *r, uint64_t at)
{
	if (!r->next_data || at >= r->size_bytes)
		return 0;
	return (r->next_data(r->opaque, at) - at) / 8;
}

static int read_table(const struct qcow2_reader *r, uint64_t offset_bytes,
		      uint64_t count, bool sparse, qcow2_entry_fn *each,
		      void *opaque, struct tide_error *err)
{
	uint64_t piece = count < PIECE_ENTRIES ? count : PIECE_ENTRIES;
	uint64_t at, n, value;
	uint8_t *buf = malloc(piece * 8 + 1);
	int ret = 0;

	if (!buf)
		return tide_error_set(err, -ENOMEM, "qcow2-read", offset_bytes,
				      "%s: no memory for a table", r->path);
	for (uint64_t i = 0; i < count && !ret; i += n) {
		at = offset_bytes + i * 8;
		n = count - i < piece ? count - i : piece;
		if (sparse && hole_entries(r, at) >= n) {
			n = hole_entries(r, at);
			continue;
		}
		ret = qcow2_read_at(r, at, buf, n * 8, err);
		for (uint64_t k = 0; k < n && !ret; k++) {
			value = tide__get_be(buf + k * 8, 8);
			if (value || !sparse)
				ret = each(opaque, i + k, value, at + k * 8);
		}
	}
	free(buf);
	return ret;
}

int qcow2_read_entries(const struct qcow2_reader *r, uint64_t offset_bytes,
		       uint64_t count, qcow2_entry_fn *each, void *opaque,
		       struct tide_error *err)
{
	return read_table(r, offset_bytes, count, false, each, opaque, err);
}

int qcow2_read_references(const struct qcow2_reader *r, uint64_t offset_bytes,
			  uint64_t count, qcow2_entry_fn *each, void *opaque,
			  struct tide_error *err)
{
	return read_table(r, offset_bytes, count, true, each, opaque, err);
}

int qcow2_header_read(const struct qcow2_reader *r, int tolerant,
		      struct qcow2_header *h, struct tide_error *err)
{
	uint64_t bytes = 1u << QCOW2_MAX_CLUSTER_BITS;
	uint8_t *buf;
	int ret;

	if (bytes > r->size_bytes)
		bytes = r->size_bytes;
	buf = malloc(bytes + 1);
	if (!buf)
		return tide_error_set(err, -ENOMEM, "qcow2-read", 0,
				      "%s: no memory for the header", r->path);
	ret = bytes ? qcow2_read_at(r, 0, buf, bytes, err) : 0;
	if (!ret)
		ret = (tolerant ? qcow2_header_parse_tolerant :
				 qcow2_header_parse)(r->path, buf, bytes,
						     r->size_bytes, h, err);
	free(buf);
	return ret;
}
