/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cbt/tracker.h"
#include "cbt/window.h"

struct cbt_meta {
	struct cbt_meta *next; /* of the tracker's */
	struct cbt *c;
	uint8_t uuid[16]; /* the point's */
	uint64_t epoch; /* what was marked before it is in `chunks` */
	struct cbt_chunks chunks;
};

static struct cbt_point *point_of(const struct cbt_meta *m)
{
	for (size_t i = 0; i < m->c->catalog.point_count; i++)
		if (!memcmp(m->c->catalog.points[i]->uuid, m->uuid, 16))
			return m->c->catalog.points[i];
	return NULL;
}

static int begin(struct cbt_meta *m, const char *name, uint32_t chunk_bytes,
		 struct tide_error *err)
{
	const struct cbt_point *p = cbt_catalog_find(&m->c->catalog, name);
	uint64_t size = m->c->catalog.size_bytes;
	int ret;

	if (!p)
		return cbt_no_point(m->c, name, err);
	ret = cbt_usable(m->c, p, err);
	if (ret)
		return ret;
	memcpy(m->uuid, p->uuid, 16);
	m->epoch = m->c->catalog.epoch;
	if (cbt_chunks_init(&m->chunks, cbt_bits_of(size, p->shift), p->shift,
			    chunk_bytes))
		return cbt_no_memory(m->c, err);
	m->next = m->c->metas;
	m->c->metas = m;
	return 0;
}

int cbt_meta_create(struct cbt *c, const char *name, uint32_t chunk_bytes,
		    struct cbt_meta **out, struct tide_error *err)
{
	struct cbt_meta *m;
	int ret;

	if (!cbt_chunk_bytes_fit(chunk_bytes))
		return tide_error_set(err, -EINVAL, "tracker", TIDE_NO_OFFSET,
				      "a chunk is a power of two from %u bytes "
				      "to %u, not %u", CBT_MIN_CHUNK,
				      CBT_MAX_CHUNK, chunk_bytes);
	m = calloc(1, sizeof(*m));
	if (!m)
		return cbt_no_memory(c, err);
	m->c = c;
	pthread_mutex_lock(&c->lock);
	ret = begin(m, name, chunk_bytes, err);
	pthread_mutex_unlock(&c->lock);
	if (ret)
		free(m);
	else
		*out = m;
	return ret;
}

void cbt_meta_destroy(struct cbt_meta *m)
{
	struct cbt_meta **at;

	if (!m)
		return;
	pthread_mutex_lock(&m->c->lock);
	for (at = &m->c->metas; *at != m; at = &(*at)->next)
		;
	*at = m->next;
	cbt_tidy(m->c);
	pthread_mutex_unlock(&m->c->lock);
	cbt_chunks_fini(&m->chunks);
	free(m);
}

/* What was marked up to the last cut, if @p hears of marks. */
static void fold(struct cbt_meta *m, const struct cbt_point *p)
{
	const struct cbt_catalog *k = &m->c->catalog;

	for (size_t i = 0; i < k->delta_count; i++)
		if (p->epoch != CBT_NO_EPOCH && k->deltas[i].last >= p->epoch &&
		    k->deltas[i].last >= m->epoch)
			cbt_chunks_mark_image(&m->chunks, &k->deltas[i].image);
	m->epoch = k->epoch;
}

/* Where the two differ; without memory for it: everywhere. */
static void mark_difference(struct cbt_meta *m, const struct cbt_point *p,
			    const struct cbt_point *then)
{
	uint64_t bits = cbt_bits_of(m->c->catalog.size_bytes, p->shift);
	struct cbt_image a = { 0 }, b = { 0 };

	if (cbt_image_init(&a, bits, p->shift) ||
	    cbt_image_init(&b, bits, p->shift) ||
	    cbt_gather_past(m->c, p, &a) || cbt_gather_past(m->c, then, &b))
		cbt_chunks_mark_all(&m->chunks);
	else
		cbt_chunks_mark_changed(&m->chunks, &a, &b);
	cbt_image_fini(&a);
	cbt_image_fini(&b);
}

void cbt_meta_note(struct cbt *c, const struct cbt_point *p,
		   const struct cbt_image *own, uint64_t epoch)
{
	struct cbt_point then = *p;

	then.own = *own;
	then.epoch = epoch;
	for (struct cbt_meta *m = c->metas; m; m = m->next) {
		if (memcmp(m->uuid, p->uuid, 16))
			continue;
		/* A grown disk has bits behind those that are known. */
		if (cbt_chunks_resize(&m->chunks,
				      cbt_bits_of(c->catalog.size_bytes,
						  p->shift)))
			cbt_chunks_mark_all(&m->chunks);
		fold(m, p);
		mark_difference(m, p, &then);
	}
}

bool cbt_meta_tells_apart(const struct cbt *c, const struct cbt_delta *d)
{
	for (const struct cbt_meta *m = c->metas; m; m = m->next)
		if (m->epoch > d[0].last && m->epoch <= d[1].first)
			return true;
	return false;
}

/* Under the lock, after the cut: nothing is taken if it cannot all be. */
static int take(struct cbt_meta *m, const struct cbt_point *p,
		struct cbt_image *bits, struct cbt_chunks *changed,
		struct tide_error *err)
{
	uint64_t count = cbt_bits_of(m->c->catalog.size_bytes, p->shift);
	uint32_t chunk_bytes = (uint32_t)(m->chunks.bits_a_chunk / 8);

	if (cbt_chunks_resize(&m->chunks, count) ||
	    cbt_chunks_init(changed, count, p->shift, chunk_bytes))
		return cbt_no_memory(m->c, err);
	if (cbt_image_init(bits, count, p->shift) ||
	    cbt_gather_past(m->c, p, bits)) {
		cbt_image_fini(bits);
		cbt_chunks_fini(changed);
		return cbt_no_memory(m->c, err);
	}
	fold(m, p);
	memcpy(changed->words, m->chunks.words,
	       (size_t)(changed->count / 64 + 1) * sizeof(uint64_t));
	cbt_chunks_clear(&m->chunks);
	return 0;
}

static int round_of(struct cbt_meta *m, struct cbt_image *bits,
		    struct cbt_chunks *changed, struct tide_error *err)
{
	const struct cbt_point *p = point_of(m);
	int ret;

	if (!p)
		return tide_error_set(err, -ESTALE, "tracker", TIDE_NO_OFFSET,
				      "%s: what was followed has been removed",
				      m->c->disk_path);
	ret = cbt_usable(m->c, p, err);
	if (!ret && p->epoch != CBT_NO_EPOCH) {
		ret = cbt_cut(&m->c, 1, err);
		if (!ret)
			ret = cbt_commit(m->c, err);
	}
	if (!ret)
		ret = take(m, p, bits, changed, err);
	cbt_tidy(m->c);
	return ret;
}

int cbt_meta_round(struct cbt_meta *m, struct cbt_image *bits,
		   struct cbt_chunks *changed, struct tide_error *err)
{
	int ret;

	pthread_mutex_lock(&m->c->lock);
	ret = round_of(m, bits, changed, err);
	pthread_mutex_unlock(&m->c->lock);
	return ret;
}
