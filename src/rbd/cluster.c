/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbd/cluster.h"

#include <errno.h>
#include <string.h>

/*
 * How long a monitor may be silent, unless the configuration says otherwise:
 * theirs is five minutes.
 */
#define CONNECT_S "30"

int ceph_failed(int ret, const char *what, const char *doing,
		struct tide_error *err)
{
	return tide_error_set(err, ret, "rbd", TIDE_NO_OFFSET,
			      "%.120s: %s: %s", what, doing, strerror(-ret));
}

static int configure(struct ceph_cluster *c, const struct ceph_name *n,
		     bool direct, struct tide_error *err)
{
	const struct ceph_library *lib = c->lib;
	int ret;

	lib->rados_conf_set(c->rados, "client_mount_timeout", CONNECT_S);
	/* Without a file, what the name says may be enough. */
	ret = lib->rados_conf_read_file(c->rados, n->conf);
	if (ret && n->conf)
		return ceph_failed(ret, n->conf, "reading it", err);
	if (direct)
		lib->rados_conf_set(c->rados, "rbd_cache", "false");
	for (uint32_t i = 0; i < n->count; i++) {
		ret = lib->rados_conf_set(c->rados, n->options[i].key,
					  n->options[i].value);
		if (ret)
			return ceph_failed(ret, n->options[i].key,
					   "this option of Ceph", err);
	}
	return 0;
}

static int open_pool(struct ceph_cluster *c, const struct ceph_name *n,
		     struct tide_error *err)
{
	int ret = c->lib->rados_connect(c->rados);

	if (ret)
		return ceph_failed(ret, n->conf ? n->conf : "Ceph",
				   "connecting to the cluster", err);
	ret = c->lib->rados_ioctx_create(c->rados, n->pool, &c->pool);
	if (ret)
		return ceph_failed(ret, n->pool, "opening the pool", err);
	if (n->space)
		c->lib->rados_ioctx_set_namespace(c->pool, n->space);
	return 0;
}

int ceph_cluster_open(struct ceph_cluster *c, const struct ceph_name *n,
		      bool direct, struct tide_error *err)
{
	int ret;

	memset(c, 0, sizeof(*c));
	c->lib = ceph_library_get(err);
	if (!c->lib)
		return -ENOTSUP;
	ret = c->lib->rados_create(&c->rados, n->id);
	if (ret)
		return ceph_failed(ret, n->id ? n->id : "Ceph",
				   "becoming its client", err);
	ret = configure(c, n, direct, err);
	if (!ret)
		ret = open_pool(c, n, err);
	if (ret)
		ceph_cluster_close(c);
	return ret;
}

void ceph_cluster_close(struct ceph_cluster *c)
{
	if (c->pool)
		c->lib->rados_ioctx_destroy(c->pool);
	if (c->rados)
		c->lib->rados_shutdown(c->rados);
	memset(c, 0, sizeof(*c));
}
