/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TIDE_QCOW2_FORMAT_KINDS_LOAD_H
#define TIDE_QCOW2_FORMAT_KINDS_LOAD_H

#include "qcow2/format/layout.h"
#include "tidemark/kinds.h"

/*
 * qcow2_kinds_load: add all metadata of the image to @kinds, which has its
 * cluster size; an L2 table as often as L1 tables refer to it. -EINVAL: a
 * damaged reference, named; -ENOMEM, -EIO: then @kinds is incomplete.
 */
int qcow2_kinds_load(const struct qcow2_reader *r, const struct qcow2_header *h,
		     struct tide_kinds *kinds, struct tide_error *err);

#endif
