/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a file may look like after a crash.
 *
 * The log is replayed in order on a copy of the file as it was opened. What is
 * durable is replayed whole; of what is not, each event keeps a random share
 * of its sectors, none and all included. In order, because a sector's older
 * version never comes over a newer one; a sector that was left out shows the
 * version before, which is what a reordering of writes looks like.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recorder_internal.h"

#define SECTOR 512u

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static int set_size(struct recorder_image *image, uint64_t size)
{
	uint8_t *bytes = realloc(image->bytes, size + 1);

	if (!bytes)
		return -ENOMEM;
	if (size > image->size_bytes)
		memset(bytes + image->size_bytes, 0, size - image->size_bytes);
	image->bytes = bytes;
	image->size_bytes = size;
	return 0;
}

/* [from, to) of the file, as @e leaves it. */
static int apply_part(struct recorder_image *image,
		      const struct recorder_event *e, uint64_t from,
		      uint64_t to)
{
	if (e->op != RECORDER_WRITE && to > image->size_bytes)
		to = image->size_bytes;
	if (from >= to)
		return 0;
	if (to > image->size_bytes && set_size(image, to))
		return -ENOMEM;
	if (e->op == RECORDER_WRITE)
		memcpy(image->bytes + from, e->data + (from - e->offset_bytes),
		       to - from);
	else
		memset(image->bytes + from, 0, to - from);
	return 0;
}

static int apply(struct recorder_image *image, const struct recorder_event *e)
{
	if (e->op == RECORDER_FLUSH)
		return 0;
	if (e->op == RECORDER_RESIZE)
		return e->result ? 0 : set_size(image, e->length_bytes);
	if (e->op != RECORDER_WRITE && e->result)
		return 0;
	return apply_part(image, e, e->offset_bytes,
			  e->offset_bytes + e->length_bytes);
}

/* Of 8 events two are lost whole, two kept whole, four are torn. */
static int apply_some(struct recorder_image *image,
		      const struct recorder_event *e, uint64_t *seed)
{
	uint64_t mode = next_random(seed) % 8;
	uint64_t end = e->offset_bytes + e->length_bytes, to;
	int ret = 0;

	if (mode < 2)
		return 0;
	if (mode < 4 || e->op == RECORDER_RESIZE)
		return apply(image, e);
	if (e->op == RECORDER_FLUSH || (e->op != RECORDER_WRITE && e->result))
		return 0;
	for (uint64_t at = e->offset_bytes; at < end && !ret; at = to) {
		to = (at / SECTOR + 1) * SECTOR;
		if (to > end)
			to = end;
		if (next_random(seed) & 1)
			ret = apply_part(image, e, at, to);
	}
	return ret;
}

/* Events that had returned when the log was so long are durable. */
static uint64_t durable_before(const struct recorder *r, uint64_t prefix)
{
	uint64_t durable = 0;

	for (uint64_t i = 0; i < prefix; i++)
		if (r->events[i].op == RECORDER_FLUSH &&
		    !r->events[i].result && r->events[i].finished <= prefix)
			durable = i;
	return durable;
}

int recorder_crash(const struct recorder *r, uint64_t prefix, uint64_t seed,
		   struct recorder_image *out)
{
	struct recorder_image image = { 0 };
	uint64_t durable;
	int ret;

	if (prefix > r->count)
		prefix = r->count;
	durable = durable_before(r, prefix);
	ret = set_size(&image, r->base.size_bytes);
	if (!ret)
		memcpy(image.bytes, r->base.bytes, r->base.size_bytes);
	for (uint64_t i = 0; i < prefix && !ret; i++) {
		const struct recorder_event *e = &r->events[i];

		if (!seed || e->finished <= durable)
			ret = apply(&image, e);
		else
			ret = apply_some(&image, e, &seed);
	}
	if (ret) {
		free(image.bytes);
		return ret;
	}
	*out = image;
	return 0;
}

int recorder_image_save(const struct recorder_image *image, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	uint64_t at = 0;

	if (fd < 0)
		return -errno;
	while (at < image->size_bytes) {
		ssize_t n = write(fd, image->bytes + at,
				  image->size_bytes - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int code = n ? -errno : -EIO;

			close(fd);
			return code;
		}
		at += (uint64_t)n;
	}
	return close(fd) ? -errno : 0;
}

void recorder_image_free(struct recorder_image *image)
{
	free(image->bytes);
	*image = (struct recorder_image){ 0 };
}
