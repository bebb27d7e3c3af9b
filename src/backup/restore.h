/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading points back: into a target, and against their digests. Every chunk is
 * held against its digest before it is written anywhere.
 */
#ifndef TIDE_BACKUP_RESTORE_H
#define TIDE_BACKUP_RESTORE_H

#include "backup/copy.h"

struct backup_restore_options {
	const char *to, *format;
	bool force;
	bool verify; /* read it back afterwards */
	uint32_t jobs;
	backup_progress *progress;
	void *opaque;
	const bool *stop;
};

struct backup_restored {
	uint64_t data_bytes; /* written */
	uint64_t verified_bytes; /* read back */
};

/* -EBADMSG: the point, or what was read back, is not what it was. */
int backup_restore(const struct backup_folder *f, const struct backup_point *p,
		   const struct backup_restore_options *o,
		   struct backup_restored *out, struct tide_error *err);

struct backup_verify_options {
	uint32_t jobs;
	uint32_t sample_ppm; /* of pieces that are read: 1,000,000: all */
	uint64_t seed;
	backup_progress *progress;
	void *opaque;
	const bool *stop;
};

/*
 * A point's own image against its digests: each chunk that it lists, and that
 * it holds no others. -EBADMSG: the first that is wrong.
 */
int backup_verify_point(const struct backup_folder *f,
			const struct backup_point *p,
			const struct backup_verify_options *o,
			uint64_t *read_bytes, struct tide_error *err);

/* What a server's disk says of what it told us. */
struct backup_truth {
	uint64_t unchanged_bytes; /* compared, of what it said is unchanged */
	uint64_t missed_bytes; /* of that, really other than in the point */
	uint64_t first_missed; /* offset */
	uint64_t changed_bytes; /* compared, of what it said changed */
	uint64_t equal_bytes; /* of that, really equal */
};

/* @source: with what changed since @p as its dirty context. */
int backup_verify_disk(const struct backup_folder *f,
		       const struct backup_point *p,
		       struct nbd_client *source,
		       const struct backup_verify_options *o,
		       struct backup_truth *out, struct tide_error *err);

#endif
