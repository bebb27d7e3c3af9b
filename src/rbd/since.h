/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Ceph itself knows of changes: which parts of a snapshot's image are not
 * what they were at an older snapshot. With fast-diff these are whole objects
 * (4 MiB), from a map that is read at once; without, each object is asked.
 */
#ifndef TIDE_RBD_SINCE_H
#define TIDE_RBD_SINCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

/* Counted references; any thread. */
struct ceph_since;

/*
 * Of the snapshot that @path names. -EINVAL: it names none; else as
 * ceph_disk_open. One reference.
 */
int ceph_since_open(const char *path, struct ceph_since **out,
		    struct tide_error *err);
void ceph_since_acquire(struct ceph_since *s);
void ceph_since_release(struct ceph_since *s);

/* The older snapshots' names, oldest first; borrowed. NULL: no more. */
const char *ceph_since_name(const struct ceph_since *s, size_t which);

/* A stretch that may differ, or does not. False: no more is wanted. */
typedef bool ceph_since_each(void *opaque, uint64_t length_bytes, bool changed);

/* All of the range, in its order, since the snapshot @name. */
int ceph_since_walk(struct ceph_since *s, const char *name,
		    uint64_t offset_bytes, uint64_t length_bytes,
		    ceph_since_each *each, void *opaque,
		    struct tide_error *err);

#endif
