/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Structs that callers fill in, and that grow from version to version.
 *
 * Their first field is the caller's sizeof. A caller of an older version has a
 * smaller struct: what it lacks keeps its default. One of a newer version has a
 * larger one, and may ask for nothing that is not known here: zeros.
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
