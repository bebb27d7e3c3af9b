/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of points and deltas in memory; its bytes are catalog_bytes.c's. */
#include "cbt/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

int cbt_catalog_init(struct cbt_catalog *c, uint64_t size_bytes,
		     uint32_t shift)
{
	*c = (struct cbt_catalog){ .size_bytes = size_bytes, .shift = shift,
				   .usual_shift = shift };
	return cbt_image_init(&c->saved, cbt_bits_of(size_bytes, shift),
			      shift);
}

void cbt_point_destroy(struct cbt_point *p)
{
	if (!p)
		return;
	cbt_image_fini(&p->own);
	free(p->name);
	free(p->reason);
	free(p);
}

void cbt_catalog_fini(struct cbt_catalog *c)
{
	for (size_t i = 0; i < c->delta_count; i++)
		cbt_image_fini(&c->deltas[i].image);
	for (size_t i = 0; i < c->point_count; i++)
		cbt_point_destroy(c->points[i]);
	cbt_image_fini(&c->saved);
	free(c->deltas);
	free(c->points);
	*c = (struct cbt_catalog){ 0 };
}

int cbt_catalog_images(struct cbt_catalog *c,
		       int (*call)(void *opaque, struct cbt_image *m),
		       void *opaque)
{
	int ret = call(opaque, &c->saved);

	for (size_t i = 0; i < c->delta_count && !ret; i++)
		ret = call(opaque, &c->deltas[i].image);
	for (size_t i = 0; i < c->point_count && !ret; i++)
		ret = call(opaque, &c->points[i]->own);
	return ret;
}

struct cbt_point *cbt_catalog_find(const struct cbt_catalog *c,
				   const char *name)
{
	for (size_t i = 0; i < c->point_count; i++)
		if (!strcmp(c->points[i]->name, name))
			return c->points[i];
	return NULL;
}

/* Version 4: random. All zero only if the kernel has no random bytes. */
static void new_uuid(uint8_t uuid[16])
{
	if (getrandom(uuid, 16, 0) != 16)
		memset(uuid, 0, 16);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

struct cbt_point *cbt_catalog_add(struct cbt_catalog *c, enum cbt_kind kind,
				  const char *name)
{
	struct cbt_point *p = calloc(1, sizeof(*p)), **points;

	points = realloc(c->points, (c->point_count + 1) * sizeof(*points));
	if (points)
		c->points = points;
	if (p)
		p->name = strdup(name);
	if (!points || !p || !p->name) {
		cbt_point_destroy(p);
		return NULL;
	}
	p->kind = kind;
	p->state = CBT_RECORDING;
	p->shift = c->shift;
	p->own.shift = c->shift;
	p->epoch = CBT_NO_EPOCH;
	p->created_s = (uint64_t)time(NULL);
	new_uuid(p->uuid);
	points[c->point_count++] = p;
	return p;
}

void cbt_catalog_take(struct cbt_catalog *c, struct cbt_point *p)
{
	for (size_t i = 0; i < c->point_count; i++) {
		if (c->points[i] != p)
			continue;
		c->point_count--;
		memmove(c->points + i, c->points + i + 1,
			(c->point_count - i) * sizeof(struct cbt_point *));
		return;
	}
}
