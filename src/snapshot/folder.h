/* SPDX-License-Identifier: BSD-2-Clause */
/* The folder of a VM's snapshots. */
#ifndef TIDE_SNAPSHOT_FOLDER_H
#define TIDE_SNAPSHOT_FOLDER_H

#include "snapshot/format.h"

struct snap_entry {
	char *name;
	struct snap_header header;
	uint64_t bytes;		/* of the file */
	struct tide_error err;	/* code 0: its head is good */
};

struct snap_folder {
	char *path;
	struct snap_entry *entry;	/* the oldest first */
	size_t count;
};

/* What may be a snapshot's name: no slash, no dot in front, up to 200 bytes. */
bool snap_name_is_good(const char *name);
/* 0 or -errno. A folder that is not there is an error. */
int snap_folder_read(struct snap_folder *f, const char *path,
		     struct tide_error *err);
void snap_folder_free(struct snap_folder *f);
/* NULL: none of that name or id. */
const struct snap_entry *snap_folder_named(const struct snap_folder *f,
					   const char *name);
const struct snap_entry *snap_folder_with(const struct snap_folder *f,
					  const struct snap_id *id);

/* One process at a time changes a folder: a descriptor to close, or -EBUSY. */
int snap_folder_lock(const char *path, struct tide_error *err);

/* Write @name anew as a base of the same id. Under the lock. */
int snap_folder_fold(const char *path, const char *name,
		     struct tide_error *err);
/* Only the newest @keep (1 or more) stay; *@removed: how many went. */
int snap_folder_prune(const char *path, uint64_t keep, uint64_t *removed,
		      struct tide_error *err);

#endif
