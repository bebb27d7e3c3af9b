/* SPDX-License-Identifier: BSD-2-Clause */
#include "bitmaps/writes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define HEAD "t_us,op,offset,length"

struct loading {
	struct writes *w;
	const char *path;
	struct tide_error *err;
	size_t room;
	uint64_t line; /* number of the one that is read */
	char text[160];
	size_t used;
	size_t open; /* a frame that has not ended yet */
};

static int fail(struct loading *l, int code, const char *what)
{
	return tide_error_set(l->err, code, "trace", TIDE_NO_OFFSET,
			      "%.120s: line %" PRIu64 ": %s", l->path, l->line,
			      what);
}

static int keep(struct loading *l, const struct write *one)
{
	struct writes *w = l->w;
	struct write *list;

	if (w->count == WRITES_MAX)
		return fail(l, -EINVAL, "there are too many rows");
	if (w->count == l->room) {
		l->room = l->room * 2 + 1024;
		list = realloc(w->list, l->room * sizeof(*list));
		if (!list)
			return fail(l, -ENOMEM, "no memory");
		w->list = list;
	}
	w->list[w->count++] = *one;
	if (one->offset_bytes + one->length_bytes > w->end_bytes)
		w->end_bytes = one->offset_bytes + one->length_bytes;
	return 0;
}

static int take_line(struct loading *l)
{
	struct write one;
	char op[16], more;

	l->text[l->used] = 0;
	l->used = 0;
	l->line++;
	if (l->line == 1)
		return strcmp(l->text, HEAD) ?
			       fail(l, -EINVAL, "it is not " HEAD) : 0;
	if (sscanf(l->text, "%20" SCNu64 ",%15[a-z_],%20" SCNu64 ",%20" SCNu64
		   "%c", &one.t_us, op, &one.offset_bytes, &one.length_bytes,
		   &more) != 4 || one.offset_bytes > INT64_MAX / 2 ||
	    one.length_bytes > INT64_MAX / 2)
		return fail(l, -EINVAL, "it is no row of such a trace");
	if (!one.length_bytes || (strcmp(op, "write") && strcmp(op, "zero") &&
				  strcmp(op, "trim")))
		return 0;
	return keep(l, &one);
}

static int take(struct loading *l, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		int ret = 0;

		if (text[i] == '\n')
			ret = take_line(l);
		else if (l->used + 1 == sizeof(l->text))
			ret = fail(l, -EINVAL, "it is too long");
		else
			l->text[l->used++] = text[i];
		if (ret)
			return ret;
	}
	return 0;
}

/* A frame, or text as it is: zstd passes nothing of another kind. */
static int unpack(struct loading *l, ZSTD_DStream *z, const char *from,
		  size_t length)
{
	ZSTD_inBuffer in = { from, length, 0 };
	static const size_t room = 1 << 16;
	char *out = malloc(room);
	int ret = out ? 0 : fail(l, -ENOMEM, "no memory");

	while (!ret && in.pos < in.size) {
		ZSTD_outBuffer to = { out, room, 0 };

		l->open = ZSTD_decompressStream(z, &to, &in);
		if (ZSTD_isError(l->open))
			ret = fail(l, -EINVAL, "what follows is damaged");
		else
			ret = take(l, out, to.pos);
	}
	free(out);
	return ret;
}

static int read_all(struct loading *l, FILE *from, ZSTD_DStream *z)
{
	char buf[1 << 14];
	bool packed = false, first = true;
	size_t got;
	int ret = 0;

	while (!ret && (got = fread(buf, 1, sizeof(buf), from))) {
		if (first)
			packed = got >= 4 && !memcmp(buf, "\x28\xb5\x2f\xfd",
						     4);
		first = false;
		ret = packed ? unpack(l, z, buf, got) : take(l, buf, got);
	}
	if (!ret && ferror(from))
		ret = fail(l, -EIO, "it cannot be read");
	if (!ret && l->open)
		ret = fail(l, -EINVAL, "it ends in the middle");
	if (!ret && l->used)
		ret = take_line(l);
	if (!ret && !l->line)
		ret = fail(l, -EINVAL, "it is empty");
	return ret;
}

int writes_load(struct writes *w, const char *path, struct tide_error *err)
{
	struct loading l = { .w = w, .path = path, .err = err };
	FILE *from = fopen(path, "rbe");
	ZSTD_DStream *z;
	int ret;

	memset(w, 0, sizeof(*w));
	if (!from)
		return tide_error_set(err, -errno, "trace", TIDE_NO_OFFSET,
				      "%.120s: %s", path, strerror(errno));
	z = ZSTD_createDStream();
	ret = z ? read_all(&l, from, z) : fail(&l, -ENOMEM, "no memory");
	ZSTD_freeDStream(z);
	fclose(from);
	if (ret)
		writes_fini(w);
	return ret;
}

void writes_fini(struct writes *w)
{
	free(w->list);
	memset(w, 0, sizeof(*w));
}
