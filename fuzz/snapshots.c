/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: how many snapshots, their table, and an L1 table of theirs. */
#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t image[FUZZ_BYTES];

	if (!size)
		return 0;
	fuzz_image(image, 4);
	image[63] = data[0];
	size--;
	if (size > 3 * FUZZ_CLUSTER)
		size = 3 * FUZZ_CLUSTER;
	memcpy(image + AT_SNAPSHOTS * FUZZ_CLUSTER, data + 1, size);
	fuzz_ask(image, sizeof(image));
	return 0;
}
