/* SPDX-License-Identifier: BSD-2-Clause */
#include "mirror/copy.h"

#include <errno.h>
#include <stdio.h>

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
static int zero(struct copying *k, uint32_t worker, const struct piece *p,
		struct tide_error *err)
{
	static const uint8_t zeroes[CHUNK_BYTES];
	int ret = nbd_client_zero(k->c->target, worker, p->offset_bytes,
				  p->length_bytes, err);
	uint64_t length;

	if (ret != -ENOTSUP)
		return ret;
	ret = 0;
	for (uint64_t at = 0; at < p->length_bytes && !ret; at += length) {
		length = p->length_bytes - at;
		if (length > sizeof(zeroes))
			length = sizeof(zeroes);
		ret = nbd_client_write(k->c->target, worker,
				       p->offset_bytes + at, zeroes, length,
				       err);
	}
	return ret;
}

/* All of a batch is asked for at once, and then all of it written. */
static int carry(void *opaque, uint32_t worker, struct piece *list,
		 size_t count, struct tide_error *err)
{
	struct copying *k = opaque;
	uint64_t bytes = 0;
	int ret;

	for (size_t i = 0; i < count; i++)
		bytes += list[i].kind == PIECE_DATA ? list[i].length_bytes : 0;
	rate_take(k->c->rate, bytes);
	ret = nbd_client_fetch(k->c->source, worker, list, count, err);
	if (!ret)
		ret = nbd_client_store(k->c->target, worker, list, count, err);
	tide__add_relaxed(&k->copied_bytes, bytes);
	return ret;
}

/* What is left of a batch. */
static int work(void *opaque, uint32_t worker, struct piece *p,
		uint8_t *buf, struct tide_error *err)
{
	(void)buf;
	return p->kind == PIECE_ZERO ? zero(opaque, worker, p, err) : 0;
}

int mirror_copy_open(const char *uri, const char *since, uint32_t jobs,
		     struct nbd_client **out, struct tide_error *err)
{
	char dirty[1200];
	const struct nbd_client_options o = {
		.dirty = since ? dirty : NULL, .connections = jobs,
	};

	snprintf(dirty, sizeof(dirty), "qemu:dirty-bitmap:%s",
		 since ? since : "");
	return nbd_client_open(uri, &o, out, err);
}

int mirror_copy_run(const struct mirror_copy *copy, uint64_t *copied_bytes,
		    struct tide_error *err)
{
	struct copying k = { .c = copy, .plan = { .source = copy->source } };
	struct pump pump = { .jobs = copy->jobs, .next = next,
			     .fetch = carry, .work = work, .opaque = &k,
			     .stop = copy->stop };
	int ret = pump_run(&pump, err);

	*copied_bytes = k.copied_bytes;
	return ret;
}
