/* SPDX-License-Identifier: BSD-2-Clause */
#include "rounds/options.h"

#include <errno.h>

#include "base/sized.h"

/* The first version ended here; none was smaller. */
#define MIN_BYTES (offsetof(struct tide_precopy_options, cancel) + \
		   sizeof(const bool *))

void tide_precopy_defaults(struct tide_precopy_options *options)
{
	*options = (struct tide_precopy_options){
		.struct_size = sizeof(*options),
		.page_bytes = TIDE_PAGE_BYTES,
		.downtime_target_ns = 300000000u,
		.stall_timeout_ns = 10000000000u,
		.max_rounds = 30,
		.max_throttle_percent = 99,
		.checksum = true,
	};
}

int tide__options_take(struct tide_precopy_options *own,
		       const struct tide_precopy_options *theirs,
		       struct tide_error *err)
{
	size_t size = theirs->struct_size;
	const char *fault = NULL;

	tide_precopy_defaults(own);
	if (size < MIN_BYTES)
		fault = "begin with tide_precopy_defaults";
	else if (!tide__sized_take(own, sizeof(*own), theirs, size))
		fault = "some are set that this version does not know";
	own->struct_size = sizeof(*own);
	if (!fault && own->page_bytes != TIDE_PAGE_BYTES)
		fault = "page_bytes is TIDE_PAGE_BYTES, and no other";
	if (!fault && !own->stall_timeout_ns)
		fault = "a stall timeout of 0 is none";
	if (!fault)
		return 0;
	return tide_error_set(err, -EINVAL, "precopy", TIDE_NO_OFFSET,
			      "options: %s", fault);
}
