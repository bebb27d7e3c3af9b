/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/serve_since.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nbd/proto.h"
#include "rbd/name.h"
#include "rbd/since.h"

struct asked {
	struct ceph_since *since; /* a reference */
	const char *name; /* its */
};

static bool add(void *into, uint64_t length_bytes, bool changed)
{
	return nbd_extents_add(into, length_bytes,
			       changed ? NBD_STATE_DIRTY : 0);
}

static int extents(void *opaque, uint64_t offset_bytes, uint64_t length_bytes,
		   struct nbd_extents *into, struct tide_error *err)
{
	struct asked *a = opaque;

	return ceph_since_walk(a->since, a->name, offset_bytes, length_bytes,
			       add, into, err);
}

static void release(void *opaque)
{
	struct asked *a = opaque;

	ceph_since_release(a->since);
	free(a);
}

static int offer(struct serve_disk *d, struct ceph_since *since,
		 const char *name, struct tide_error *err)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct nbd_context c = { .extents = extents, .release = release,
				 .opaque = a };
	char *full = NULL;
	int ret;

	if (!a || asprintf(&full, "qemu:dirty-bitmap:%s", name) < 0) {
		free(a);
		return tide_error_set(err, -ENOMEM, "rbd", TIDE_NO_OFFSET,
				      "no memory for a context");
	}
	a->since = since;
	a->name = name;
	ret = nbd_contexts_add(d->export, full, &c, err);
	if (ret)
		free(a);
	else
		ceph_since_acquire(since);
	free(full);
	return ret;
}

int serve_since_offer(struct serve_disk *d, const char *path,
		      struct tide_error *err)
{
	struct ceph_since *since;
	struct ceph_name n;
	const char *name;
	bool snap;
	int ret;

	if (!ceph_is_name(path))
		return 0;
	ret = ceph_name_parse(path, &n, err);
	snap = !ret && n.snap;
	ceph_name_free(&n);
	if (ret || !snap)
		return ret;
	ret = ceph_since_open(path, &since, err);
	if (ret)
		return ret;
	for (size_t i = 0; !ret && (name = ceph_since_name(since, i)); i++)
		ret = offer(d, since, name, err);
	ceph_since_release(since);
	return ret;
}
