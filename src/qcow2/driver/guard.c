/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guard: no byte goes into the image file before the kind map was asked.
 *
 * Guest data may land on no metadata at all; a metadata write may land on its
 * own kind and on nothing else, not even on another kind that shares the
 * cluster: an L2 table that a snapshot uses too must be copied first, and the
 * guard is what finds out when it was not. A hit stops that write before it is
 * submitted, and sets the image's corrupt bit, as the format asks of whoever
 * notices.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "qcow2/driver/qcow2.h"

static int hit_text(struct qcow2 *q, const struct tide_kinds_hit *hit,
		    uint64_t offset, uint64_t length_bytes, const char *request,
		    struct tide_error *err)
{
	uint32_t kind = 0;

	while (kind + 1 < TIDE_KIND_COUNT && !(hit->kinds >> kind & 1))
		kind++;
	return qcow2_mark_corrupt(
		q, err, hit->offset_bytes,
		"%s of %llu bytes at offset %llu would overwrite the %s at "
		"offset %llu; stopped",
		request, (unsigned long long)length_bytes,
		(unsigned long long)offset,
		tide_kind_name((enum tide_kind)kind),
		(unsigned long long)hit->offset_bytes);
}

int qcow2_guard(struct qcow2 *q, uint64_t offset, uint64_t length_bytes,
		uint32_t kinds, const char *request, struct tide_error *err)
{
	struct tide_kinds_hit hit;

	if (!q->guarded)
		return 0;
	q->guard_checks++;
	if (!tide_kinds_check(q->kinds, offset, length_bytes, kinds, &hit))
		return 0;
	q->guard_hits++;
	return hit_text(q, &hit, offset, length_bytes, request, err);
}

int qcow2_write_meta(struct qcow2 *q, uint64_t offset, const void *bytes,
		     uint64_t length_bytes, uint32_t kinds, bool locked,
		     struct tide_error *err)
{
	int ret;

	if (!locked)
		pthread_mutex_lock(&q->lock);
	ret = qcow2_guard(q, offset, length_bytes, kinds, "a metadata write",
			  err);
	if (!locked)
		pthread_mutex_unlock(&q->lock);
	if (ret < 0)
		return ret;
	return tide_disk_write(q->file, offset, bytes, length_bytes, err);
}

int qcow2_mark_corrupt(struct qcow2 *q, struct tide_error *err,
		       uint64_t offset, const char *format, ...)
{
	char why[sizeof(q->why_broken)];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	if (q->disk.writable && q->broken == 0) {
		q->broken = -EIO;
		memcpy(q->why_broken, why, sizeof(why));
		q->header.incompatible |= QCOW2_INCOMPAT_CORRUPT;
		/* Best effort: memory refuses further writes in any case. */
		if (q->header.version >= 3)
			(void)qcow2_header_store(q, NULL);
	}
	return tide_error_set(err, -EIO, "qcow2", offset, "%s: %s",
			      q->disk.path, why);
}
