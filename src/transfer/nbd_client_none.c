/* SPDX-License-Identifier: BSD-2-Clause */
/* Built where there is no libnbd: nothing can be opened. */
#include "transfer/nbd_client.h"

#include <errno.h>

static int none(struct tide_error *err)
{
	return tide_error_set(err, -ENOTSUP, "nbd", TIDE_NO_OFFSET,
			      "this tidemark was built without libnbd, which "
			      "speaks to NBD servers");
}

int nbd_client_open(const char *uri,
		    const struct nbd_client_options *options,
		    struct nbd_client **out, struct tide_error *err)
{
	(void)uri;
	(void)options;
	(void)out;
	return none(err);
}

void nbd_client_close(struct nbd_client *s)
{
	(void)s;
}

uint64_t nbd_client_size(const struct nbd_client *s)
{
	(void)s;
	return 0;
}

uint32_t nbd_client_connections(const struct nbd_client *s)
{
	(void)s;
	return 0;
}

int nbd_client_at(struct nbd_client *s, uint64_t offset_bytes,
		  uint64_t *length_bytes, uint32_t *flags,
		  struct tide_error *err)
{
	(void)s;
	(void)offset_bytes;
	(void)length_bytes;
	(void)flags;
	return none(err);
}

int nbd_client_read(struct nbd_client *s, uint32_t worker,
		    uint64_t offset_bytes, void *buf, uint64_t length_bytes,
		    struct tide_error *err)
{
	(void)s;
	(void)worker;
	(void)offset_bytes;
	(void)buf;
	(void)length_bytes;
	return none(err);
}

int nbd_client_fetch(struct nbd_client *s, uint32_t worker,
		     const struct piece *list, size_t count,
		     struct tide_error *err)
{
	(void)s;
	(void)worker;
	(void)list;
	(void)count;
	return none(err);
}

int nbd_client_write(struct nbd_client *s, uint32_t worker,
		     uint64_t offset_bytes, const void *buf,
		     uint64_t length_bytes, struct tide_error *err)
{
	(void)s;
	(void)worker;
	(void)offset_bytes;
	(void)buf;
	(void)length_bytes;
	return none(err);
}

int nbd_client_zero(struct nbd_client *s, uint32_t worker,
		    uint64_t offset_bytes, uint64_t length_bytes,
		    struct tide_error *err)
{
	(void)s;
	(void)worker;
	(void)offset_bytes;
	(void)length_bytes;
	return none(err);
}

int nbd_client_flush(struct nbd_client *s, struct tide_error *err)
{
	(void)s;
	return none(err);
}

int nbd_client_store(struct nbd_client *s, uint32_t worker,
		     const struct piece *list, size_t count,
		     struct tide_error *err)
{
	(void)s;
	(void)worker;
	(void)list;
	(void)count;
	return none(err);
}

int nbd_client_ping(struct nbd_client *s, struct tide_error *err)
{
	(void)s;
	return none(err);
}

int nbd_client_look(const char *uri, char **export, char **control,
		    struct tide_error *err)
{
	(void)uri;
	(void)export;
	(void)control;
	return none(err);
}
