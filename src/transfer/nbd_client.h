/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a backup reads: an export of any NBD server. Several connections where
 * the server says that they are one disk; block status tells what is there
 * (base:allocation), and, where a context is named, what changed.
 *
 * Without libnbd at build every open fails and says so (source_none.c).
 *
 * Threads: read, write, zero and flush from any; at from one at a time.
 */
#ifndef TIDE_TRANSFER_NBD_CLIENT_H
#define TIDE_TRANSFER_NBD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"
#include "transfer/pump.h"

struct nbd_client;

enum {
	EXTENT_ZERO = 1, /* reads as zeroes */
	EXTENT_DIRTY = 2 /* changed, or nothing is known of changes */
};

struct nbd_client_options {
	const char *export; /* instead of the URI's; NULL: that one */
	const char *dirty; /* a context whose bit 0 is "changed"; NULL: none */
	uint32_t connections; /* at most, 1 to 64 */
	bool write; /* it is a destination */
};

/*
 * -ENOENT: the context is not offered. Else what connecting said; the error
 * names the URI.
 */
int nbd_client_open(const char *uri,
		    const struct nbd_client_options *options,
		    struct nbd_client **out, struct tide_error *err);
void nbd_client_close(struct nbd_client *s);
uint64_t nbd_client_size(const struct nbd_client *s);
/* More than one: the server says that they are one disk. */
uint32_t nbd_client_connections(const struct nbd_client *s);

/* What lies at @offset: flags that hold for *length bytes, at least one. */
int nbd_client_at(struct nbd_client *s, uint64_t offset_bytes,
		  uint64_t *length_bytes, uint32_t *flags,
		  struct tide_error *err);
/* @worker chooses the connection. At most 32 MiB. */
int nbd_client_read(struct nbd_client *s, uint32_t worker,
		    uint64_t offset_bytes, void *buf, uint64_t length_bytes,
		    struct tide_error *err);
/*
 * Pieces of data, each into its buf, all at once; others, and those that are
 * fetched already, are passed over.
 */
int nbd_client_fetch(struct nbd_client *s, uint32_t worker,
		     const struct piece *list, size_t count,
		     struct tide_error *err);
/* The same the other way: each from its buf. */
int nbd_client_store(struct nbd_client *s, uint32_t worker,
		     const struct piece *list, size_t count,
		     struct tide_error *err);
int nbd_client_write(struct nbd_client *s, uint32_t worker,
		     uint64_t offset_bytes, const void *buf,
		     uint64_t length_bytes, struct tide_error *err);
/* -ENOTSUP: the server cannot. */
int nbd_client_zero(struct nbd_client *s, uint32_t worker,
		    uint64_t offset_bytes, uint64_t length_bytes,
		    struct tide_error *err);
/* Does the server still answer? Of each connection: it is the same process. */
int nbd_client_ping(struct nbd_client *s, struct tide_error *err);
int nbd_client_flush(struct nbd_client *s, struct tide_error *err);

/*
 * What a server says of itself: the name of the export of @uri, and where the
 * control socket of a tidemark server is; "" if it is none. Both are malloc'd.
 */
int nbd_client_look(const char *uri, char **export, char **control,
		    struct tide_error *err);

#define NBD_CLIENT_CONTROL "tidemark:control:"

#endif
