/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stream that is read, from the inside. The first error stays: what is read
 * after it is zero, and changes nothing.
 */
#ifndef TIDE_BITMAPS_STREAM_IN_H
#define TIDE_BITMAPS_STREAM_IN_H

#include "bitmaps/stream.h"

struct stream_in {
	FILE *from;
	const char *path;
	uint64_t at; /* bytes read */
	int ret; /* the first error */
	struct tide_error *err;
	uint64_t page_bytes; /* of the guest */
};

int stream_fail(struct stream_in *in, int code, const char *what);
void stream_get(struct stream_in *in, void *to, size_t bytes);
void stream_skip(struct stream_in *in, uint64_t bytes);
uint64_t stream_be(struct stream_in *in, unsigned int bytes);
/* A byte of length, and so many of text; no zero among them. */
void stream_text(struct stream_in *in, char to[STREAM_LONGEST_NAME + 1]);

/* ram.c: the guest's memory, as its section has it, passed over. */
void stream_pass_ram(struct stream_in *in, bool start);

#endif
