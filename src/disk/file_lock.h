/* SPDX-License-Identifier: BSD-2-Clause */
/* Locks that QEMU understands, for whoever has an image open by descriptor. */
#ifndef TIDE_DISK_FILE_LOCK_H
#define TIDE_DISK_FILE_LOCK_H

#include <stdbool.h>

#include "tidemark/error.h"

/*
 * tide__lock_fd: lock the open file for reading, or for writing, against
 * writers. Held until the open file is closed. 0; -EBUSY: somebody has it,
 * and then nothing is held. A file system without locks is used without.
 */
int tide__lock_fd(int fd, bool writable, const char *path,
		  struct tide_error *err);

#endif
