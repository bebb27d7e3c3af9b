/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Size-stamped structs: callers fill them in, and they grow from version to
 * version without breaking the ABI.
 *
 * Their first field is the caller's sizeof. The struct of an older caller is
 * smaller: missing fields have their defaults. That of a newer caller is
 * larger: fields unknown here must be zero.
 */
#ifndef TIDE_BASE_SIZED_H
#define TIDE_BASE_SIZED_H

#include <stdbool.h>
#include <stddef.h>

/*
 * @own, @known bytes and full of defaults, takes what @theirs, @size bytes, has
 * of it, the size stamp included. False, and @own as it was: @theirs has
 * something besides.
 */
bool tide__sized_take(void *own, size_t known, const void *theirs, size_t size);

#endif
