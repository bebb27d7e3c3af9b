/* SPDX-License-Identifier: BSD-2-Clause */
/* The disks of a VM, of the moment of its snapshot. */
#ifndef CLI_SNAPSHOT_DISKS_H
#define CLI_SNAPSHOT_DISKS_H

#include "snapshot/capture.h"

#define SNAPSHOT_MAX_DISKS 64u

struct snapshot_disks {
	const char *folder;	/* of the snapshots */
	const char *dest;	/* of the backup */
	const char *control;	/* NULL: the server says */
	char *text;		/* owned */
	char *uri[SNAPSHOT_MAX_DISKS];
	size_t count;
};

/* URIs with commas between; false: there is none, or too many. */
bool snapshot_disks_parse(struct snapshot_disks *d, const char *text);

/* For snap_capture_options; @opaque: a struct snapshot_disks. */
int snapshot_take_disks(void *opaque, const char *name,
			const struct snap_id *id, snap_moment *moment,
			void *taking, struct tide_error *err);

#endif
