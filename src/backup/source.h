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
#ifndef TIDE_BACKUP_SOURCE_H
#define TIDE_BACKUP_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

struct backup_source;

enum {
	BACKUP_IS_ZERO = 1, /* reads as zeroes */
	BACKUP_IS_DIRTY = 2 /* changed, or nothing is known of changes */
};

struct backup_source_options {
	const char *export; /* instead of the URI's; NULL: that one */
	const char *dirty; /* a context whose bit 0 is "changed"; NULL: none */
	uint32_t connections; /* at most, 1 to 64 */
	bool write; /* it is a destination */
};

/*
 * -ENOENT: the context is not offered. Else what connecting said; the error
 * names the URI.
 */
int backup_source_open(const char *uri,
		       const struct backup_source_options *options,
		       struct backup_source **out, struct tide_error *err);
void backup_source_close(struct backup_source *s);
uint64_t backup_source_size(const struct backup_source *s);

/* What lies at @offset: flags that hold for *length bytes, at least one. */
int backup_source_at(struct backup_source *s, uint64_t offset_bytes,
		     uint64_t *length_bytes, uint32_t *flags,
		     struct tide_error *err);
/* @worker chooses the connection. At most 32 MiB. */
int backup_source_read(struct backup_source *s, uint32_t worker,
		       uint64_t offset_bytes, void *buf, uint64_t length_bytes,
		       struct tide_error *err);
int backup_source_write(struct backup_source *s, uint32_t worker,
			uint64_t offset_bytes, const void *buf,
			uint64_t length_bytes, struct tide_error *err);
/* -ENOTSUP: the server cannot. */
int backup_source_zero(struct backup_source *s, uint32_t worker,
		       uint64_t offset_bytes, uint64_t length_bytes,
		       struct tide_error *err);
int backup_source_flush(struct backup_source *s, struct tide_error *err);

/*
 * What a server says of itself: the name of the export of @uri, and where the
 * control socket of a tidemark server is; "" if it is none. Both are malloc'd.
 */
int backup_source_look(const char *uri, char **export, char **control,
		       struct tide_error *err);

#define BACKUP_CONTROL_CONTEXT "tidemark:control:"

#endif
