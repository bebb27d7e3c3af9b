/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of images in a Ceph cluster, as users of QEMU write them:
 *
 *	rbd:POOL[/NAMESPACE]/IMAGE[@SNAPSHOT][:KEY=VALUE]...
 *
 * A backslash takes the meaning from the character behind it. The keys conf and
 * id say which cluster and as whom; any other is an option of Ceph's own
 * configuration.
 */
#ifndef TIDE_RBD_NAME_H
#define TIDE_RBD_NAME_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

#define CEPH_SCHEME "rbd:"
#define CEPH_MAX_OPTIONS 16u

struct ceph_name {
	char *text; /* owned: what the others point into */
	const char *pool, *image;
	const char *space, *snap; /* NULL: none */
	const char *conf, *id; /* NULL: where Ceph looks, and "admin" */
	struct {
		const char *key, *value;
	} options[CEPH_MAX_OPTIONS];
	uint32_t count;
};

bool ceph_is_name(const char *path);
/* -EINVAL, and what is wrong; -ENOMEM. */
int ceph_name_parse(const char *path, struct ceph_name *out,
		    struct tide_error *err);
void ceph_name_free(struct ceph_name *n);

#endif
