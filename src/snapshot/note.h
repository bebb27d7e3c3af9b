/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Beside NAME.tides, NAME.disks: which points of which backups hold the disks
 * of that moment, as JSON (docs/format-snapshot.md). It is there before the
 * snapshot has its name; one with another id belongs to none.
 */
#ifndef TIDE_SNAPSHOT_NOTE_H
#define TIDE_SNAPSHOT_NOTE_H

#include <jansson.h>

#include "snapshot/format.h"

#define SNAP_NOTE_SUFFIX ".disks"

/* @disks is taken. Durable when it returns 0. */
int snap_note_write(const char *folder, const char *name,
		    const struct snap_id *id, json_t *disks,
		    struct tide_error *err);
/* The disks of that snapshot, a new reference; NULL: none are known. */
json_t *snap_note_read(const char *folder, const char *name,
		       const struct snap_id *id);

#endif
