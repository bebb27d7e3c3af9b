/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Did the tracker tell the truth? Everything of the disk is read and held
 * against the digests of the newest point: what the server says is unchanged
 * must be equal; of what it says changed, the rest was copied for nothing.
 */
#include <errno.h>
#include <string.h>

#include "backup/chain.h"
#include "backup/restore.h"
#include "base/atomic.h"
#include "transfer/plan.h"

struct truth {
	const struct backup_verify_options *o;
	struct backup_chain chain;
	struct plan plan;
	struct nbd_client *source;
	struct backup_truth *out; /* in finish */
};

/* The entry's count becomes 0 where it is another one. */
static void compare(struct piece *p, const uint8_t *buf)
{
	for (uint64_t at = 0; at < p->length_bytes; at += CHUNK_BYTES) {
		struct chunk_entry *e = &p->chunks[at >> CHUNK_SHIFT];
		uint64_t n = p->length_bytes - at;
		struct chunk_digest d;
		bool zero;

		n = n < CHUNK_BYTES ? n : CHUNK_BYTES;
		zero = chunk_is_zero(buf + at, n);
		if (!zero)
			d = chunk_digest_of(buf + at, n);
		if (zero != e->zero ||
		    (!zero && memcmp(&d, &e->digest, sizeof(d))))
			e->count = 0;
	}
}

static bool is_sampled(const struct truth *t, const struct piece *p)
{
	uint64_t x = (p->offset_bytes ^ t->o->seed) * 0x9e3779b97f4a7c15ull;

	return t->o->sample_ppm >= 1000000 ||
	       (x >> 20) % 1000000 < t->o->sample_ppm;
}

static int work(void *opaque, uint32_t worker, struct piece *p,
		uint8_t *buf, struct tide_error *err)
{
	struct truth *t = opaque;
	int ret;

	if (p->kind == PIECE_ZERO)
		return 0;
	if (!is_sampled(t, p)) {
		p->kind = PIECE_SKIP;
		return 0;
	}
	ret = nbd_client_read(t->source, worker, p->offset_bytes, buf,
			      p->length_bytes, err);
	if (!ret)
		compare(p, buf);
	return ret;
}

static void count(struct truth *t, const struct piece *p,
		  uint64_t offset, uint64_t length, bool equal)
{
	struct backup_truth *o = t->out;

	if (p->flags & EXTENT_DIRTY) {
		o->changed_bytes += length;
		o->equal_bytes += equal ? length : 0;
		return;
	}
	o->unchanged_bytes += length;
	if (equal)
		return;
	if (!o->missed_bytes)
		o->first_missed = offset;
	o->missed_bytes += length;
}

/* A run that the server says is zeroes, chunk by chunk only where listed. */
static int count_zeroes(struct truth *t, const struct piece *p,
			struct tide_error *err)
{
	uint64_t chunk = p->offset_bytes >> CHUNK_SHIFT, at;
	uint64_t end = chunk + chunk_count(p->length_bytes);
	uint64_t size = p->offset_bytes + p->length_bytes, n;
	struct chunk_entry e;
	size_t layer;
	int ret = 0;

	while (!ret && chunk < end) {
		uint64_t listed = chunk;

		ret = chain_next_listed(&t->chain, &listed, err);
		if (listed < chunk || listed > end)
			listed = end; /* past the end of the point */
		at = chunk << CHUNK_SHIFT;
		if (!ret && listed > chunk) {
			n = (listed << CHUNK_SHIFT) < size ?
				    (listed << CHUNK_SHIFT) : size;
			count(t, p, at, n - at, true);
			chunk = listed;
			continue;
		}
		if (!ret)
			ret = chain_expect(&t->chain, chunk, &e, &layer, err);
		n = size - at < CHUNK_BYTES ? size - at :
						     CHUNK_BYTES;
		if (!ret)
			count(t, p, at, n, e.zero);
		chunk++;
	}
	return ret;
}

static int next(void *opaque, struct piece *p, struct tide_error *err)
{
	struct truth *t = opaque;
	uint64_t chunk;
	size_t layer;
	int ret = plan_next(&t->plan, p, err);

	/* The digests move on with what comes next: now or never. */
	if (ret > 0 && p->kind == PIECE_ZERO) {
		int bad = count_zeroes(t, p, err);

		return bad ? bad : ret;
	}
	chunk = p->offset_bytes >> CHUNK_SHIFT;
	for (uint64_t i = 0; ret > 0 && p->kind == PIECE_DATA &&
			     i < chunk_count(p->length_bytes); i++) {
		int bad = chain_expect(&t->chain, chunk + i, &p->chunks[i],
				       &layer, err);

		ret = bad ? bad : ret;
	}
	return ret;
}

static int finish(void *opaque, struct piece *p, struct tide_error *err)
{
	struct truth *t = opaque;

	(void)err;
	if (p->kind == PIECE_DATA)
		for (uint64_t at = 0; at < p->length_bytes;
		     at += CHUNK_BYTES) {
			uint64_t left = p->length_bytes - at;

			count(t, p, p->offset_bytes + at,
			      left < CHUNK_BYTES ? left :
							  CHUNK_BYTES,
			      p->chunks[at >> CHUNK_SHIFT].count);
		}
	if (t->o->progress)
		t->o->progress(t->o->opaque, "disk",
			       p->offset_bytes + p->length_bytes,
			       nbd_client_size(t->source));
	return 0;
}

int backup_verify_disk(const struct backup_folder *f,
		       const struct backup_point *p,
		       struct nbd_client *source,
		       const struct backup_verify_options *o,
		       struct backup_truth *out, struct tide_error *err)
{
	struct truth t = { .o = o, .source = source, .out = out,
			   .plan = { .source = source, .all = true } };
	struct pump pump = { .jobs = o->jobs, .next = next,
				    .work = work, .finish = finish,
				    .opaque = &t, .stop = o->stop };
	int ret = chain_open(f, p, &t.chain, err);

	memset(out, 0, sizeof(*out));
	if (ret)
		return ret;
	ret = pump_run(&pump, err);
	chain_close(&t.chain);
	return ret;
}
