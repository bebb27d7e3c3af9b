/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: a whole image. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_ask(data, size);
	return 0;
}
