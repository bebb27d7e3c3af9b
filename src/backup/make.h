/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A backup: a new point of one or several disks, of one moment.
 *
 *   pending.json   what is about to begin
 *   begin          the server freezes an instant, and what changed until then
 *   copy           from the instant, image and digests, durable
 *   manifest       the point is there
 *   commit         the server keeps the checkpoint for the next time, and lets
 *                  go of the instant and of the checkpoint before
 *   pending.json   is removed
 *
 * Killed anywhere, the next run finds pending.json and either finishes (the
 * manifest has the point) or undoes (it has not). A server that offers no
 * checkpoints is read as it is.
 */
#ifndef TIDE_BACKUP_MAKE_H
#define TIDE_BACKUP_MAKE_H

#include "backup/copy.h"

#define BACKUP_MAX_DISKS 64u

struct backup_make_options {
	char *const *uris; /* each of another disk */
	size_t count;
	/* The folder; of several disks, one with a folder for each. */
	const char *dest;
	const char *control; /* NULL: where the server says it is */
	const char *bitmap; /* of a foreign server; NULL: none */
	bool full;
	struct backup_compression compression;
	uint32_t jobs;
	bool over_nbd; /* read everything from the server */
	uint64_t bytes_per_s; /* 0: no limit */
	const char *pre, *post; /* commands around the begin; NULL: none */
	uint64_t hook_ms;
	/*
	 * Calls @begin with @making, once, while all that is to be of the same
	 * moment stands still; NULL: nothing is. A server without checkpoints
	 * is refused then.
	 */
	int (*moment)(void *opaque,
		      int (*begin)(void *making, struct tide_error *err),
		      void *making, struct tide_error *err);
	void *moment_opaque;
	backup_progress *progress;
	/* Something to be told a person; NULL: nobody asks. */
	void (*say)(void *opaque, const char *text);
	void *opaque;
	const bool *stop; /* atomic */
};

/* What became of one disk. */
struct backup_made {
	char disk[BACKUP_NAME], folder[512];
	struct backup_point point;
	char why_full[256]; /* "" if it is incremental */
	uint64_t peeked_bytes; /* read from the server's own file */
	uint64_t elapsed_ns;
};

/*
 * backup_make: 0 and @made[0 .. count). After an error no manifest has a new
 * point, but for -ESTALE: points are whole, and the server could not be told;
 * the next run does.
 */
int backup_make(const struct backup_make_options *o, struct backup_made *made,
		struct tide_error *err);

#endif
