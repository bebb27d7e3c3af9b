/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory and disks as one moment.
 *
 * The backup of the disks begins inside of the VM's pause, so that its new
 * point holds what they held then; it is copied while the VM runs, and whole
 * before the snapshot gets its name. In between a note says which points belong
 * to it (snapshot/note.h). So a snapshot that is there has its disks; who is
 * killed leaves none, at most a point of the backup that no snapshot knows of.
 */
#include "cli/snapshot/disks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backup/make.h"
#include "snapshot/note.h"

#define JOBS 4

struct moment {
	snap_moment *moment;
	void *taking;
};

bool snapshot_disks_parse(struct snapshot_disks *d, const char *text)
{
	char *save = NULL, *one;

	d->text = strdup(text);
	d->count = 0;
	if (!d->text)
		return false;
	for (one = strtok_r(d->text, ",", &save); one;
	     one = strtok_r(NULL, ",", &save)) {
		if (d->count == SNAPSHOT_MAX_DISKS)
			return false;
		d->uri[d->count++] = one;
	}
	return d->count > 0;
}

static int at_the_moment(void *opaque,
			 int (*begin)(void *making, struct tide_error *err),
			 void *making, struct tide_error *err)
{
	const struct moment *m = opaque;

	return m->moment(m->taking, begin, making, err);
}

static json_t *note_of(const struct backup_made *made, size_t count)
{
	json_t *disks = json_array();

	for (size_t i = 0; i < count; i++) {
		char *folder = realpath(made[i].folder, NULL);

		json_array_append_new(disks, json_pack("{s:s, s:s, s:I}",
			"disk", made[i].disk, "folder", folder ? folder : "",
			"point", (json_int_t)made[i].point.number));
		free(folder);
	}
	return disks;
}

int snapshot_take_disks(void *opaque, const char *name,
			const struct snap_id *id, snap_moment *moment,
			void *taking, struct tide_error *err)
{
	const struct snapshot_disks *d = opaque;
	struct moment m = { moment, taking };
	struct backup_make_options o = {
		.uris = d->uri, .count = d->count, .dest = d->dest,
		.control = d->control, .jobs = JOBS,
		.moment = at_the_moment, .moment_opaque = &m,
	};
	struct backup_made *made = calloc(d->count, sizeof(*made));
	int ret;

	if (!made)
		return tide_error_set(err, -ENOMEM, "snapshot",
				      TIDE_NO_OFFSET, "no memory");
	ret = backup_make(&o, made, err);
	/* Its points are whole; the server is told by the next run. */
	if (ret == -ESTALE)
		ret = 0;
	if (!ret)
		ret = snap_note_write(d->folder, name, id,
				      note_of(made, d->count), err);
	free(made);
	return ret;
}
