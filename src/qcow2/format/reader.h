/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the format readers read: from a file, a disk or bytes in memory.
 * Immutable after it was set up; as thread-safe as its pread.
 */
#ifndef TIDE_QCOW2_FORMAT_READER_H
#define TIDE_QCOW2_FORMAT_READER_H

#include <stdint.h>

#include "tidemark/error.h"

struct qcow2_reader {
	/* All of [offset, offset + bytes), which lies within the size. */
	int (*pread)(void *opaque, uint64_t offset_bytes, void *buf,
		     uint64_t bytes, struct tide_error *err);
	void *opaque;
	uint64_t size_bytes;
	const char *path; /* for messages */
	/*
	 * May be NULL. Where bytes that may differ from zero come next, at
	 * @offset_bytes or behind; the size if there are none.
	 */
	uint64_t (*next_data)(void *opaque, uint64_t offset_bytes);
};

struct qcow2_memory {
	const uint8_t *bytes;
	uint64_t size_bytes;
};

/* A file that stays open, and its size as it is now. -errno. */
int qcow2_reader_fd(struct qcow2_reader *r, int *fd, const char *path,
		    struct tide_error *err);
void qcow2_reader_memory(struct qcow2_reader *r, struct qcow2_memory *m,
			 const char *path);

/*
 * qcow2_read_at: @bytes from @offset_bytes. What lies past the end of the
 * file reads as zeroes (a last cluster may be cut short), but a range that
 * starts there is -EINVAL.
 */
int qcow2_read_at(const struct qcow2_reader *r, uint64_t offset_bytes,
		  void *buf, uint64_t bytes, struct tide_error *err);

/* True if all of the range is a hole of the file: it was not looked at. */
int qcow2_is_hole(const struct qcow2_reader *r, uint64_t offset_bytes,
		  uint64_t bytes);

/*
 * qcow2_read_entries: each of @count big-endian u64 from @offset_bytes, in
 * order, read in pieces of 64 KiB. @at is the entry's offset in the file.
 * Stops with what @each returns if that is not 0. qcow2_read_references: the
 * same without entries that are zero, and without looking at holes.
 */
typedef int qcow2_entry_fn(void *opaque, uint64_t index, uint64_t value,
			   uint64_t at);
int qcow2_read_entries(const struct qcow2_reader *r, uint64_t offset_bytes,
		       uint64_t count, qcow2_entry_fn *each, void *opaque,
		       struct tide_error *err);

int qcow2_read_references(const struct qcow2_reader *r, uint64_t offset_bytes,
			  uint64_t count, qcow2_entry_fn *each, void *opaque,
			  struct tide_error *err);

struct qcow2_header;
/* Read and parse the header; see qcow2_header_parse and _parse_tolerant. */
int qcow2_header_read(const struct qcow2_reader *r, int tolerant,
		      struct qcow2_header *h, struct tide_error *err);

#endif
