/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading an instant: from the disk below what has not changed, from the
 * scratch what was kept, with a second look after each read (internal.h).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "instant/internal.h"

static int dead(struct instant *i, uint64_t offset, struct tide_error *err)
{
	char reason[sizeof(i->reason)];

	pthread_mutex_lock(&i->reason_lock);
	memcpy(reason, i->reason, sizeof(reason));
	pthread_mutex_unlock(&i->reason_lock);
	return tide_error_set(err, -EIO, "instant", offset,
			      "the instant of %.60s is no more: %.150s",
			      i->disk.path, reason);
}

static int gone(const struct instant *i, uint64_t offset,
		struct tide_error *err)
{
	return tide_error_set(err, -EIO, "instant", offset,
			      "%.100s changed at offset %llu since, and that "
			      "was not to be kept", i->disk.path,
			      (unsigned long long)offset);
}

static int read_scratch(const struct instant *i, uint8_t *buf, uint64_t length,
			uint64_t offset, struct tide_error *err)
{
	while (length) {
		ssize_t n = pread(i->scratch, buf, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return tide_error_set(err, -errno, "instant", offset,
					      "reading what was kept of %.100s: "
					      "%s", i->disk.path,
					      strerror(errno));
		if (!n) {
			/* Cut off by an end that the next look will see. */
			memset(buf, 0, length);
			return 0;
		}
		buf += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

/* Bytes from @offset on, at most @length, of which no block has changed. */
static uint64_t untouched(const struct instant *i, uint64_t offset,
			  uint64_t length)
{
	uint64_t first = offset >> i->shift;
	uint64_t end = ((offset + length - 1) >> i->shift) + 1;
	uint64_t stop = instant_shared_next_changed(i->shared, first,
						     end);

	if (stop == end)
		return length;
	return stop == first ? 0 : (stop << i->shift) - offset;
}

/* One block, or a part of it, that has changed. */
static int read_changed(struct instant *i, uint64_t offset, uint8_t *buf,
			uint64_t length, struct tide_error *err)
{
	uint64_t block = offset >> i->shift;
	int ret;

	if (instant_get(i, block) != INSTANT_KEPT)
		return gone(i, offset, err);
	ret = read_scratch(i, buf, length, offset, err);
	if (!ret && instant_get(i, block) != INSTANT_KEPT)
		return gone(i, offset, err);
	return ret;
}

static int instant_read(struct tide_disk *d, uint64_t offset, void *to,
			uint64_t length, struct tide_error *err)
{
	struct instant *i = (struct instant *)d;
	uint64_t block_bytes = UINT64_C(1) << i->shift, step;
	uint8_t *buf = to;
	int ret = 0;

	for (; !ret && length; offset += step, buf += step, length -= step) {
		step = untouched(i, offset, length);
		if (step) {
			ret = tide_disk_read(i->layer->below, offset, buf,
					     step, err);
			/* What changed meanwhile is read again, from there. */
			if (!ret)
				step = untouched(i, offset, step);
			if (ret || step)
				continue;
		}
		step = block_bytes - (offset & (block_bytes - 1));
		step = step < length ? step : length;
		ret = read_changed(i, offset, buf, step, err);
	}
	if (tide__load_seqcst(&i->shared->dead))
		return dead(i, offset, err);
	return ret;
}

static int instant_status(struct tide_disk *d, uint64_t offset,
			  uint64_t length, struct tide_disk_extent *extent,
			  struct tide_error *err)
{
	struct instant *i = (struct instant *)d;
	uint64_t block_bytes = UINT64_C(1) << i->shift, step;
	int ret;

	step = untouched(i, offset, length);
	if (step) {
		ret = tide_disk_status(i->layer->below, offset, step, extent,
				       err);
		if (ret)
			return ret;
		step = untouched(i, offset, extent->length_bytes);
		extent->length_bytes = step;
		/* Where it lies is nobody's business: it may move. */
		extent->flags &= TIDE_EXTENT_HOLE | TIDE_EXTENT_ZERO;
	}
	if (tide__load_seqcst(&i->shared->dead))
		return dead(i, offset, err);
	if (step)
		return 0;
	step = block_bytes - (offset & (block_bytes - 1));
	*extent = (struct tide_disk_extent){
		.length_bytes = step < length ? step : length
	};
	return 0;
}

static int refuse(const struct tide_disk *d, struct tide_error *err)
{
	return tide_error_set(err, -EROFS, "instant", TIDE_NO_OFFSET,
			      "an instant of %.120s does not change", d->path);
}

static int instant_write(struct tide_disk *d, uint64_t offset,
			 const void *buf, uint64_t length,
			 struct tide_error *err)
{
	(void)offset;
	(void)buf;
	(void)length;
	return refuse(d, err);
}

static int instant_zero(struct tide_disk *d, uint64_t offset, uint64_t length,
			uint32_t flags, struct tide_error *err)
{
	(void)offset;
	(void)length;
	(void)flags;
	return refuse(d, err);
}

static int instant_discard(struct tide_disk *d, uint64_t offset,
			   uint64_t length, struct tide_error *err)
{
	(void)offset;
	(void)length;
	return refuse(d, err);
}

static int instant_flush(struct tide_disk *d, struct tide_error *err)
{
	(void)d;
	(void)err;
	return 0;
}

static int instant_resize(struct tide_disk *d, uint64_t size,
			  struct tide_error *err)
{
	(void)size;
	return refuse(d, err);
}

const struct tide_disk_ops tide__instant_ops = {
	.name = "instant",
	.read = instant_read,
	.write = instant_write,
	.zero = instant_zero,
	.discard = instant_discard,
	.flush = instant_flush,
	.status = instant_status,
	.resize = instant_resize,
	.close = instant_close,
};
