/* SPDX-License-Identifier: BSD-2-Clause */
/* A backup against the disk that it is of. */
#ifndef TIDE_BACKUP_LIVE_H
#define TIDE_BACKUP_LIVE_H

#include "backup/restore.h"

/*
 * backup_verify_live: the newest point of @f against an instant of the disk at
 * @uri, of which the server says what changed since. The instant is given up
 * afterwards. -ENOTSUP: the server has no checkpoints; -ESTALE: it does not
 * know that point any more. @control as in make.h.
 */
int backup_verify_live(struct backup_folder *f, const char *uri,
		       const char *control,
		       const struct backup_verify_options *o,
		       struct backup_truth *out, struct tide_error *err);

#endif
