/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory in pieces: what a request reads into or writes from.
 *
 * A slice names bytes of an array of parts without copying the array: drivers
 * cut requests into extents and hand each its slice. A part may be empty.
 */
#ifndef TIDE_DISK_VEC_H
#define TIDE_DISK_VEC_H

#include <stdint.h>
#include <sys/uio.h>

struct tide_vec {
	const struct iovec *parts;
	uint32_t count;
	uint64_t skip_bytes; /* of the parts: the slice begins there */
	uint64_t length_bytes; /* of the slice */
};

/* All of one part, which has to outlive it. */
static inline struct tide_vec tide__vec_of(const struct iovec *part)
{
	return (struct tide_vec){ part, 1, 0, part->iov_len };
}

/* [@from_bytes, +@length_bytes) of the slice @v, within it. */
struct tide_vec tide__vec_slice(const struct tide_vec *v, uint64_t from_bytes,
				uint64_t length_bytes);
/* Its beginning for readv and the like; at most @max parts. How many. */
uint32_t tide__vec_parts(const struct tide_vec *v, struct iovec *out,
			 uint32_t max);
/* The sum of the parts; UINT64_MAX where no address space holds them. */
uint64_t tide__vec_sum(const struct iovec *parts, uint32_t count);
/* Its beginning, if it is in one part with all the rest; else NULL. */
void *tide__vec_whole(const struct tide_vec *v);

/* All of it from or to memory in one piece. */
void tide__vec_gather(const struct tide_vec *v, void *to);
void tide__vec_scatter(const struct tide_vec *v, const void *from);
void tide__vec_zero(const struct tide_vec *v);

#endif
