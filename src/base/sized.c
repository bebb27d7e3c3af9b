/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/sized.h"

#include <string.h>

bool tide__sized_take(void *own, size_t known, const void *theirs, size_t size)
{
	const unsigned char *bytes = theirs;

	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return false;
	memcpy(own, theirs, size < known ? size : known);
	return true;
}
