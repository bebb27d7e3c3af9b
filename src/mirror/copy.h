/* SPDX-License-Identifier: BSD-2-Clause */
/* One round's bytes: from an export to another, all or what a context names. */
#ifndef TIDE_MIRROR_COPY_H
#define TIDE_MIRROR_COPY_H

#include "transfer/rate.h"
#include "transfer/nbd_client.h"

struct mirror_copy {
	const char *source_uri;
	const char *since; /* a checkpoint; NULL: all */
	struct nbd_client *target;
	uint32_t jobs;
	struct rate *rate;
	const bool *stop;
};

int mirror_copy_run(const struct mirror_copy *copy, uint64_t *copied_bytes,
		    struct tide_error *err);

#endif
