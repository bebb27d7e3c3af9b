/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbd/diff.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

#define BANNER_BYTES 12u

static int bad(const struct ceph_diff *d, const char *what,
	       struct tide_error *err)
{
	return tide_error_set(err, -EBADMSG, "rbd", d->at_bytes,
			      "%.120s: at byte %llu: %s", d->path,
			      (unsigned long long)d->at_bytes, what);
}

static int take(struct ceph_diff *d, void *buf, size_t n,
		struct tide_error *err)
{
	if (fread(buf, 1, n, d->file) == n) {
		d->at_bytes += n;
		return 0;
	}
	if (ferror(d->file))
		return tide_error_set(err, -EIO, "rbd", d->at_bytes,
				      "%.120s: it cannot be read", d->path);
	return bad(d, "the stream ends in the middle", err);
}

static int take_number(struct ceph_diff *d, uint64_t *value,
		       unsigned int bytes, struct tide_error *err)
{
	unsigned char raw[8];
	int ret = take(d, raw, bytes, err);

	*value = ret ? 0 : tide__get_le(raw, bytes);
	return ret;
}

/* Not by seeking: it may be a pipe, and the end must be there. */
static int pass(struct ceph_diff *d, uint64_t bytes, struct tide_error *err)
{
	char buf[4096];
	int ret = 0;

	while (bytes && !ret) {
		size_t n = bytes < sizeof(buf) ? (size_t)bytes : sizeof(buf);

		ret = take(d, buf, n, err);
		bytes -= n;
	}
	return ret;
}

static int take_tag(struct ceph_diff *d, struct tide_error *err)
{
	unsigned char tag;
	int ret = take(d, &tag, 1, err);

	d->tag = ret ? 0 : tag;
	return ret;
}

static int take_snap(struct ceph_diff *d, char to[CEPH_MAX_SNAP],
		     uint64_t room, struct tide_error *err)
{
	uint64_t n;
	int ret = take_number(d, &n, 4, err);

	if (ret)
		return ret;
	if (n >= CEPH_MAX_SNAP || (d->records_say_length && n + 4 != room))
		return bad(d, "no snapshot has a name of that length", err);
	ret = take(d, to, (size_t)n, err);
	to[n] = 0;
	if (!ret && strlen(to) != n)
		ret = bad(d, "a snapshot's name has a zero in it", err);
	return ret;
}

/* What stands before the data; @room: how long it says it is, in version 2. */
static int take_fact(struct ceph_diff *d, uint64_t room, bool *sized,
		     struct tide_error *err)
{
	switch (d->tag) {
	case 'f':
		return take_snap(d, d->from, room, err);
	case 't':
		return take_snap(d, d->to, room, err);
	case 's':
		if (d->records_say_length && room != 8)
			return bad(d, "a size has eight bytes", err);
		*sized = true;
		return take_number(d, &d->size_bytes, 8, err);
	default:
		if (!d->records_say_length)
			return bad(d, "a record of an unknown kind", err);
		/* Ceph says eight bytes of this one, and writes one. */
		return pass(d, d->tag == 'p' ? 1 : room, err);
	}
}

static bool is_data(int tag)
{
	return tag == 'w' || tag == 'z' || tag == 'e';
}

int ceph_diff_open(struct ceph_diff *d, FILE *file, const char *path,
		   struct tide_error *err)
{
	char banner[BANNER_BYTES];
	bool sized = false;
	uint64_t room = 0;
	int ret;

	*d = (struct ceph_diff){ .file = file, .path = path };
	ret = take(d, banner, sizeof(banner), err);
	if (ret)
		return ret;
	d->records_say_length = !memcmp(banner, "rbd diff v2\n", BANNER_BYTES);
	if (!d->records_say_length &&
	    memcmp(banner, "rbd diff v1\n", BANNER_BYTES))
		return bad(d, "it is not a stream of rbd export-diff", err);
	ret = take_tag(d, err);
	while (!ret && !is_data(d->tag)) {
		if (d->records_say_length)
			ret = take_number(d, &room, 8, err);
		if (!ret)
			ret = take_fact(d, room, &sized, err);
		if (!ret)
			ret = take_tag(d, err);
	}
	if (!ret && (!sized || d->size_bytes > INT64_MAX))
		ret = bad(d, "it does not say how large the image is", err);
	return ret;
}

static int take_range(struct ceph_diff *d, struct ceph_diff_record *r,
		      struct tide_error *err)
{
	uint64_t room = 0;
	int ret = d->records_say_length ? take_number(d, &room, 8, err) : 0;

	r->zero = d->tag == 'z';
	if (!ret)
		ret = take_number(d, &r->offset_bytes, 8, err);
	if (!ret)
		ret = take_number(d, &r->length_bytes, 8, err);
	if (ret)
		return ret;
	if (r->offset_bytes > d->size_bytes ||
	    r->length_bytes > d->size_bytes - r->offset_bytes)
		return bad(d, "a record lies outside of the image", err);
	if (d->records_say_length &&
	    room != 16 + (r->zero ? 0 : r->length_bytes))
		return bad(d, "a record's length is not that of its data",
			   err);
	d->left_bytes = r->zero ? 0 : r->length_bytes;
	return 0;
}

int ceph_diff_next(struct ceph_diff *d, struct ceph_diff_record *r,
		   struct tide_error *err)
{
	uint64_t room;
	int ret = pass(d, d->left_bytes, err);

	d->left_bytes = 0;
	while (!ret) {
		if (!d->tag)
			ret = take_tag(d, err);
		if (ret || d->tag == 'e')
			return ret;
		if (is_data(d->tag)) {
			ret = take_range(d, r, err);
			d->tag = 0;
			return ret ? ret : 1;
		}
		if (!d->records_say_length || strchr("fts", d->tag))
			return bad(d, "a record where none of its kind may be",
				   err);
		ret = take_number(d, &room, 8, err);
		if (!ret)
			ret = pass(d, room, err);
		d->tag = 0;
	}
	return ret;
}

int ceph_diff_read(struct ceph_diff *d, void *buf, uint64_t length_bytes,
		   struct tide_error *err)
{
	int ret = take(d, buf, (size_t)length_bytes, err);

	if (!ret)
		d->left_bytes -= length_bytes;
	return ret;
}

/* --- writing -------------------------------------------------------------- */

static int put(FILE *file, const void *buf, uint64_t length_bytes)
{
	errno = 0;
	if (fwrite(buf, 1, (size_t)length_bytes, file) == length_bytes)
		return 0;
	return errno ? -errno : -EIO;
}

static int put_snap(FILE *file, char tag, const char *name)
{
	unsigned char head[5] = { (unsigned char)tag };
	size_t n = strlen(name);
	int ret;

	tide__put_le(head + 1, n, 4);
	ret = put(file, head, sizeof(head));
	return ret ? ret : put(file, name, n);
}

int ceph_diff_put_begin(FILE *file, const char *from, const char *to,
			uint64_t size_bytes)
{
	unsigned char size[9] = { 's' };
	int ret = put(file, "rbd diff v1\n", BANNER_BYTES);

	tide__put_le(size + 1, size_bytes, 8);
	if (!ret && from)
		ret = put_snap(file, 'f', from);
	if (!ret && to)
		ret = put_snap(file, 't', to);
	return ret ? ret : put(file, size, sizeof(size));
}

static int put_range(FILE *file, char tag, uint64_t offset_bytes,
		     uint64_t length_bytes)
{
	unsigned char head[17] = { (unsigned char)tag };

	tide__put_le(head + 1, offset_bytes, 8);
	tide__put_le(head + 9, length_bytes, 8);
	return put(file, head, sizeof(head));
}

int ceph_diff_put_data(FILE *file, uint64_t offset_bytes, const void *buf,
		       uint64_t length_bytes)
{
	int ret = put_range(file, 'w', offset_bytes, length_bytes);

	return ret ? ret : put(file, buf, length_bytes);
}

int ceph_diff_put_zeroes(FILE *file, uint64_t offset_bytes,
			 uint64_t length_bytes)
{
	return put_range(file, 'z', offset_bytes, length_bytes);
}

int ceph_diff_put_end(FILE *file)
{
	return put(file, "e", 1);
}
