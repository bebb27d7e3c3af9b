/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bitmap as a file of text, for people and scripts: a line that says what it
 * is of, then a run a line, in bytes, ascending.
 *
 *	tidemark-bitmap 1 size 10737418240 granularity 65536
 *	1048576 131072
 */
#ifndef CLI_BITMAP_FILE_H
#define CLI_BITMAP_FILE_H

#include <stdio.h>

#include "cbt/image.h"
#include "tidemark/error.h"

void bitmap_file_begin(FILE *to, uint64_t size_bytes,
		       uint64_t granularity_bytes);
/*
 * bitmap_file_read: what is in the file at @path, which is of a disk of
 * @size_bytes, into *out, made here. -EINVAL names the line; what the system
 * says; -ENOMEM.
 */
int bitmap_file_read(const char *path, uint64_t size_bytes,
		     struct cbt_image *out, struct tide_error *err);

#endif
