/* SPDX-License-Identifier: BSD-2-Clause */
#include "bitmaps/stream_in.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

int stream_fail(struct stream_in *in, int code, const char *what)
{
	if (!in->ret)
		in->ret = tide_error_set(in->err, code, "bitmap", in->at,
					 "%s: %s", in->path, what);
	return in->ret;
}

void stream_get(struct stream_in *in, void *to, size_t bytes)
{
	size_t got = in->ret ? 0 : fread(to, 1, bytes, in->from);

	in->at += got;
	if (got == bytes)
		return;
	memset((char *)to + got, 0, bytes - got);
	if (ferror(in->from))
		stream_fail(in, -EIO, "it cannot be read");
	else
		stream_fail(in, -EINVAL, "it ends in the middle");
}

void stream_skip(struct stream_in *in, uint64_t bytes)
{
	char buf[4096];

	while (bytes && !in->ret) {
		size_t part = bytes < sizeof(buf) ? (size_t)bytes : sizeof(buf);

		stream_get(in, buf, part);
		bytes -= part;
	}
}

uint64_t stream_be(struct stream_in *in, unsigned int bytes)
{
	unsigned char buf[8] = { 0 };

	stream_get(in, buf, bytes);
	return tide__get_be(buf, bytes);
}

void stream_text(struct stream_in *in, char to[STREAM_LONGEST_NAME + 1])
{
	size_t length = (size_t)stream_be(in, 1);

	memset(to, 0, STREAM_LONGEST_NAME + 1);
	stream_get(in, to, length);
	if (!in->ret && (!length || strlen(to) != length))
		stream_fail(in, -EINVAL, "a name is empty or has a zero in it");
}
