/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * librados and librbd, loaded when the first image is opened: together with
 * what they need they would cost every other start of the command 0.08 s and
 * 17 MB, and a host without Ceph does without them.
 */
#ifndef TIDE_RBD_LIBRARY_H
#define TIDE_RBD_LIBRARY_H

#include <rados/librados.h>
#include <rbd/librbd.h>

#include "tidemark/error.h"

/* What we call: each by its own name, without the library's before it. */
#define CEPH_RADOS_CALLS(X) \
	X(create) X(shutdown) X(conf_read_file) X(conf_set) X(connect) \
	X(ioctx_create) X(ioctx_destroy) X(ioctx_set_namespace)
#define CEPH_RBD_CALLS(X) \
	X(open) X(open_read_only) X(close) X(create4) X(remove) X(rename) \
	X(image_options_create) X(image_options_destroy) \
	X(get_size) X(get_features) X(get_flags) X(resize) X(lock_acquire) \
	X(diff_iterate2) X(snap_list) X(snap_list_end) X(get_stripe_count) \
	X(aio_create_completion) X(aio_release) \
	X(aio_wait_for_complete) X(aio_get_return_value) X(aio_readv) \
	X(aio_writev) X(aio_discard) X(aio_write_zeroes) X(aio_flush)

struct ceph_library {
#define X(name) __typeof__(rados_##name) *rados_##name;
	CEPH_RADOS_CALLS(X)
#undef X
#define X(name) __typeof__(rbd_##name) *rbd_##name;
	CEPH_RBD_CALLS(X)
#undef X
};

/* NULL, and -ENOTSUP: they are not on this host, or too old. */
const struct ceph_library *ceph_library_get(struct tide_error *err);

#endif
