/* SPDX-License-Identifier: BSD-2-Clause */
#include "mirror/flusher.h"

static void *flush(void *opaque)
{
	struct flusher *f = opaque;

	f->ret = nbd_client_flush(f->client, &f->err);
	return NULL;
}

void flusher_start(struct flusher *f, struct nbd_client *client)
{
	f->client = client;
	f->ret = 0;
	f->started = !pthread_create(&f->thread, NULL, flush, f);
	if (!f->started)
		flush(f);
}

int flusher_end(struct flusher *f, struct tide_error *err)
{
	if (f->started)
		pthread_join(f->thread, NULL);
	f->started = false;
	if (f->ret && err)
		*err = f->err;
	return f->ret;
}
