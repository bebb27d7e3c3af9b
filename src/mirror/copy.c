/* SPDX-License-Identifier: BSD-2-Clause */
#include "mirror/copy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/atomic.h"
#include "transfer/plan.h"
#include "transfer/pump.h"

struct copying {
	const struct mirror_copy *c;
	struct plan plan;
	uint64_t copied_bytes; /* atomic */
};

static int next(void *opaque, struct piece *p, struct tide_error *err)
{
	struct copying *k = opaque;
	int ret;

	do
		ret = plan_next(&k->plan, p, err);
	while (ret > 0 && p->kind == PIECE_SKIP);
	return ret;
}

/* A target that has no zeroes gets them written. */
static int zero(struct copying *k, uint32_t worker, struct piece *p,
		uint8_t *buf, struct tide_error *err)
{
	int ret = nbd_client_zero(k->c->target, worker, p->offset_bytes,
				  p->length_bytes, err);

	if (ret != -ENOTSUP)
		return ret;
	ret = 0;
	memset(buf, 0, PIECE_BYTES);
	for (uint64_t at = 0; at < p->length_bytes && !ret;) {
		uint64_t length = p->length_bytes - at;

		if (length > PIECE_BYTES)
			length = PIECE_BYTES;
		ret = nbd_client_write(k->c->target, worker,
				       p->offset_bytes + at, buf, length,
				       err);
		at += length;
	}
	return ret;
}

static int work(void *opaque, uint32_t worker, struct piece *p,
		uint8_t *buf, struct tide_error *err)
{
	struct copying *k = opaque;
	int ret;

	if (p->kind == PIECE_ZERO)
		return zero(k, worker, p, buf, err);
	rate_take(k->c->rate, p->length_bytes);
	ret = nbd_client_read(k->plan.source, worker, p->offset_bytes, buf,
			      p->length_bytes, err);
	if (!ret)
		ret = nbd_client_write(k->c->target, worker,
				       p->offset_bytes, buf,
				       p->length_bytes, err);
	tide__add_relaxed(&k->copied_bytes, p->length_bytes);
	return ret;
}

int mirror_copy_run(const struct mirror_copy *copy, uint64_t *copied_bytes,
		    struct tide_error *err)
{
	char dirty[1200];
	const struct nbd_client_options o = {
		.dirty = copy->since ? dirty : NULL,
		.connections = copy->jobs,
	};
	struct copying k = { .c = copy };
	struct pump pump = { .jobs = copy->jobs, .next = next,
				    .work = work, .opaque = &k,
				    .stop = copy->stop };
	int ret;

	snprintf(dirty, sizeof(dirty), "qemu:dirty-bitmap:%s",
		 copy->since ? copy->since : "");
	ret = nbd_client_open(copy->source_uri, &o, &k.plan.source, err);
	if (ret)
		return ret;
	ret = pump_run(&pump, err);
	nbd_client_close(k.plan.source);
	*copied_bytes = k.copied_bytes;
	return ret;
}
