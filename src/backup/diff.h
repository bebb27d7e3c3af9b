/* SPDX-License-Identifier: BSD-2-Clause */
/* Points as streams for `rbd import-diff`, and such streams as disks. */
#ifndef TIDE_BACKUP_DIFF_H
#define TIDE_BACKUP_DIFF_H

#include "backup/restore.h"

struct backup_export {
	const struct backup_point *from; /* NULL: all of the point */
	const char *from_snap, *to_snap; /* names in the stream */
	backup_progress *progress;
	void *opaque;
	const bool *stop;
};

/*
 * backup_export_diff: what point @p has and @o->from has not, to @file, checked
 * against the digests. -EINVAL: @p does not stand on that point; -EBADMSG: as
 * of backup_restore; what writing said.
 */
int backup_export_diff(const struct backup_folder *f,
		       const struct backup_point *p,
		       const struct backup_export *o, FILE *file,
		       uint64_t *data_bytes, struct tide_error *err);

struct backup_import {
	char *const *streams; /* paths; "-": standard input */
	size_t count;
	const char *to, *format;
	bool force;
	backup_progress *progress;
	void *opaque;
	const bool *stop;
};

/*
 * backup_import_diff: the streams, one after the other, as one new disk. The
 * first is of a whole image, and each other one goes on where the one before
 * ended, -EINVAL; -EBADMSG: one is damaged. After an error nothing new is
 * there.
 */
int backup_import_diff(const struct backup_import *o, uint64_t *data_bytes,
		       struct tide_error *err);

#endif
