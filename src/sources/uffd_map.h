/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Userfaultfd write protection of a mapping, and reading what was written.
 * Used by the source and by its probe.
 */
#ifndef TIDE_SOURCES_UFFD_MAP_H
#define TIDE_SOURCES_UFFD_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

/* A userfaultfd with the features needed; fd, or -errno with the reason. */
int tide__uffd_open(struct tide_error *err);

/* Ask a fresh userfaultfd, also another process's, for them. 0 or -errno. */
int tide__uffd_enable(int uffd, struct tide_error *err);

/* Register and arm [host, +len): later writes are seen by a scan. */
int tide__uffd_arm(int uffd, int pagemap, void *host, uint64_t len,
		   struct tide_error *err);
int tide__uffd_disarm(int uffd, void *host, uint64_t len);

/*
 * Report the pages of [host, +len) written since the last scan, and protect
 * them again, in one atomic step a page. The same page may come twice. -EPERM
 * if part of the range is not (or no longer) registered.
 */
int tide__uffd_scan(int pagemap, void *host, uint64_t len,
		    void (*report)(void *opaque, uint64_t offset_bytes,
				   uint64_t len_bytes),
		    void *opaque, struct tide_error *err);

#endif
