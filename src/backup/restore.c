/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/restore.h"

#include <errno.h>
#include <string.h>

#include "backup/chain.h"
#include "backup/target.h"
#include "base/atomic.h"
#include "transfer/pump.h"

enum pass_kind { RESTORING, READING_BACK, CHECKING };

/* One walk over a point. */
struct pass {
	enum pass_kind kind;
	struct backup_chain chain;
	struct backup_target *target;
	uint64_t at; /* bytes; a chunk's beginning */
	uint32_t sample_ppm;
	uint64_t seed;
	uint64_t bytes; /* atomic: written or compared */
	backup_progress *progress;
	void *opaque;
};

static int next(void *opaque, struct piece *p, struct tide_error *err)
{
	struct pass *s = opaque;

	return chain_take(&s->chain, &s->at, p, err);
}

/* Always the same ones for a seed. */
static bool is_sampled(const struct pass *s, const struct piece *p)
{
	uint64_t x = (p->offset_bytes ^ s->seed) * 0x9e3779b97f4a7c15ull;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ull;
	return s->sample_ppm >= 1000000 || (x >> 16) % 1000000 < s->sample_ppm;
}

/* A gap of a single image: it says nothing there. */
static int check_gap(struct pass *s, const struct piece *p,
		     struct tide_error *err)
{
	uint64_t at = p->offset_bytes, end = at + p->length_bytes;
	struct tide_disk_extent x;
	int ret = 0;

	while (!ret && at < end) {
		ret = tide_disk_status(s->chain.disk, at, end - at, &x, err);
		if (!ret && !(x.flags & TIDE_EXTENT_HOLE))
			ret = tide_error_set(err, -EBADMSG, "backup", at,
				"%s: something lies at offset %llu of which "
				"its digests do not know",
				s->chain.point->image,
				(unsigned long long)at);
		at += x.length_bytes;
	}
	return ret;
}

/* What must be zeroes is, in a target. */
static int read_gap(struct pass *s, uint32_t worker,
		    const struct piece *p, uint8_t *buf,
		    struct tide_error *err)
{
	uint64_t at = p->offset_bytes, end = at + p->length_bytes, n;
	int ret = 0;

	for (; !ret && at < end; at += n) {
		n = end - at < PIECE_BYTES ? end - at :
						    PIECE_BYTES;
		ret = target_read(s->target, worker, at, buf, n, err);
		if (!ret && !chunk_is_zero(buf, n))
			ret = chain_differs(&s->chain, s->target->path,
					    at >> CHUNK_SHIFT, err);
	}
	tide__add_relaxed(&s->bytes, p->length_bytes);
	return ret;
}

static int work_gap(struct pass *s, uint32_t worker,
		    const struct piece *p, uint8_t *buf,
		    struct tide_error *err)
{
	switch (s->kind) {
	case RESTORING:
		return target_zero(s->target, worker, p->offset_bytes,
				   p->length_bytes, err);
	case READING_BACK:
		return read_gap(s, worker, p, buf, err);
	default:
		return check_gap(s, p, err);
	}
}

/* Runs of data are written, zeroes are left or zeroed. */
static int put(struct pass *s, uint32_t worker, const struct piece *p,
	       const uint8_t *buf, struct tide_error *err)
{
	int ret = 0;
	uint64_t n;

	for (uint64_t at = 0; at < p->length_bytes && !ret; at += n) {
		bool zero;

		n = piece_run(p, at, &zero);
		if (!zero)
			tide__add_relaxed(&s->bytes, n);
		ret = zero ? target_zero(s->target, worker,
					 p->offset_bytes + at, n, err) :
			     target_write(s->target, worker,
					  p->offset_bytes + at, buf + at, n,
					  err);
	}
	return ret;
}

static int work(void *opaque, uint32_t worker, struct piece *p,
		uint8_t *buf, struct tide_error *err)
{
	struct pass *s = opaque;
	bool back = s->kind == READING_BACK;
	int ret;

	if (p->kind == PIECE_ZERO)
		return work_gap(s, worker, p, buf, err);
	if (s->kind == CHECKING && !is_sampled(s, p))
		return 0;
	ret = back ? target_read(s->target, worker, p->offset_bytes, buf,
				 p->length_bytes, err) :
		     tide_disk_read(s->chain.disk, p->offset_bytes, buf,
				    p->length_bytes, err);
	if (!ret)
		ret = chain_check(&s->chain, p, buf, back ? s->target->path :
				  s->chain.point->image, err);
	if (!ret && s->kind == RESTORING)
		return put(s, worker, p, buf, err);
	tide__add_relaxed(&s->bytes, p->length_bytes);
	return ret;
}

static int finish(void *opaque, struct piece *p, struct tide_error *err)
{
	struct pass *s = opaque;

	(void)err;
	if (s->progress)
		s->progress(s->opaque, s->chain.point->image,
			    p->offset_bytes + p->length_bytes,
			    s->chain.point->size_bytes);
	return 0;
}

static int run_pass(struct pass *s, uint32_t jobs, const bool *stop,
		    struct tide_error *err)
{
	struct pump pump = { .jobs = jobs, .next = next, .work = work,
				    .finish = finish, .opaque = s,
				    .stop = stop };

	return pump_run(&pump, err);
}

static int walk(const struct backup_folder *f, const struct backup_point *p,
		const struct backup_restore_options *o,
		struct backup_target *t, enum pass_kind kind, uint64_t *bytes,
		struct tide_error *err)
{
	struct pass s = { .kind = kind, .target = t, .progress = o->progress,
			  .opaque = o->opaque };
	int ret = chain_open(f, p, &s.chain, err);

	if (ret)
		return ret;
	ret = run_pass(&s, o->jobs, o->stop, err);
	chain_close(&s.chain);
	*bytes = s.bytes;
	return ret;
}

int backup_restore(const struct backup_folder *f, const struct backup_point *p,
		   const struct backup_restore_options *o,
		   struct backup_restored *out, struct tide_error *err)
{
	struct backup_target t;
	int ret, closed;

	memset(out, 0, sizeof(*out));
	ret = target_open(&t, o->to, o->format, p->size_bytes, o->jobs,
			  o->force, err);
	if (ret)
		return ret;
	ret = walk(f, p, o, &t, RESTORING, &out->data_bytes, err);
	if (!ret)
		ret = target_flush(&t, err);
	if (!ret && o->verify)
		ret = walk(f, p, o, &t, READING_BACK, &out->verified_bytes,
			   err);
	closed = target_close(&t, !ret, ret ? NULL : err);
	return ret ? ret : closed;
}

int backup_verify_point(const struct backup_folder *f,
			const struct backup_point *p,
			const struct backup_verify_options *o,
			uint64_t *read_bytes, struct tide_error *err)
{
	struct pass s = { .kind = CHECKING, .sample_ppm = o->sample_ppm,
			  .seed = o->seed, .progress = o->progress,
			  .opaque = o->opaque };
	int ret = chain_open_layer(f, p, &s.chain, err);

	if (ret)
		return ret;
	ret = run_pass(&s, o->jobs, o->stop, err);
	chain_close(&s.chain);
	*read_bytes += s.bytes;
	return ret;
}
