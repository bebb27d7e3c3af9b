/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copying: pieces that the server's status names are read, looked at chunk by
 * chunk, and laid down compressed. In a full point a chunk of zeroes is one
 * that is not there; in an incremental one it must be said, or the image below
 * would show through.
 */
#include "backup/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/plan.h"
#include "base/atomic.h"
#include "disk/disk.h"
#include "qcow2/driver/compress.h"
#include "qcow2/driver/create.h"

struct copying {
	const struct backup_copy *c;
	struct plan plan;
	struct tide_disk *image;
	struct qcow2_packer **packers; /* of each worker */
	struct digests_writer digests;
	uint64_t data_bytes, zero_bytes, stored_bytes; /* atomic */
};

static int next(void *opaque, struct piece *p, struct tide_error *err)
{
	struct copying *k = opaque;
	int ret;

	do {
		ret = plan_next(&k->plan, p, err);
	} while (ret > 0 && (p->kind == PIECE_SKIP ||
			     (p->kind == PIECE_ZERO && !k->c->parent)));
	return ret;
}

static int zero(struct copying *k, uint64_t offset, uint64_t length,
		struct tide_error *err)
{
	tide__add_relaxed(&k->zero_bytes, length);
	if (!k->c->parent)
		return 0;
	return tide_disk_zero(k->image, offset, length, TIDE_ZERO_MAY_UNMAP,
			      err);
}

static int store_chunk(struct copying *k, struct qcow2_packer *packer,
		       struct chunk_entry *e, const uint8_t *buf,
		       uint64_t offset, uint64_t length,
		       struct tide_error *err)
{
	uint64_t stored;
	int ret;

	e->chunk = offset >> CHUNK_SHIFT;
	e->count = 1;
	e->zero = chunk_is_zero(buf, length);
	if (e->zero)
		return zero(k, offset, length, err);
	e->digest = chunk_digest_of(buf, length);
	ret = qcow2_packer_write(packer, offset, buf, length, &stored, err);
	if (ret)
		return ret;
	tide__add_relaxed(&k->data_bytes, length);
	tide__add_relaxed(&k->stored_bytes, stored);
	return 0;
}

static int work(void *opaque, uint32_t worker, struct piece *p,
		uint8_t *buf, struct tide_error *err)
{
	struct copying *k = opaque;
	int ret;

	if (p->kind == PIECE_ZERO)
		return zero(k, p->offset_bytes, p->length_bytes, err);
	rate_take(k->c->rate, p->length_bytes);
	ret = nbd_client_read(k->c->source, worker, p->offset_bytes, buf,
			      p->length_bytes, err);
	for (uint64_t at = 0; !ret && at < p->length_bytes;
	     at += CHUNK_BYTES) {
		uint64_t left = p->length_bytes - at;

		ret = store_chunk(k, k->packers[worker],
				  &p->chunks[at >> CHUNK_SHIFT],
				  buf + at, p->offset_bytes + at,
				  left < CHUNK_BYTES ?
					  left : CHUNK_BYTES, err);
	}
	return ret;
}

/* In a full point, zeroes are what is not listed. */
static int note(struct copying *k, const struct chunk_entry *e,
		struct tide_error *err)
{
	return e->zero && !k->c->parent ? 0 : digests_add(&k->digests, e, err);
}

static int finish(void *opaque, struct piece *p, struct tide_error *err)
{
	struct copying *k = opaque;
	const struct backup_copy *c = k->c;
	uint64_t end = p->offset_bytes + p->length_bytes;
	uint64_t chunks = chunk_count(p->length_bytes);
	int ret = 0;

	if (p->kind == PIECE_ZERO)
		ret = note(k, &(struct chunk_entry){
			.chunk = p->offset_bytes >> CHUNK_SHIFT,
			.count = chunks, .zero = true }, err);
	else
		for (uint64_t i = 0; i < chunks && !ret; i++)
			ret = note(k, &p->chunks[i], err);
	if (c->progress)
		c->progress(c->opaque, c->disk, end,
			    nbd_client_size(c->source));
	return ret;
}

static int make_packers(struct copying *k, struct tide_error *err)
{
	int ret = 0;

	k->packers = calloc(k->c->jobs, sizeof(struct qcow2_packer *));
	if (!k->packers)
		return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
				      "no memory for %u threads", k->c->jobs);
	for (uint32_t i = 0; i < k->c->jobs && !ret; i++)
		ret = qcow2_packer_create(k->image, 0, &k->packers[i], err);
	return ret;
}

static int make_image(struct copying *k, const char *path,
		      struct tide_error *err)
{
	const struct backup_point *parent = k->c->parent;
	struct qcow2_create_options o = {
		.size_bytes = nbd_client_size(k->c->source),
		.default_refcounts = true,
		.cluster_bits = CHUNK_SHIFT,
		.zstd = true,
		.backing_name = parent ? parent->image : NULL,
		.backing_format = parent ? "qcow2" : NULL,
	};
	struct tide_disk_options open = { .format = "qcow2",
					  .writable = true };
	int ret = qcow2_create(path, &o, err);

	if (!ret)
		ret = tide_disk_open(path, &open, &k->image, err);
	return ret ? ret : make_packers(k, err);
}

static int pump(struct copying *k, struct tide_error *err)
{
	struct pump pump = { .jobs = k->c->jobs, .next = next,
				    .work = work, .finish = finish,
				    .opaque = k, .stop = k->c->stop };

	return pump_run(&pump, err);
}

static int end_image(struct copying *k, int ret, struct tide_error *err)
{
	int closed = 0;

	for (uint32_t i = 0; k->packers && i < k->c->jobs; i++)
		qcow2_packer_destroy(k->packers[i]);
	free(k->packers);
	if (k->image)
		closed = tide_disk_close(k->image, ret ? NULL : err);
	return ret ? ret : closed;
}

static int copy_into(struct copying *k, struct backup_point *p,
		     const char *image, const char *digests,
		     struct tide_error *err)
{
	int ret = digests_create(&k->digests, digests, p->number,
				 p->size_bytes, err);

	if (!ret)
		ret = make_image(k, image, err);
	if (!ret)
		ret = pump(k, err);
	ret = end_image(k, ret, err);
	if (ret)
		digests_drop(&k->digests);
	else
		ret = digests_finish(&k->digests, p->sum, err);
	return ret ? ret : folder_sync(k->c->folder, err);
}

/*
 * The chunk in which the shorter of two disks ends: of other bytes than before,
 * whatever was written.
 */
static uint64_t cut_at(uint64_t one, uint64_t other)
{
	return (one < other ? one : other) & ~(CHUNK_BYTES - 1);
}

int backup_copy_run(const struct backup_copy *c, struct backup_point *p,
		    struct tide_error *err)
{
	struct copying k = { .c = c, .plan = { .source = c->source } };
	char *image, *digests;
	int ret;

	snprintf(p->image, sizeof(p->image), "%06" PRIu64 ".qcow2", p->number);
	snprintf(p->digests, sizeof(p->digests), "%06" PRIu64 ".digests",
		 p->number);
	p->parent = c->parent ? c->parent->number : 0;
	p->size_bytes = nbd_client_size(c->source);
	if (c->parent && c->parent->size_bytes != p->size_bytes)
		k.plan.forced_at = cut_at(c->parent->size_bytes,
					  p->size_bytes);
	image = folder_file(c->folder, p->image);
	digests = folder_file(c->folder, p->digests);
	ret = image && digests ? copy_into(&k, p, image, digests, err) :
		tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
			       "no memory to begin a point");
	p->data_bytes = k.data_bytes;
	p->zero_bytes = k.zero_bytes;
	p->stored_bytes = k.stored_bytes;
	free(image);
	free(digests);
	return ret;
}
