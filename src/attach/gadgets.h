/* SPDX-License-Identifier: BSD-2-Clause */
/* Finding code that a process has already: a system call, and a sigreturn. */
#ifndef TIDE_ATTACH_GADGETS_H
#define TIDE_ATTACH_GADGETS_H

#include "attach/arch.h"
#include "attach/maps.h"

/* 0; -ENOENT with the reason. The process runs on meanwhile. */
int tide__gadgets_find(struct tide__gadgets *g, int pid,
		       const struct tide__maps *maps, struct tide_error *err);

#endif
