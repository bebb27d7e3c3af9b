/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes to check: where in the guest, and how long. */
#ifndef BENCH_KINDS_WORK_H
#define BENCH_KINDS_WORK_H

#include "kinds_image.h"

struct kinds_write {
	uint64_t offset, bytes;
};

struct kinds_trace {
	const char *name;
	struct kinds_write *write;
	size_t n;
};

#define KINDS_TRACES 8

/*
 * All traces for @image, each of @n writes or, recorded, as many as there are;
 * host offsets, on no metadata. A recorded trace that is not there has n == 0.
 * -ENOMEM.
 */
int kinds_work_make(struct kinds_trace out[KINDS_TRACES],
		    const struct kinds_image *image, size_t n);
void kinds_work_fini(struct kinds_trace traces[KINDS_TRACES]);

#endif
