/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection to a Ceph cluster, and to the pool of one image. */
#ifndef TIDE_RBD_CLUSTER_H
#define TIDE_RBD_CLUSTER_H

#include "rbd/library.h"
#include "rbd/name.h"

struct ceph_cluster {
	const struct ceph_library *lib;
	rados_t rados;
	rados_ioctx_t pool;
};

/* @direct: librbd is not to cache. After an error there is nothing to close. */
int ceph_cluster_open(struct ceph_cluster *c, const struct ceph_name *n,
		      bool direct, struct tide_error *err);
void ceph_cluster_close(struct ceph_cluster *c);

/* @ret, a negative errno of theirs, into @err: "WHAT DOING: why". */
int ceph_failed(int ret, const char *what, const char *doing,
		struct tide_error *err);

#endif
