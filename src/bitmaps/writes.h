/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A recorded trace of a disk's requests, as text, plain or packed by zstd: a
 * line "t_us,op,offset,length", then such a row for each request, in order.
 * write, zero and trim change the disk; flush and others do not.
 */
#ifndef TIDE_BITMAPS_WRITES_H
#define TIDE_BITMAPS_WRITES_H

#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

#define WRITES_MAX (UINT64_C(1) << 26)

struct write {
	uint64_t t_us, offset_bytes, length_bytes;
};

struct writes {
	struct write *list; /* owned; what changes the disk */
	size_t count;
	uint64_t end_bytes; /* of the last of them on the disk */
};

/* 0; -EINVAL: the line that is none; what the system says; -ENOMEM. */
int writes_load(struct writes *w, const char *path, struct tide_error *err);
void writes_fini(struct writes *w);

#endif
