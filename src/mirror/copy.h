/* SPDX-License-Identifier: BSD-2-Clause */
/* One round's bytes: from an export to another, all or what a context names. */
#ifndef TIDE_MIRROR_COPY_H
#define TIDE_MIRROR_COPY_H

#include "transfer/rate.h"
#include "transfer/nbd_client.h"

struct mirror_copy {
	struct nbd_client *source; /* of mirror_copy_open */
	struct nbd_client *target;
	uint32_t jobs;
	struct rate *rate;
	const bool *stop;
};

/*
 * What is to be copied of @uri: what changed since the checkpoint @since until
 * it is copied; NULL: all. For one run.
 */
int mirror_copy_open(const char *uri, const char *since, uint32_t jobs,
		     struct nbd_client **out, struct tide_error *err);
int mirror_copy_run(const struct mirror_copy *copy, uint64_t *copied_bytes,
		    struct tide_error *err);

#endif
