/* SPDX-License-Identifier: BSD-2-Clause */
#include "attach/sharers.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool shares(const struct tide__map *m, const struct tide__ram *ram)
{
	if (!m->shared || !m->writable || !m->inode)
		return false;
	for (size_t i = 0; i < ram->count; i++)
		if (ram->area[i].inode == m->inode &&
		    ram->area[i].device == m->device)
			return true;
	return false;
}

static bool any_shared(const struct tide__ram *ram)
{
	for (size_t i = 0; i < ram->count; i++)
		if (ram->area[i].inode)
			return true;
	return false;
}

static bool process_shares(int pid, const struct tide__ram *ram)
{
	struct tide__maps maps;
	bool found = false;

	if (tide__maps_read(&maps, pid, NULL))
		return false;
	for (size_t i = 0; !found && i < maps.count; i++)
		found = shares(&maps.map[i], ram);
	tide__maps_free(&maps);
	return found;
}

int tide__ram_sharer(const struct tide__ram *ram, int pid,
		     struct tide_error *err)
{
	struct dirent *e;
	int found = 0;
	DIR *d;

	if (!any_shared(ram))
		return 0;
	d = opendir("/proc");
	while (d && !found && (e = readdir(d))) {
		int other = atoi(e->d_name);

		if (other > 0 && other != pid && process_shares(other, ram))
			found = other;
	}
	if (d)
		closedir(d);
	if (!found)
		return 0;
	return tide_error_set(err, -EBUSY, "attach", TIDE_NO_OFFSET,
			      "process %d can write to the same memory (a "
			      "vhost-user backend?), and its writes cannot be "
			      "seen", found);
}
