/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copying: pieces that the server's status names are read, looked at chunk by
 * chunk, and laid down in the point's image.
 */
#include "backup/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "transfer/plan.h"

struct copying {
	const struct backup_copy *c;
	struct plan plan;
	struct backup_image image;
	struct digests_writer digests;
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

/* What each chunk of @p is. */
static void judge(struct piece *p, const uint8_t *buf)
{
	for (uint64_t at = 0; at < p->length_bytes; at += CHUNK_BYTES) {
		struct chunk_entry *e = &p->chunks[at >> CHUNK_SHIFT];
		uint64_t n = p->length_bytes - at;

		n = n < CHUNK_BYTES ? n : CHUNK_BYTES;
		e->chunk = (p->offset_bytes + at) >> CHUNK_SHIFT;
		e->count = 1;
		e->zero = chunk_is_zero(buf + at, n);
		if (!e->zero)
			e->digest = chunk_digest_of(buf + at, n);
	}
}

static int fetch(void *opaque, uint32_t worker, struct piece *list,
		 size_t count, struct tide_error *err)
{
	struct copying *k = opaque;

	for (size_t i = 0; i < count; i++) {
		struct piece *p = &list[i];

		if (p->kind != PIECE_DATA)
			continue;
		rate_take(k->c->rate, p->length_bytes);
		p->fetched = k->c->peek &&
			     instant_peek_read(k->c->peek, p->offset_bytes,
					       p->buf, p->length_bytes);
		if (p->fetched)
			tide__add_relaxed(k->c->peeked_bytes,
					  p->length_bytes);
	}
	return nbd_client_fetch(k->c->source, worker, list, count, err);
}

static int work(void *opaque, uint32_t worker, struct piece *p, uint8_t *buf,
		struct tide_error *err)
{
	struct copying *k = opaque;

	if (p->kind == PIECE_ZERO)
		return backup_image_zero(&k->image, p->offset_bytes,
					 p->length_bytes, err);
	judge(p, buf);
	return backup_image_put(&k->image, worker, p, buf, err);
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

static int pump(struct copying *k, struct tide_error *err)
{
	struct pump pump = { .jobs = k->c->jobs, .next = next,
			     .fetch = fetch, .work = work,
			     .finish = finish, .opaque = k,
			     .stop = k->c->stop };

	return pump_run(&pump, err);
}

/* What was read without the server is of the instant only if that lived. */
static int check_server(const struct copying *k, struct tide_error *err)
{
	return tide__load_relaxed(k->c->peeked_bytes) ?
		       nbd_client_ping(k->c->source, err) : 0;
}

static int copy_into(struct copying *k, struct backup_point *p,
		     const char *image, const char *digests,
		     struct tide_error *err)
{
	int ret = digests_create(&k->digests, digests, p->number,
				 p->size_bytes, err);

	if (!ret)
		ret = backup_image_create(&k->image, image, p->size_bytes,
					  k->c->parent, &k->c->compression,
					  k->c->jobs, err);
	if (!ret)
		ret = pump(k, err);
	if (!ret)
		ret = check_server(k, err);
	ret = backup_image_close(&k->image, ret, err);
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
	backup_image_sums(&k.image, p);
	free(image);
	free(digests);
	return ret;
}
