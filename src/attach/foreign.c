/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The source that tracks another process, which knows nothing of it.
 *
 * A slot's host address is one in that process. Registering, protecting and
 * scanning is asked of its userfaultfd and of its pagemap, both held here, so
 * it is the same as for our own memory (sources/uffd.c), with the same blind
 * spots: writers with a mapping of their own (a vhost-user backend), and
 * devices that write to pinned pages.
 *
 * A process that ended has no writes left to miss; a harvest then fails with
 * -ESRCH, and as always what it could not vouch for is marked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attach/attach.h"
#include "sources/source.h"
#include "sources/uffd_map.h"

static void fini(struct tide_source *source)
{
	struct tide__attach *a = source->impl;

	if (a)
		tide__attach_close(a);
	free(a);
	source->impl = NULL;
}

static int init(struct tide_source *source, struct tide_error *err)
{
	struct tide__attach *a = malloc(sizeof(*a));
	int ret;

	if (!a)
		return tide_error_set(err, -ENOMEM, "attach", TIDE_NO_OFFSET,
				      "no memory for the source");
	ret = tide__attach_open(a, source->vm.pid, NULL, err);
	if (ret) {
		free(a);
		return ret;
	}
	source->impl = a;
	source->stats.stopped_ns = a->stopped_ns;
	return 0;
}

static int gone(const struct tide__attach *a, struct tide_error *err)
{
	if (tide__attach_alive(a))
		return 0;
	return tide_error_set(err, -ESRCH, "attach", TIDE_NO_OFFSET,
			      "process %d has ended", a->target.pid);
}

static int watch(struct tide_source *source, struct tide__watched *w,
		 struct tide_error *err)
{
	struct tide__attach *a = source->impl;
	int ret = gone(a, err);

	if (!ret)
		ret = tide__uffd_arm(a->uffd, a->pagemap, w->slot.host,
				     w->slot.len_bytes, err);
	if (ret == -EBUSY)
		return tide_error_set(err, ret, "attach", w->slot.gpa_bytes,
				      "process %d's memory is tracked by "
				      "somebody else already, or has a page "
				      "fault handler", a->target.pid);
	return ret;
}

/* Memory of a process that ended is watched by nobody already. */
static int unwatch(struct tide_source *source, struct tide__watched *w,
		   struct tide_error *err)
{
	struct tide__attach *a = source->impl;
	int ret = tide__uffd_disarm(a->uffd, w->slot.host, w->slot.len_bytes);

	if (!ret || ret == -ESRCH)
		return 0;
	return tide_error_set(err, ret, "attach", w->slot.gpa_bytes,
			      "cannot unregister a slot: %s", strerror(-ret));
}

static int harvest(struct tide_source *source, struct tide_set *set,
		   struct tide_error *err)
{
	const struct tide__attach *a = source->impl;
	int ret = tide__uffd_harvest(source, set, a->pagemap, err);

	/* An ended process's scan fails in several ways, or not. */
	return gone(a, err) ? -ESRCH : ret;
}

const struct tide__source_ops tide__foreign_ops = {
	.init = init,
	.fini = fini,
	.watch = watch,
	.harvest = harvest,
	.unwatch = unwatch,
};
