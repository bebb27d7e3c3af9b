/* SPDX-License-Identifier: BSD-2-Clause */
#include "mirror/copy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backup/plan.h"
#include "backup/pump.h"
#include "base/atomic.h"

struct copying {
	const struct mirror_copy *c;
	struct backup_plan plan;
	uint64_t copied_bytes; /* atomic */
};

static int next(void *opaque, struct backup_piece *p, struct tide_error *err)
{
	struct copying *k = opaque;
	int ret;

	do
		ret = backup_plan_next(&k->plan, p, err);
	while (ret > 0 && p->kind == BACKUP_SKIP);
	return ret;
}

/* A target that has no zeroes gets them written. */
static int zero(struct copying *k, uint32_t worker, struct backup_piece *p,
		uint8_t *buf, struct tide_error *err)
{
	int ret = backup_source_zero(k->c->target, worker, p->offset_bytes,
				     p->length_bytes, err);

	if (ret != -ENOTSUP)
		return ret;
	ret = 0;
	memset(buf, 0, BACKUP_PIECE_BYTES);
	for (uint64_t at = 0; at < p->length_bytes && !ret;) {
		uint64_t length = p->length_bytes - at;

		if (length > BACKUP_PIECE_BYTES)
			length = BACKUP_PIECE_BYTES;
		ret = backup_source_write(k->c->target, worker,
					  p->offset_bytes + at, buf, length,
					  err);
		at += length;
	}
	return ret;
}

static int work(void *opaque, uint32_t worker, struct backup_piece *p,
		uint8_t *buf, struct tide_error *err)
{
	struct copying *k = opaque;
	int ret;

	if (p->kind == BACKUP_ZERO)
		return zero(k, worker, p, buf, err);
	backup_rate_take(k->c->rate, p->length_bytes);
	ret = backup_source_read(k->plan.source, worker, p->offset_bytes, buf,
				 p->length_bytes, err);
	if (!ret)
		ret = backup_source_write(k->c->target, worker,
					  p->offset_bytes, buf,
					  p->length_bytes, err);
	tide__add_relaxed(&k->copied_bytes, p->length_bytes);
	return ret;
}

int mirror_copy_run(const struct mirror_copy *copy, uint64_t *copied_bytes,
		    struct tide_error *err)
{
	char dirty[1200];
	const struct backup_source_options o = {
		.dirty = copy->since ? dirty : NULL,
		.connections = copy->jobs,
	};
	struct copying k = { .c = copy };
	struct backup_pump pump = { .jobs = copy->jobs, .next = next,
				    .work = work, .opaque = &k,
				    .stop = copy->stop };
	int ret;

	snprintf(dirty, sizeof(dirty), "qemu:dirty-bitmap:%s",
		 copy->since ? copy->since : "");
	ret = backup_source_open(copy->source_uri, &o, &k.plan.source, err);
	if (ret)
		return ret;
	ret = backup_pump_run(&pump, err);
	backup_source_close(k.plan.source);
	*copied_bytes = k.copied_bytes;
	return ret;
}
