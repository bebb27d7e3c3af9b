/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbd/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct ceph_library library;
static char fault[160];

static bool find(void *from, const char *name, void *to)
{
	void *at = dlsym(from, name);

	if (!at)
		snprintf(fault, sizeof(fault), "it has no %s", name);
	memcpy(to, &at, sizeof(at));
	return at;
}

static bool find_all(void *rados, void *rbd)
{
	bool all = true;

#define X(name) \
	all = all && find(rados, "rados_" #name, &library.rados_##name);
	CEPH_RADOS_CALLS(X)
#undef X
#define X(name) all = all && find(rbd, "rbd_" #name, &library.rbd_##name);
	CEPH_RBD_CALLS(X)
#undef X
	return all;
}

/* Never unloaded: its threads may live as long as the process. */
static void load(void)
{
	void *rados = dlopen("librados.so.2", RTLD_NOW | RTLD_LOCAL);
	void *rbd = rados ? dlopen("librbd.so.1", RTLD_NOW | RTLD_LOCAL) : NULL;

	if (!rbd)
		snprintf(fault, sizeof(fault), "%.150s", dlerror());
	else
		find_all(rados, rbd);
}

const struct ceph_library *ceph_library_get(struct tide_error *err)
{
	pthread_once(&once, load);
	if (!*fault)
		return &library;
	tide_error_set(err, -ENOTSUP, "rbd", TIDE_NO_OFFSET,
		       "images of Ceph need librbd, which could not be "
		       "loaded: %s", fault);
	return NULL;
}
