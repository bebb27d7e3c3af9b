/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who else can write to a process's shared memory: a vhost-user backend, a
 * child. Such writes go through page tables of their own and are not seen by
 * tracking.
 */
#ifndef TIDE_ATTACH_SHARERS_H
#define TIDE_ATTACH_SHARERS_H

#include "attach/ram.h"

/*
 * tide__ram_sharer: 0: nobody that we can see maps an area of @ram (process
 * @pid's) for writing; else -EBUSY, and the error names one. Reads the
 * mappings of every process of the host.
 */
int tide__ram_sharer(const struct tide__ram *ram, int pid,
		     struct tide_error *err);

#endif
