/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flush of the target that is under way while something else is done: a wait
 * for its medium is most of what clients are held up for.
 */
#ifndef TIDE_MIRROR_FLUSHER_H
#define TIDE_MIRROR_FLUSHER_H

#include <pthread.h>
#include <stdbool.h>

#include "transfer/nbd_client.h"

struct flusher {
	struct nbd_client *client; /* borrowed until the end */
	pthread_t thread;
	bool started;
	int ret;
	struct tide_error err;
};

/* From here on @client is the flusher's. Without a thread it waits for it. */
void flusher_start(struct flusher *f, struct nbd_client *client);
/* What became of it; 0, too, if it was never started. */
int flusher_end(struct flusher *f, struct tide_error *err);

#endif
