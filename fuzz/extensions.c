/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: the extensions behind a good header. */
#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t image[FUZZ_BYTES];

	if (size > FUZZ_CLUSTER - 104)
		size = FUZZ_CLUSTER - 104;
	fuzz_image(image, 4);
	memcpy(image + 104, data, size);
	fuzz_ask(image, sizeof(image));
	return 0;
}
