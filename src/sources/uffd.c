/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asynchronous userfaultfd write protection, read with PAGEMAP_SCAN.
 *
 * Guest memory is registered and write-protected; the kernel lifts the
 * protection of a page at the first write without a notification, and the scan
 * returns the pages written and protects them again, atomically for each page.
 * No VM is needed: it sees every write through this process's page tables - by
 * vCPUs, and by the VMM itself.
 *
 * It does not see: writes through another mapping of the same memfd (a
 * vhost-user backend), pwrite to it, and devices that write by DMA to pinned
 * pages. Those writers must mark the set themselves. A range that was mapped
 * anew is refused by the kernel (EPERM), and then counts as dirty.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sources/source.h"
#include "sources/uffd_map.h"

struct fds {
	int uffd, pagemap;
};

static void fini(struct tide_source *source)
{
	struct fds *fds = source->impl;

	if (fds) {
		close(fds->uffd);
		close(fds->pagemap);
	}
	free(fds);
	source->impl = NULL;
}

static int init(struct tide_source *source, struct tide_error *err)
{
	struct fds *fds = malloc(sizeof(*fds));
	int ret;

	if (!fds)
		return tide_error_set(err, -ENOMEM, "uffd", TIDE_NO_OFFSET,
				      "no memory for the source");
	fds->uffd = tide__uffd_open(err);
	if (fds->uffd < 0) {
		ret = fds->uffd;
		free(fds);
		return ret;
	}
	fds->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fds->pagemap < 0) {
		ret = tide_error_set(err, -errno, "uffd", TIDE_NO_OFFSET,
				     "/proc/self/pagemap: %s", strerror(errno));
		close(fds->uffd);
		free(fds);
		return ret;
	}
	source->impl = fds;
	return 0;
}

static int watch(struct tide_source *source, struct tide__watched *w,
		 struct tide_error *err)
{
	struct fds *fds = source->impl;

	return tide__uffd_arm(fds->uffd, fds->pagemap, w->slot.host,
			      w->slot.len_bytes, err);
}

static int unwatch(struct tide_source *source, struct tide__watched *w,
		   struct tide_error *err)
{
	struct fds *fds = source->impl;
	int ret = tide__uffd_disarm(fds->uffd, w->slot.host, w->slot.len_bytes);

	if (ret)
		return tide_error_set(err, ret, "uffd", w->slot.gpa_bytes,
				      "cannot unregister a slot: %s",
				      strerror(-ret));
	return 0;
}

static int harvest(struct tide_source *source, struct tide_set *set,
		   struct tide_error *err)
{
	const struct fds *fds = source->impl;

	return tide__uffd_harvest(source, set, fds->pagemap, err);
}

const struct tide__source_ops tide__uffd_ops = {
	.init = init,
	.fini = fini,
	.watch = watch,
	.harvest = harvest,
	.unwatch = unwatch,
};
