/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bitmaps kept in the disk's own format (qcow2's extension): taken over when
 * tracking begins, and written back when it ends cleanly, so that other tools
 * see them. In between the store is authoritative, and the format marks them
 * as in use.
 *
 * If both have a bitmap of the same name, the store's wins, unless it cannot
 * be trusted: then somebody else has written to the disk, and if that program
 * maintained the bitmap, its version is right. A bitmap that the format marks
 * as in use and that the store does not know has missed writes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cbt/kept.h"
#include "cbt/tracker.h"
#include "cbt/window.h"
#include "disk/disk.h"

static int image_of(const struct tide_disk_bitmap *b, struct cbt_image *out)
{
	uint64_t part[CBT_PAGE_WORDS], bytes = (b->bit_count + 7) / 8;
	int ret = cbt_image_init(out, b->bit_count, b->shift);

	for (uint64_t at = 0; at < bytes && !ret; at += CBT_PAGE_BYTES) {
		uint64_t n = bytes - at < CBT_PAGE_BYTES ? bytes - at
							 : CBT_PAGE_BYTES;
		uint64_t bits = b->bit_count - at * 8;

		memset(part, 0, sizeof(part));
		for (uint64_t i = 0; i < n; i += 8)
			part[i / 8] = tide__get_le(b->bits + at + i, n - i < 8 ?
						   (unsigned int)(n - i) : 8);
		ret = cbt_image_or_words(out, at * 8, part, bits <
					 CBT_PAGE_BITS ? bits : CBT_PAGE_BITS,
					 b->shift);
	}
	if (ret)
		cbt_image_fini(out);
	return ret;
}

/* It is there, and says nothing but why. */
static int take_void(struct cbt *c, const char *name)
{
	struct cbt_point *p;
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	p = cbt_catalog_find(&c->catalog, name);
	if (!p) {
		p = cbt_catalog_add(&c->catalog, CBT_BITMAP, name);
		ret = p ? 0 : -ENOMEM;
	}
	if (p && p->state != CBT_INCONSISTENT) {
		p->state = CBT_INCONSISTENT;
		p->epoch = CBT_NO_EPOCH;
		p->reason = strdup("another program wrote to the image and "
				   "left the bitmap in use");
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static bool has_good(struct cbt *c, const char *name, bool *any)
{
	const struct cbt_point *p;
	bool good;

	pthread_mutex_lock(&c->lock);
	p = cbt_catalog_find(&c->catalog, name);
	*any = p;
	good = p && p->state != CBT_INCONSISTENT;
	pthread_mutex_unlock(&c->lock);
	return good;
}

static int take(void *opaque, const struct tide_disk_bitmap *b)
{
	struct cbt *c = opaque;
	struct cbt_image bits;
	bool any;
	int ret;

	if (has_good(c, b->name, &any))
		return 0;
	if (b->in_use)
		return take_void(c, b->name);
	if (any && cbt_bitmap_remove(c, b->name, NULL))
		return 0; /* a checkpoint has the name: it stays */
	ret = image_of(b, &bits);
	if (ret)
		return ret;
	ret = cbt_bitmap_import(c, b->name, &bits, NULL);
	cbt_image_fini(&bits);
	if (!ret && b->enabled)
		ret = cbt_bitmap_enable(c, b->name, true, NULL);
	return ret;
}

int cbt_take_kept(struct cbt *c, struct tide_error *err)
{
	int ret = 0;

	/* After a crash the store knows better: it had taken them before. */
	if (!c->was_open && c->disk->ops->load_bitmaps)
		ret = c->disk->ops->load_bitmaps(c->disk, take, c, err);
	return ret;
}

/* malloc'd bits of @p, the lowest of each byte first; NULL: no memory. */
static uint8_t *bits_of(struct cbt *c, const struct cbt_point *p,
			uint64_t count)
{
	struct cbt_image all;
	uint8_t *bits = NULL;

	if (!cbt_image_init(&all, count, p->shift) && !cbt_gather(c, p, &all))
		bits = calloc((size_t)((count + 63) / 64 + 1), 8);
	for (size_t i = 0; bits && i < all.page_count; i++)
		for (size_t w = 0; all.pages[i] && w < CBT_PAGE_WORDS; w++) {
			uint64_t word = (uint64_t)i * CBT_PAGE_WORDS + w;

			if (word * 64 < count)
				tide__put_le(bits + word * 8,
					     all.pages[i]->words[w], 8);
		}
	cbt_image_fini(&all);
	return bits;
}

static int list_points(struct cbt *c, struct tide_disk_bitmap *list,
		       uint32_t *count)
{
	for (size_t i = 0; i < c->catalog.point_count; i++) {
		const struct cbt_point *p = c->catalog.points[i];
		struct tide_disk_bitmap *b = &list[*count];

		if (p->kind != CBT_BITMAP)
			continue;
		*b = (struct tide_disk_bitmap){
			.name = p->name, .shift = p->shift,
			.enabled = p->state == CBT_RECORDING,
			.in_use = p->state == CBT_INCONSISTENT,
			.bit_count = cbt_bits_of(c->catalog.size_bytes,
						 p->shift),
		};
		++*count;
		if (b->in_use)
			continue;
		b->bits = bits_of(c, p, b->bit_count);
		if (!b->bits)
			return -ENOMEM;
	}
	return 0;
}

int cbt_give_kept(struct cbt *c, struct tide_error *err)
{
	struct tide_disk_bitmap *list;
	uint32_t count = 0;
	int ret;

	if (!c->disk->ops->save_bitmaps || !c->disk->writable)
		return 0;
	list = calloc(c->catalog.point_count + 1, sizeof(*list));
	ret = list ? list_points(c, list, &count) : -ENOMEM;
	if (ret)
		cbt_no_memory(c, err);
	else
		ret = c->disk->ops->save_bitmaps(c->disk, list, count, err);
	for (uint32_t i = 0; i < count; i++)
		free((void *)(uintptr_t)list[i].bits);
	free(list);
	return ret;
}
