/* SPDX-License-Identifier: BSD-2-Clause */
#include "attach/maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/*
 * By name: the kernel shows shared memory as the file of its own file system.
 * A file in another tmpfs is called a disk's here, which is the safe side.
 */
static enum tide__map_kind kind_of(const struct tide__map *m)
{
	if (!m->name[0] || starts(m->name, "[heap]") ||
	    starts(m->name, "[anon:"))
		return TIDE__MAP_ANONYMOUS;
	if (starts(m->name, "/anon_hugepage") ||
	    starts(m->name, "/dev/hugepages"))
		return TIDE__MAP_HUGETLB;
	if (starts(m->name, "/memfd:") || starts(m->name, "/dev/shm/") ||
	    starts(m->name, "/run/shm/") || starts(m->name, "/dev/zero") ||
	    starts(m->name, "/SYSV") || starts(m->name, "[anon_shmem:"))
		return TIDE__MAP_SHMEM;
	if (m->name[0] == '/' && !starts(m->name, "/dev/"))
		return TIDE__MAP_FILE;
	return TIDE__MAP_OTHER;
}

bool tide__maps_parse(const char *line, struct tide__map *m)
{
	unsigned int major, minor;
	char flags[5];
	int at = 0;
	size_t n;

	memset(m, 0, sizeof(*m));
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64
		   " %x:%x %" SCNu64 " %n", &m->start, &m->end, flags,
		   &m->offset_bytes, &major, &minor, &m->inode, &at) < 7 ||
	    !at ||
	    strlen(flags) != 4 || m->end <= m->start)
		return false;
	m->device = (uint64_t)major << 32 | minor;
	m->readable = flags[0] == 'r';
	m->writable = flags[1] == 'w';
	m->executable = flags[2] == 'x';
	m->shared = flags[3] == 's';
	n = strcspn(line + at, "\n");
	if (n >= sizeof(m->name))
		n = sizeof(m->name) - 1;
	memcpy(m->name, line + at, n);
	m->kind = kind_of(m);
	return true;
}

static int append(struct tide__maps *maps, size_t *room,
		  const struct tide__map *m)
{
	if (maps->count == *room) {
		size_t more = *room ? 2 * *room : 256;
		void *bigger = realloc(maps->map, more * sizeof(*maps->map));

		if (!bigger)
			return -ENOMEM;
		maps->map = bigger;
		*room = more;
	}
	maps->map[maps->count++] = *m;
	return 0;
}

int tide__maps_read(struct tide__maps *maps, int pid, struct tide_error *err)
{
	char path[32], *line = NULL;
	size_t room = 0, length = 0;
	struct tide__map m;
	FILE *file;
	int ret = 0;

	*maps = (struct tide__maps){ NULL, 0 };
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "re");
	if (!file)
		goto failed;
	while (!ret && getline(&line, &length, file) > 0)
		if (tide__maps_parse(line, &m))
			ret = append(maps, &room, &m);
	if (!ret && ferror(file))
		ret = -EIO;
	free(line);
	fclose(file);
	if (!ret && maps->count)
		return 0;
	tide__maps_free(maps);
	errno = ret ? -ret : ESRCH;	/* a process that ended has none */
failed:
	return tide_error_set(err, -errno, "attach", TIDE_NO_OFFSET,
			      "%s: %s", path, strerror(errno));
}

void tide__maps_free(struct tide__maps *maps)
{
	free(maps->map);
	*maps = (struct tide__maps){ NULL, 0 };
}
