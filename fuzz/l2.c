/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: a byte of features, the L1 table, four L2 tables. */
#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t image[FUZZ_BYTES];

	if (!size)
		return 0;
	fuzz_image(image, 4);
	/* Version 2, an external data file, an old dirty image. */
	if (data[0] & 1)
		image[79] |= QCOW2_INCOMPAT_DATA_FILE;
	if (data[0] & 2)
		image[79] |= QCOW2_INCOMPAT_DIRTY;
	size--;
	if (size > 5 * FUZZ_CLUSTER)
		size = 5 * FUZZ_CLUSTER;
	memcpy(image + AT_L1 * FUZZ_CLUSTER, data + 1, size);
	fuzz_ask(image, sizeof(image));
	return 0;
}
