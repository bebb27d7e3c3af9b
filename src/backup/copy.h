/* SPDX-License-Identifier: BSD-2-Clause */
/* From a server to a point's image and digests. */
#ifndef TIDE_BACKUP_COPY_H
#define TIDE_BACKUP_COPY_H

#include "backup/image.h"
#include "instant/peek.h"
#include "transfer/rate.h"
#include "transfer/nbd_client.h"

/*
 * @at_bytes of @size_bytes of the disk were gone through: all below is copied.
 * One call at a time, often.
 */
typedef void backup_progress(void *opaque, const char *disk,
			     uint64_t at_bytes, uint64_t size_bytes);

struct backup_copy {
	struct nbd_client *source;
	/* Read first, younger than @source; NULL: all is read from that. */
	const struct instant_peek *peek;
	uint64_t *peeked_bytes; /* atomic: how much was read so; 0 before */
	struct backup_folder *folder;
	const struct backup_point *parent; /* NULL: a full one */
	const char *disk; /* for progress */
	struct backup_compression compression;
	uint32_t jobs;
	struct rate *rate;
	backup_progress *progress; /* NULL: none */
	void *opaque;
	const bool *stop;
};

/*
 * backup_copy_run: image and digests of point p->number, durable, and what the
 * manifest is to say in @p. After an error nothing names the files.
 */
int backup_copy_run(const struct backup_copy *c, struct backup_point *p,
		    struct tide_error *err);

#endif
