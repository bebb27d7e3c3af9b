/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: the first bytes of an image. What parses must encode and parse. */
#include <stdlib.h>

#include "fuzz.h"

static void once(const uint8_t *data, size_t size,
		 int (*parse)(const char *, const uint8_t *, size_t, uint64_t,
			      struct qcow2_header *, struct tide_error *))
{
	struct qcow2_header h, again;
	struct tide_error err;
	uint8_t *out;

	if (parse("fuzz", data, size, 1ull << 40, &h, &err))
		return;
	out = malloc(qcow2_cluster_bytes(&h));
	if (out && !qcow2_header_encode(&h, out, qcow2_cluster_bytes(&h),
					&err)) {
		if (parse("fuzz", out, qcow2_cluster_bytes(&h), 1ull << 40,
			  &again, &err))
			__builtin_trap();
		if (again.size_bytes != h.size_bytes ||
		    again.l1_offset != h.l1_offset ||
		    again.has_bitmaps != h.has_bitmaps ||
		    !again.backing_name != !h.backing_name)
			__builtin_trap();
		qcow2_header_fini(&again);
	}
	free(out);
	qcow2_header_fini(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	once(data, size, qcow2_header_parse);
	once(data, size, qcow2_header_parse_tolerant);
	return 0;
}
