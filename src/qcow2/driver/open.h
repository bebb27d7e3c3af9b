/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening a qcow2 image: for the table of formats. */
#ifndef TIDE_QCOW2_DRIVER_OPEN_H
#define TIDE_QCOW2_DRIVER_OPEN_H

#include "disk/disk.h"

int tide__qcow2_open(const char *path, const struct tide_disk_options *options,
		     struct tide_disk **out, struct tide_error *err);

#endif
