/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/note.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void id_text(char to[33], const struct snap_id *id)
{
	for (int i = 0; i < 16; i++)
		sprintf(to + 2 * i, "%02x", id->byte[i]);
}

static int sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* Beside, synced, then under its name. */
static int put(const json_t *note, const char *part, const char *path)
{
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
		      O_NOFOLLOW, 0600);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (json_dumpfd(note, fd, JSON_COMPACT) || write(fd, "\n", 1) != 1)
		ret = errno ? -errno : -EIO;
	if (!ret && fsync(fd) < 0)
		ret = -errno;
	close(fd);
	if (!ret && rename(part, path) < 0)
		ret = -errno;
	if (ret)
		unlink(part);
	return ret;
}

int snap_note_write(const char *folder, const char *name,
		    const struct snap_id *id, json_t *disks,
		    struct tide_error *err)
{
	char text[33], *part = NULL, *path = NULL;
	json_t *note;
	int ret = -ENOMEM;

	id_text(text, id);
	note = json_pack("{s:s, s:o}", "snapshot", text, "disks", disks);
	errno = 0;
	if (note &&
	    asprintf(&path, "%s/%s" SNAP_NOTE_SUFFIX, folder, name) >= 0 &&
	    asprintf(&part, "%s/.%s" SNAP_NOTE_SUFFIX ".part", folder,
		     name) >= 0)
		ret = put(note, part, path);
	if (!ret)
		ret = sync_folder(folder);
	json_decref(note);
	free(part);
	free(path);
	return ret ? tide_error_set(err, ret, "snapshot", TIDE_NO_OFFSET,
				    "%s/%s" SNAP_NOTE_SUFFIX ": %s", folder,
				    name, strerror(-ret)) : 0;
}

json_t *snap_note_read(const char *folder, const char *name,
		       const struct snap_id *id)
{
	json_t *note = NULL, *disks = NULL;
	char text[33], *path;
	const char *of;

	id_text(text, id);
	if (asprintf(&path, "%s/%s" SNAP_NOTE_SUFFIX, folder, name) < 0)
		return NULL;
	note = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	free(path);
	of = json_string_value(json_object_get(note, "snapshot"));
	if (of && !strcmp(of, text))
		disks = json_incref(json_object_get(note, "disks"));
	json_decref(note);
	if (json_is_array(disks))
		return disks;
	json_decref(disks);
	return NULL;
}
