/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The head of a core file whose memory follows it, all areas one after the
 * other: virtual addresses are those of the process, physical ones the place in
 * the memory, which for a PC with little memory is the guest's own.
 */
#ifndef TIDE_SNAPSHOT_ELF_CORE_H
#define TIDE_SNAPSHOT_ELF_CORE_H

#include "snapshot/format.h"

/* A whole number of pages, to be freed; *@bytes of them. NULL: no memory. */
void *snap_elf_head(const struct snap_header *h, const struct snap_area *area,
		    size_t *bytes);

#endif
