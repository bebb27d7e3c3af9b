/* SPDX-License-Identifier: BSD-2-Clause */
#include "disk/vec.h"

#include <string.h>

/* The next piece of @v in one part; takes it from @v. It has some bytes. */
static struct iovec next_piece(struct tide_vec *v)
{
	struct iovec piece;

	while (v->skip_bytes >= v->parts->iov_len) {
		v->skip_bytes -= v->parts->iov_len;
		v->parts++;
		v->count--;
	}
	piece.iov_base = (char *)v->parts->iov_base + v->skip_bytes;
	piece.iov_len = v->parts->iov_len - v->skip_bytes;
	if (piece.iov_len > v->length_bytes)
		piece.iov_len = v->length_bytes;
	v->skip_bytes += piece.iov_len;
	v->length_bytes -= piece.iov_len;
	return piece;
}

struct tide_vec tide__vec_slice(const struct tide_vec *v, uint64_t from_bytes,
				uint64_t length_bytes)
{
	struct tide_vec slice = *v;

	slice.skip_bytes += from_bytes;
	slice.length_bytes = length_bytes;
	/* So that who walks from the front does not walk the same twice. */
	while (slice.count && slice.skip_bytes >= slice.parts->iov_len) {
		slice.skip_bytes -= slice.parts->iov_len;
		slice.parts++;
		slice.count--;
	}
	return slice;
}

uint32_t tide__vec_parts(const struct tide_vec *v, struct iovec *out,
			 uint32_t max)
{
	struct tide_vec rest = *v;
	uint32_t n = 0;

	while (rest.length_bytes && n < max)
		out[n++] = next_piece(&rest);
	return n;
}

uint64_t tide__vec_sum(const struct iovec *parts, uint32_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		if (__builtin_add_overflow(sum, parts[i].iov_len, &sum))
			return UINT64_MAX;
	return sum;
}

void *tide__vec_whole(const struct tide_vec *v)
{
	struct tide_vec rest = *v;
	struct iovec piece = { 0 };

	if (rest.length_bytes)
		piece = next_piece(&rest);
	return rest.length_bytes ? NULL : piece.iov_base;
}

void tide__vec_gather(const struct tide_vec *v, void *to)
{
	struct tide_vec rest = *v;
	char *at = to;

	while (rest.length_bytes) {
		struct iovec piece = next_piece(&rest);

		memcpy(at, piece.iov_base, piece.iov_len);
		at += piece.iov_len;
	}
}

void tide__vec_scatter(const struct tide_vec *v, const void *from)
{
	struct tide_vec rest = *v;
	const char *at = from;

	while (rest.length_bytes) {
		struct iovec piece = next_piece(&rest);

		memcpy(piece.iov_base, at, piece.iov_len);
		at += piece.iov_len;
	}
}

void tide__vec_zero(const struct tide_vec *v)
{
	struct tide_vec rest = *v;

	while (rest.length_bytes) {
		struct iovec piece = next_piece(&rest);

		memset(piece.iov_base, 0, piece.iov_len);
	}
}
