/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The streams of `rbd export-diff` and `import-diff`: what changed of an image
 * from one of its snapshots to another. docs/format-rbd-diff.md has the bytes.
 * Written is version 1; version 2, in which each record says how long it is, is
 * read, too. Needs no Ceph.
 *
 * Each of these belongs to one thread at a time.
 */
#ifndef TIDE_RBD_DIFF_H
#define TIDE_RBD_DIFF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tidemark/error.h"

#define CEPH_MAX_SNAP 1024u

struct ceph_diff {
	FILE *file; /* borrowed */
	const char *path; /* borrowed; for messages */
	bool records_say_length; /* version 2 */
	uint64_t at_bytes; /* read so far */
	char from[CEPH_MAX_SNAP], to[CEPH_MAX_SNAP]; /* "": none */
	uint64_t size_bytes; /* of the image at the end */
	uint64_t left_bytes; /* of the record's data, not read yet */
	int tag; /* of the record that comes next */
};

struct ceph_diff_record {
	bool zero;
	uint64_t offset_bytes, length_bytes; /* within the image */
};

/*
 * Reads up to the first record. -EBADMSG: no such stream, damaged or cut short,
 * with its offset in the stream; what the file said.
 */
int ceph_diff_open(struct ceph_diff *d, FILE *file, const char *path,
		   struct tide_error *err);
/* 1: a record; 0: the end was said. Data that was not read is passed over. */
int ceph_diff_next(struct ceph_diff *d, struct ceph_diff_record *r,
		   struct tide_error *err);
/* @length_bytes of the record's data, no more than are left. */
int ceph_diff_read(struct ceph_diff *d, void *buf, uint64_t length_bytes,
		   struct tide_error *err);

/*
 * Writing: begin, then records, then end. @from NULL: from an image of zeroes.
 * 0 or -errno. Nothing is flushed.
 */
int ceph_diff_put_begin(FILE *file, const char *from, const char *to,
			uint64_t size_bytes);
int ceph_diff_put_data(FILE *file, uint64_t offset_bytes, const void *buf,
		       uint64_t length_bytes);
int ceph_diff_put_zeroes(FILE *file, uint64_t offset_bytes,
			 uint64_t length_bytes);
int ceph_diff_put_end(FILE *file);

#endif
