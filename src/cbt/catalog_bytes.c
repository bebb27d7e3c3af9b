/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A catalog as bytes (docs/format-store.md). Writer and reader walk the same
 * fields in the same order; the reader counts down the bytes that are left,
 * and a missing field ends everything.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cbt/catalog.h"

static const char magic[8] = { 'T', 'I', 'D', 'E', 'C', 'A', 'T', 'A' };

struct out {
	uint8_t *bytes;
	size_t used, room;
	bool failed;
};

static void put_raw(struct out *o, const void *from, size_t length)
{
	if (o->failed)
		return;
	if (length > o->room - o->used) {
		size_t room = (o->room + length) * 2 + 4096;
		uint8_t *bytes = realloc(o->bytes, room);

		if (!bytes) {
			o->failed = true;
			return;
		}
		o->bytes = bytes;
		o->room = room;
	}
	memcpy(o->bytes + o->used, from, length);
	o->used += length;
}

static void put(struct out *o, uint64_t value, unsigned int bytes)
{
	uint8_t field[8];

	tide__put_le(field, value, bytes);
	put_raw(o, field, bytes);
}

static void put_text(struct out *o, const char *text)
{
	size_t length = text ? strlen(text) : 0;

	put(o, length, 2);
	put_raw(o, text ? text : "", length);
}

static void put_image(struct out *o, const struct cbt_image *m)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < m->page_count; i++)
		pages += m->pages[i] && m->pages[i]->block;
	put(o, m->bits, 8);
	put(o, m->shift, 4);
	put(o, pages, 4);
	put(o, pages ? m->table_block : 0, 8);
	put(o, pages ? m->table_checksum : 0, 8);
}

static void put_identity(struct out *o, const struct cbt_identity *id)
{
	put(o, id->device, 8);
	put(o, id->inode, 8);
	put(o, id->size_bytes, 8);
	put(o, id->mtime_s, 8);
	put(o, id->mtime_ns, 4);
	put(o, id->ctime_s, 8);
	put(o, id->ctime_ns, 4);
	put(o, id->count, 4);
	for (uint32_t i = 0; i < id->count; i++) {
		put(o, id->samples[i].offset_bytes, 8);
		put(o, id->samples[i].checksum, 8);
	}
}

static void put_point(struct out *o, const struct cbt_point *p)
{
	put(o, p->kind, 1);
	put(o, p->state, 1);
	put(o, (p->pending ? 1u : 0) | (p->making ? 2u : 0), 1);
	put(o, 0, 1);
	put(o, p->shift, 4);
	put(o, p->epoch, 8);
	put(o, p->created_s, 8);
	put_raw(o, p->uuid, 16);
	put_raw(o, p->parent, 16);
	put_raw(o, p->group, 16);
	put_text(o, p->name);
	put_text(o, p->reason);
	put_image(o, &p->own);
}

uint8_t *cbt_catalog_encode(const struct cbt_catalog *c, size_t *bytes)
{
	struct out o = { 0 };

	put_raw(&o, magic, 8);
	put(&o, c->size_bytes, 8);
	put(&o, c->epoch, 8);
	put(&o, c->shift, 4);
	put(&o, c->usual_shift, 4);
	put(&o, c->region_shift, 4);
	put(&o, c->safety_blocks, 8);
	put_identity(&o, &c->identity);
	put_image(&o, &c->saved);
	put(&o, c->delta_count, 4);
	for (size_t i = 0; i < c->delta_count; i++) {
		put(&o, c->deltas[i].first, 8);
		put(&o, c->deltas[i].last, 8);
		put_image(&o, &c->deltas[i].image);
	}
	put(&o, c->point_count, 4);
	for (size_t i = 0; i < c->point_count; i++)
		put_point(&o, c->points[i]);
	if (o.failed) {
		free(o.bytes);
		return NULL;
	}
	*bytes = o.used;
	return o.bytes;
}

struct in {
	const uint8_t *at;
	size_t left;
	const char *wrong; /* NULL: nothing yet */
};

static void refuse(struct in *in, const char *wrong)
{
	if (!in->wrong)
		in->wrong = wrong;
}

static const uint8_t *get_raw(struct in *in, size_t length)
{
	const uint8_t *at = in->at;

	if (in->wrong || length > in->left) {
		refuse(in, "it ends too early");
		return NULL;
	}
	in->at += length;
	in->left -= length;
	return at;
}

static uint64_t get(struct in *in, unsigned int bytes)
{
	const uint8_t *at = get_raw(in, bytes);

	return at ? tide__get_le(at, bytes) : 0;
}

static uint32_t get_shift(struct in *in)
{
	uint32_t shift = (uint32_t)get(in, 4);

	if (shift < CBT_MIN_SHIFT || shift > CBT_MAX_SHIFT)
		refuse(in, "a granularity is out of range");
	return shift;
}

/* NULL: empty, or wrong. */
static char *get_text(struct in *in, size_t longest)
{
	size_t length = (size_t)get(in, 2);
	const uint8_t *at = get_raw(in, length);
	char *text;

	if (!at || !length)
		return NULL;
	if (length > longest || memchr(at, 0, length)) {
		refuse(in, "a name is too long, or has a zero byte");
		return NULL;
	}
	text = strndup((const char *)at, length);
	if (!text)
		refuse(in, "no memory");
	return text;
}

/* The number of pages is remembered in table_blocks until they are read. */
static void get_image(struct in *in, struct cbt_image *m)
{
	uint64_t bits = get(in, 8);
	uint32_t shift = get_shift(in), pages = (uint32_t)get(in, 4);
	uint64_t block = get(in, 8), checksum = get(in, 8);

	/* Not by the size of the disk: one that shrank leaves longer images. */
	if (!in->wrong && bits > CBT_MAX_BITS)
		refuse(in, "an image is too long");
	if (!in->wrong && pages > bits / CBT_PAGE_BITS + 1)
		refuse(in, "an image has more pages than bits");
	if (in->wrong)
		return;
	if (cbt_image_init(m, bits, shift))
		refuse(in, "no memory");
	m->table_block = pages ? block : 0;
	m->table_checksum = checksum;
	m->table_blocks = pages;
}

static void get_identity(struct in *in, struct cbt_identity *id)
{
	id->device = get(in, 8);
	id->inode = get(in, 8);
	id->size_bytes = get(in, 8);
	id->mtime_s = get(in, 8);
	id->mtime_ns = (uint32_t)get(in, 4);
	id->ctime_s = get(in, 8);
	id->ctime_ns = (uint32_t)get(in, 4);
	id->count = (uint32_t)get(in, 4);
	if (id->count > CBT_MAX_SAMPLES) {
		refuse(in, "there are too many samples");
		id->count = 0;
	}
	for (uint32_t i = 0; i < id->count; i++) {
		id->samples[i].offset_bytes = get(in, 8);
		id->samples[i].checksum = get(in, 8);
	}
}

static void get_deltas(struct in *in, struct cbt_catalog *c)
{
	uint32_t count = (uint32_t)get(in, 4);

	/* The least that a delta takes. */
	if (in->wrong || count > in->left / 48) {
		refuse(in, "there are more deltas than bytes");
		return;
	}
	c->deltas = calloc(count ? count : 1, sizeof(*c->deltas));
	if (!c->deltas) {
		refuse(in, "no memory");
		return;
	}
	for (uint32_t i = 0; i < count && !in->wrong; i++) {
		struct cbt_delta *d = &c->deltas[c->delta_count++];

		d->first = get(in, 8);
		d->last = get(in, 8);
		get_image(in, &d->image);
		if (d->first > d->last || d->last >= c->epoch ||
		    (i && d->first <= d[-1].last))
			refuse(in, "its epochs are not in order");
	}
}

static void get_uuid(struct in *in, uint8_t uuid[16])
{
	const uint8_t *at = get_raw(in, 16);

	if (at)
		memcpy(uuid, at, 16);
}

/* The fields of a fixed size. */
static void get_head(struct in *in, struct cbt_point *p)
{
	uint32_t flags;

	p->kind = (enum cbt_kind)get(in, 1);
	p->state = (enum cbt_state)get(in, 1);
	flags = (uint32_t)get(in, 1);
	p->pending = flags & 1;
	p->making = flags & 2;
	get(in, 1);
	p->shift = get_shift(in);
	p->epoch = get(in, 8);
	p->created_s = get(in, 8);
	get_uuid(in, p->uuid);
	get_uuid(in, p->parent);
	get_uuid(in, p->group);
	if ((p->kind != CBT_CHECKPOINT && p->kind != CBT_BITMAP) ||
	    p->state < CBT_RECORDING || p->state > CBT_INCONSISTENT)
		refuse(in, "a point is of no kind that is known");
}

static void get_point(struct in *in, struct cbt_catalog *c)
{
	struct cbt_point head = { 0 }, *p;
	char *name, *reason;

	get_head(in, &head);
	name = get_text(in, CBT_LONGEST_NAME);
	reason = get_text(in, 4096);
	if (!name || cbt_catalog_find(c, name))
		refuse(in, "a point has no name, or another one's");
	if (head.epoch != CBT_NO_EPOCH && head.epoch > c->epoch)
		refuse(in, "a point is later than its disk");
	p = in->wrong ? NULL : cbt_catalog_add(c, head.kind, name);
	free(name);
	if (!p) {
		refuse(in, "no memory");
		free(reason);
		return;
	}
	head.name = p->name;
	head.reason = reason;
	*p = head;
	get_image(in, &p->own);
}

static void get_all(struct in *in, struct cbt_catalog *c)
{
	const uint8_t *head = get_raw(in, 8);
	uint32_t points;

	if (!head || memcmp(head, magic, 8))
		refuse(in, "it has no magic number");
	c->size_bytes = get(in, 8);
	c->epoch = get(in, 8);
	c->shift = get_shift(in);
	c->usual_shift = get_shift(in);
	c->region_shift = (uint32_t)get(in, 4);
	c->safety_blocks = get(in, 8);
	if (c->size_bytes > INT64_MAX || c->region_shift > 40)
		refuse(in, "the disk is too large");
	get_identity(in, &c->identity);
	if (!in->wrong)
		get_image(in, &c->saved);
	if (!in->wrong)
		get_deltas(in, c);
	points = (uint32_t)get(in, 4);
	if (points > CBT_MAX_POINTS)
		refuse(in, "there are too many points");
	for (uint32_t i = 0; i < points && !in->wrong; i++)
		get_point(in, c);
}

int cbt_catalog_decode(struct cbt_catalog *c, const uint8_t *bytes,
		       size_t length, struct tide_error *err)
{
	struct in in = { .at = bytes, .left = length };

	get_all(&in, c);
	if (!in.wrong)
		return 0;
	cbt_catalog_fini(c);
	return tide_error_set(err, -EINVAL, "store", length - in.left,
			      "the catalog cannot be read at byte %zu: %s",
			      length - in.left, in.wrong);
}
