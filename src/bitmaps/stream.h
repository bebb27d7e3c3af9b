/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dirty bitmaps as QEMU moves them: the section "dirty-bitmap" of a migration
 * stream, read and written (docs/format-bitmap-stream.md has the bytes).
 *
 * A stream is read from its beginning, section by section, until the bitmaps
 * are over. It is never searched for them: a guest's memory is in it, too, and
 * may hold whatever the guest likes. So of each section before that the reader
 * has to know where it ends; one that it does not know is an error that names
 * it. What comes behind the bitmaps, the devices, is not looked at.
 *
 * Bits that were not sent are unknown, not clean: the parts of a bitmap have to
 * follow each other from the first bit on, and each bitmap has to be said to be
 * complete.
 */
#ifndef TIDE_BITMAPS_STREAM_H
#define TIDE_BITMAPS_STREAM_H

#include <stdio.h>

#include "cbt/image.h"
#include "tidemark/error.h"

#define STREAM_MAX_BITMAPS 4096u
#define STREAM_LONGEST_NAME 255u

struct stream_bitmap {
	char node[STREAM_LONGEST_NAME + 1]; /* the disk's, there */
	char name[STREAM_LONGEST_NAME + 1];
	bool enabled, persistent, complete;
	uint64_t size_bytes; /* of the disk, in whole sectors */
	struct cbt_image bits;
};

struct stream_bitmaps {
	struct stream_bitmap *list; /* owned */
	size_t count;
};

/*
 * stream_read: all bitmaps of the stream @from, called @path in errors, into
 * *out. 0; -EINVAL: no such stream, or a damaged one; -ENOTSUP: what lies
 * before the bitmaps cannot be passed over; -EIO; -ENOMEM; the error tells the
 * byte.
 */
int stream_read(FILE *from, const char *path, struct stream_bitmaps *out,
		struct tide_error *err);
void stream_fini(struct stream_bitmaps *b);
/* Of that name, and of that node or (NULL) any; NULL: none, or several. */
const struct stream_bitmap *stream_find(const struct stream_bitmaps *b,
					const char *node, const char *name);

/*
 * stream_write: a whole stream with nothing in it but those bitmaps, for a QEMU
 * of that machine type. 0, -EINVAL: one that QEMU would not take; -EIO.
 */
int stream_write(FILE *to, const char *machine,
		 const struct stream_bitmaps *bitmaps, struct tide_error *err);

#endif
