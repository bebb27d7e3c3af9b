/* SPDX-License-Identifier: BSD-2-Clause */
/* Drivers that embedders brought; see tidemark/disk_driver.h. */
#ifndef TIDE_IMAGE_REGISTRY_H
#define TIDE_IMAGE_REGISTRY_H

#include "tidemark/disk_driver.h"

/* The one of that name, or NULL. It stays. */
const struct tide_disk_driver *tide__driver_named(const char *name);
/* The one whose scheme @path begins with, or NULL. */
const struct tide_disk_driver *tide__driver_of(const char *path);

#endif
