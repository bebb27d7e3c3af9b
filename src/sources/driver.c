/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sources supplied by the embedder: adapts the public table of calls to the
 * internal one. As for all sources, source.c does the locking, keeps the list
 * of slots, and marks everything after a failure.
 */
#include "tidemark/source_driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sized.h"
#include "sources/source.h"

/* All that the first version had. */
#define MIN_BYTES (offsetof(struct tide_source_driver, close) + \
		   sizeof(void (*)(void *)))

struct theirs {
	struct tide_source_driver driver;
	void *opaque;
};

/* What a call @name returned, with an error in any case. */
static int called(const struct theirs *t, int ret, const char *name,
		  struct tide_error *err)
{
	if (!ret)
		return 0;
	if (ret > 0)
		ret = -EIO;
	if (err && err->code != ret)
		tide_error_set(err, ret, "source", TIDE_NO_OFFSET,
			       "%s of source %s failed: %s", name,
			       t->driver.name, strerror(-ret));
	return ret;
}

static void fini(struct tide_source *source)
{
	struct theirs *t = source->impl;

	if (t->driver.close)
		t->driver.close(t->opaque);
	free(t);
	source->impl = NULL;
}

static int watch(struct tide_source *source, struct tide__watched *w,
		 struct tide_error *err)
{
	const struct theirs *t = source->impl;

	return called(t, t->driver.watch(t->opaque, &w->slot, err), "watch",
		      err);
}

static int unwatch(struct tide_source *source, struct tide__watched *w,
		   struct tide_error *err)
{
	const struct theirs *t = source->impl;

	return called(t, t->driver.unwatch(t->opaque, &w->slot, err),
		      "unwatch", err);
}

static int harvest(struct tide_source *source, struct tide_set *set,
		   struct tide_error *err)
{
	const struct theirs *t = source->impl;
	const struct tide_source_driver *d = &t->driver;
	uint64_t pages = 0;
	int ret = 0;

	if (d->harvest)
		ret = called(t, d->harvest(t->opaque, set, &pages, err),
			     "harvest", err);
	for (struct tide__watched *w = source->watched;
	     w && !ret && d->harvest_slot; w = w->next)
		ret = called(t,
			     d->harvest_slot(t->opaque, &w->slot, set, &pages,
					     err),
			     "harvest_slot", err);
	source->stats.pages += pages;
	return ret;
}

static int rearm(struct tide_source *source, struct tide__watched *w,
		 uint64_t first, uint64_t count, struct tide_error *err)
{
	const struct theirs *t = source->impl;

	if (!t->driver.rearm)
		return 0;
	return called(t, t->driver.rearm(t->opaque, &w->slot, w->first + first,
					 count, err), "rearm", err);
}

static const struct tide__source_ops driver_ops = {
	.fini = fini,
	.watch = watch,
	.harvest = harvest,
	.rearm = rearm,
	.unwatch = unwatch,
};

static const char *fault_of(const struct tide_source_driver *theirs,
			    struct tide_source_driver *own)
{
	if (theirs->struct_size < MIN_BYTES)
		return "struct_size is not that of any version";
	if (!tide__sized_take(own, sizeof(*own), theirs, theirs->struct_size))
		return "it has calls that this version does not know";
	if (!own->name || !own->watch || !own->unwatch)
		return "it needs a name, watch and unwatch";
	if (!own->harvest && !own->harvest_slot)
		return "it needs harvest or harvest_slot";
	return NULL;
}

int tide_source_create_driver(struct tide_source **out,
			      const struct tide_source_driver *driver,
			      void *opaque, struct tide_error *err)
{
	struct tide_source_driver own = { 0 };
	const char *fault = fault_of(driver, &own);
	struct theirs *t;
	int ret;

	if (fault)
		return tide_error_set(err, -EINVAL, "source", TIDE_NO_OFFSET,
				      "driver: %s", fault);
	t = malloc(sizeof(*t));
	if (!t)
		return tide_error_set(err, -ENOMEM, "source", TIDE_NO_OFFSET,
				      "no memory for a source");
	*t = (struct theirs){ own, opaque };
	ret = tide__source_new(out, TIDE_SOURCE_DRIVER, &driver_ops, t, err);
	if (ret)
		free(t);
	return ret;
}
