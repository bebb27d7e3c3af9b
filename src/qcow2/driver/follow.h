/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TIDE_QCOW2_DRIVER_FOLLOW_H
#define TIDE_QCOW2_DRIVER_FOLLOW_H

#include "tidemark/error.h"

/*
 * qcow2_follow: may the header of @image lead to @path? Within its own folder,
 * or @trusted (NULL: none). 0; -EPERM, or what the system says of the names.
 */
int qcow2_follow(const char *image, const char *path, const char *trusted,
		struct tide_error *err);

#endif
