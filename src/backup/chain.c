/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GAP_BYTES (UINT64_C(256) << 20)

static int no_memory(struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
			      "no memory to open a point");
}

static int open_layer(struct backup_chain *c, const struct backup_point *p,
		      struct tide_error *err)
{
	char *path = folder_file(c->folder, p->digests);
	struct digests_reader *r = &c->layers[c->count];
	int ret = path ? digests_open(r, path, p->sum, err) : no_memory(err);

	if (!ret) {
		c->count++;
		if (r->number != p->number || r->size_bytes != p->size_bytes)
			ret = tide_error_set(err, -EBADMSG, "backup",
					     TIDE_NO_OFFSET, "%s is of another "
					     "point", path);
	}
	free(path);
	return ret;
}

static int open_image(struct backup_chain *c, struct tide_error *err)
{
	struct tide_disk_options o = { .format = "qcow2",
				       .no_backing = c->alone };
	char *path = folder_file(c->folder, c->point->image);
	int ret = path ? tide_disk_open(path, &o, &c->disk, err) :
			 no_memory(err);

	if (!ret && tide_disk_size(c->disk) != c->point->size_bytes)
		ret = tide_error_set(err, -EBADMSG, "backup", TIDE_NO_OFFSET,
				     "%s has %" PRIu64 " bytes, and the point "
				     "%" PRIu64, path, tide_disk_size(c->disk),
				     c->point->size_bytes);
	free(path);
	return ret;
}

static int open_chain(const struct backup_folder *f,
		      const struct backup_point *p, bool alone, uint64_t stop,
		      struct backup_chain *c, struct tide_error *err)
{
	int ret = 0;

	*c = (struct backup_chain){ .folder = f, .point = p, .alone = alone };
	c->layers = calloc(f->count, sizeof(*c->layers));
	if (!c->layers)
		return no_memory(err);
	for (const struct backup_point *at = p; at && !ret;
	     at = alone || at->parent == stop ? NULL :
						folder_find(f, at->parent))
		ret = open_layer(c, at, err);
	if (!ret)
		ret = open_image(c, err);
	if (ret)
		chain_close(c);
	return ret;
}

int chain_open(const struct backup_folder *f, const struct backup_point *p,
	       struct backup_chain *c, struct tide_error *err)
{
	return open_chain(f, p, false, 0, c, err);
}

int chain_open_layer(const struct backup_folder *f,
		     const struct backup_point *p, struct backup_chain *c,
		     struct tide_error *err)
{
	return open_chain(f, p, true, 0, c, err);
}

int chain_open_until(const struct backup_folder *f,
		     const struct backup_point *p, uint64_t stop,
		     struct backup_chain *c, struct tide_error *err)
{
	return open_chain(f, p, false, stop, c, err);
}

void chain_close(struct backup_chain *c)
{
	for (size_t i = 0; i < c->count; i++)
		digests_close(&c->layers[i]);
	free(c->layers);
	tide_disk_close(c->disk, NULL);
	memset(c, 0, sizeof(*c));
}

static int forward(struct digests_reader *r, uint64_t chunk,
		   struct tide_error *err)
{
	int ret = 0;

	while (!ret && r->has && r->now.chunk + r->now.count <= chunk)
		ret = digests_step(r, err);
	return ret;
}

int chain_expect(struct backup_chain *c, uint64_t chunk,
		 struct chunk_entry *out, size_t *layer,
		 struct tide_error *err)
{
	int ret;

	*out = (struct chunk_entry){ .chunk = chunk, .count = 1,
				      .zero = true };
	for (*layer = 0; *layer < c->count; ++*layer) {
		struct digests_reader *r = &c->layers[*layer];

		ret = forward(r, chunk, err);
		if (ret)
			return ret;
		if (!r->has || r->now.chunk > chunk) {
			/* Below a shorter disk nothing shows through. */
			if (chunk >= chunk_count(r->size_bytes))
				break;
			continue;
		}
		out->zero = r->now.zero;
		out->digest = r->now.digest;
		return 0;
	}
	*layer = c->count;
	return 0;
}

int chain_next_listed(struct backup_chain *c, uint64_t *chunk,
		      struct tide_error *err)
{
	uint64_t min = chunk_count(c->point->size_bytes), at;
	int ret = 0;

	for (size_t i = 0; i < c->count && !ret; i++) {
		struct digests_reader *r = &c->layers[i];

		ret = forward(r, *chunk, err);
		if (ret || !r->has)
			continue;
		at = r->now.chunk > *chunk ? r->now.chunk : *chunk;
		min = at < min ? at : min;
	}
	*chunk = min;
	return ret;
}

/* Listed chunks that follow each other. */
static int take_listed(struct backup_chain *c, uint64_t chunk,
		       struct piece *p, struct tide_error *err)
{
	uint64_t n = 0, next = chunk, end = chunk_count(c->point->size_bytes);
	size_t layer;
	int ret = 0;

	while (!ret && n < PIECE_CHUNKS && next == chunk + n &&
	       next < end) {
		ret = chain_expect(c, next, &p->chunks[n], &layer, err);
		n++;
		next++;
		if (!ret)
			ret = chain_next_listed(c, &next, err);
	}
	p->kind = PIECE_DATA;
	p->length_bytes = n << CHUNK_SHIFT;
	return ret;
}

int chain_take(struct backup_chain *c, uint64_t *at, struct piece *p,
	       struct tide_error *err)
{
	uint64_t size = c->point->size_bytes, end;
	uint64_t chunk = *at >> CHUNK_SHIFT;
	int ret;

	if (*at >= size)
		return 0;
	p->offset_bytes = *at;
	ret = chain_next_listed(c, &chunk, err);
	end = chunk << CHUNK_SHIFT;
	if (!ret && end == *at) {
		ret = take_listed(c, chunk, p, err);
	} else {
		p->kind = PIECE_ZERO;
		p->length_bytes = end - *at;
		if (p->length_bytes > MAX_GAP_BYTES)
			p->length_bytes = MAX_GAP_BYTES;
	}
	if (p->length_bytes > size - *at)
		p->length_bytes = size - *at;
	*at += p->length_bytes;
	return ret ? ret : 1;
}

int chain_check(const struct backup_chain *c, const struct piece *p,
		const uint8_t *buf, const char *where, struct tide_error *err)
{
	for (uint64_t at = 0; at < p->length_bytes; at += CHUNK_BYTES) {
		const struct chunk_entry *e =
			&p->chunks[at >> CHUNK_SHIFT];
		uint64_t n = p->length_bytes - at;
		struct chunk_digest d;

		n = n < CHUNK_BYTES ? n : CHUNK_BYTES;
		if (e->zero) {
			if (chunk_is_zero(buf + at, n))
				continue;
		} else {
			d = chunk_digest_of(buf + at, n);
			if (!memcmp(&d, &e->digest, sizeof(d)))
				continue;
		}
		return chain_differs(c, where, e->chunk, err);
	}
	return 0;
}

int chain_differs(const struct backup_chain *c, const char *where,
		  uint64_t chunk, struct tide_error *err)
{
	uint64_t offset = chunk << CHUNK_SHIFT;

	return tide_error_set(err, -EBADMSG, "backup", offset,
			      "%s: the %" PRIu64 " bytes at offset %" PRIu64
			      " are not those of point %" PRIu64, where,
			      (uint64_t)CHUNK_BYTES, offset,
			      c->point->number);
}
