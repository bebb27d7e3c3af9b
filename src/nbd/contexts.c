/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Meta contexts: the table of an export, and the two that every disk has.
 *
 * A context is a name and a call (export.h). base:allocation and
 * qemu:allocation-depth are filled here from tide_disk_status; a tracker adds
 * its bitmaps as qemu:dirty-bitmap:NAME through the same door, at any time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "disk/disk.h"
#include "nbd/export.h"
#include "nbd/proto.h"

void nbd_context_put(struct nbd_context *c)
{
	/* Sequentially consistent: the last one sees what the others did. */
	if (!c || tide__add_seqcst(&c->refs, -1) != 1)
		return;
	if (c->release)
		c->release(c->opaque);
	free(c->name);
	free(c);
}

/* Under the lock: where the context of that name hangs, or the list's end. */
static struct nbd_context **slot_of(struct nbd_export *e, const uint8_t *name,
				    size_t length)
{
	struct nbd_context **at = &e->contexts;

	while (*at && (strlen((*at)->name) != length ||
		       memcmp((*at)->name, name, length)))
		at = &(*at)->next;
	return at;
}

static struct nbd_context *copy_of(const struct nbd_context *c,
				   const char *name)
{
	struct nbd_context *own = malloc(sizeof(*own));

	if (!own)
		return NULL;
	*own = *c;
	own->refs = 1;
	own->next = NULL;
	own->name = strdup(name);
	if (!own->name) {
		free(own);
		return NULL;
	}
	return own;
}

int nbd_contexts_add(struct nbd_export *e, const char *name,
		     const struct nbd_context *c, struct tide_error *err)
{
	struct nbd_context *own = copy_of(c, name), **at;

	if (!own)
		return tide_error_set(err, -ENOMEM, "context", TIDE_NO_OFFSET,
				      "no memory for '%.80s'", name);
	pthread_mutex_lock(&e->lock);
	at = slot_of(e, (const uint8_t *)name, strlen(name));
	if (!*at) {
		*at = own;
		own = NULL;
	}
	pthread_mutex_unlock(&e->lock);
	if (!own)
		return 0;
	own->release = NULL;	/* the caller keeps what it gave */
	nbd_context_put(own);
	return tide_error_set(err, -EEXIST, "context", TIDE_NO_OFFSET,
			      "there is a context '%.80s' already", name);
}

int nbd_contexts_remove(struct nbd_export *e, const char *name,
			struct tide_error *err)
{
	struct nbd_context **at, *c;

	pthread_mutex_lock(&e->lock);
	at = slot_of(e, (const uint8_t *)name, strlen(name));
	c = *at;
	if (c)
		*at = c->next;
	pthread_mutex_unlock(&e->lock);
	if (!c)
		return tide_error_set(err, -ENOENT, "context", TIDE_NO_OFFSET,
				      "there is no context '%.80s'", name);
	nbd_context_put(c);
	return 0;
}

void nbd_contexts_fini(struct nbd_export *e)
{
	struct nbd_context *c;

	while ((c = e->contexts)) {
		e->contexts = c->next;
		nbd_context_put(c);
	}
}

struct nbd_context *nbd_contexts_find(struct nbd_export *e,
				      const uint8_t *name, size_t length)
{
	struct nbd_context *c;

	pthread_mutex_lock(&e->lock);
	c = *slot_of(e, name, length);
	if (c)
		tide__add_seqcst(&c->refs, 1); /* the table's keeps it alive */
	pthread_mutex_unlock(&e->lock);
	return c;
}

bool nbd_context_is_listed(const char *name, const uint8_t *query,
			   size_t length)
{
	if (length && query[length - 1] == ':')
		return strlen(name) >= length && !memcmp(name, query, length);
	return strlen(name) == length && !memcmp(name, query, length);
}

void nbd_contexts_each(struct nbd_export *e,
		       void (*call)(void *opaque, const char *name),
		       void *opaque)
{
	pthread_mutex_lock(&e->lock);
	for (const struct nbd_context *c = e->contexts; c; c = c->next)
		call(opaque, c->name);
	pthread_mutex_unlock(&e->lock);
}

/* What the status of one extent of the disk is in a context. */
typedef uint64_t (*flags_of)(const struct tide_disk_extent *x);

static int walk(struct tide_disk *d, uint64_t offset, uint64_t length,
		struct nbd_extents *into, flags_of flags,
		struct tide_error *err)
{
	bool more = true;

	while (more && length) {
		struct tide_disk_extent x;
		int ret = tide_disk_status(d, offset, length, &x, err);

		if (ret)
			return ret;
		more = nbd_extents_add(into, x.length_bytes, flags(&x));
		offset += x.length_bytes;
		length -= x.length_bytes;
	}
	return 0;
}

static uint64_t allocation_flags(const struct tide_disk_extent *x)
{
	return (x->flags & TIDE_EXTENT_HOLE ? NBD_STATE_HOLE : 0) |
	       (x->flags & TIDE_EXTENT_ZERO ? NBD_STATE_ZERO : 0);
}

static int allocation(void *opaque, uint64_t offset_bytes,
		      uint64_t length_bytes, struct nbd_extents *into,
		      struct tide_error *err)
{
	return walk(opaque, offset_bytes, length_bytes, into, allocation_flags,
		    err);
}

/* 0: in no layer; 1: in this one; n: in the n-th of the backing chain. */
static uint64_t depth_flags(const struct tide_disk_extent *x)
{
	return x->flags & TIDE_EXTENT_HOLE ? 0 : (uint64_t)x->depth + 1;
}

static int depth(void *opaque, uint64_t offset_bytes, uint64_t length_bytes,
		 struct nbd_extents *into, struct tide_error *err)
{
	return walk(opaque, offset_bytes, length_bytes, into, depth_flags,
		    err);
}

int nbd_contexts_add_usual(struct nbd_export *e, struct tide_error *err)
{
	struct nbd_context c = { .extents = allocation, .opaque = e->disk };
	int ret = nbd_contexts_add(e, "base:allocation", &c, err);

	if (ret)
		return ret;
	c.extents = depth;
	return nbd_contexts_add(e, "qemu:allocation-depth", &c, err);
}
