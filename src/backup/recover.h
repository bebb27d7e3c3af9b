/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What pending.json names, at the server: kept, or as if it had not begun. Both
 * may be done again; a run that is killed in them leaves them to the next one.
 */
#ifndef TIDE_BACKUP_RECOVER_H
#define TIDE_BACKUP_RECOVER_H

#include "backup/folder.h"

/* The text of that key; "" if there is none. */
const char *recover_text(const json_t *o, const char *key);
/* As if the checkpoint had not begun. */
int recover_call_off(const char *control, const char *disk,
		     const char *checkpoint, struct tide_error *err);
/* The checkpoint is the one to ask from, and those before it are not needed. */
int recover_finish(const json_t *pending, const char *control,
		   struct tide_error *err);

/*
 * What an earlier run left in @f is finished or undone. @control: NULL or "":
 * there is no server to tell.
 */
int backup_recover(struct backup_folder *f, const char *control,
		   struct tide_error *err);

#endif
