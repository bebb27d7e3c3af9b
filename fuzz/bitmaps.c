/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: how many bitmaps, bytes of the directory / 8, directory, table. */
#include <string.h>

#include "base/bytes.h"
#include "fuzz.h"

#define EXTENSION_AT 112u /* behind its type and length */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t image[FUZZ_BYTES];

	if (size < 2)
		return 0;
	fuzz_image(image, 4);
	tide__put_be(image + EXTENSION_AT, data[0], 4);
	tide__put_be(image + EXTENSION_AT + 8, data[1] * 8u, 8);
	size -= 2;
	if (size > 3 * FUZZ_CLUSTER)
		size = 3 * FUZZ_CLUSTER;
	memcpy(image + AT_DIRECTORY * FUZZ_CLUSTER, data + 2, size);
	fuzz_ask(image, sizeof(image));
	return 0;
}
