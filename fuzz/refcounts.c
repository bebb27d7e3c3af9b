/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: refcount_order, the refcount table, a refcount block. */
#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t image[FUZZ_BYTES];

	if (!size)
		return 0;
	fuzz_image(image, data[0] % 7);
	size--;
	if (size > 2 * FUZZ_CLUSTER)
		size = 2 * FUZZ_CLUSTER;
	memcpy(image + AT_REFTABLE * FUZZ_CLUSTER, data + 1, size);
	fuzz_ask(image, sizeof(image));
	return 0;
}
