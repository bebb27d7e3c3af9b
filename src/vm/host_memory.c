/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much memory a guest could get here: what the kernel reckons it can give
 * without swapping, and what the control groups that we are in still allow,
 * each level of them. A guest that needs more would be found out by the OOM
 * killer in the middle of its move.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vm/internal.h"

/* The number in a file; UINT64_MAX: none, or "max". */
static uint64_t number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned long long value = 0;
	bool good = f && fscanf(f, "%llu", &value) == 1;

	if (f)
		fclose(f);
	return good ? value : UINT64_MAX;
}

static uint64_t available(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kib, found = UINT64_MAX;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			found = kib * 1024;
	if (f)
		fclose(f);
	return found;
}

static uint64_t left_in(const char *folder, const char *limit, const char *use)
{
	char path[1200];
	uint64_t max, used;

	snprintf(path, sizeof(path), "%s/%s", folder, limit);
	max = number_in(path);
	snprintf(path, sizeof(path), "%s/%s", folder, use);
	used = number_in(path);
	if (max == UINT64_MAX || used == UINT64_MAX)
		return UINT64_MAX;
	return used < max ? max - used : 0;
}

/* The group at @path of a hierarchy, and every group that it is in. */
static uint64_t left_upwards(const char *root, char *path, const char *limit,
			     const char *use)
{
	uint64_t min = UINT64_MAX, left;
	char folder[1100];

	for (;;) {
		char *slash = strrchr(path, '/');

		snprintf(folder, sizeof(folder), "%s%s", root, path);
		left = left_in(folder, limit, use);
		min = left < min ? left : min;
		if (!slash)
			return min;
		*slash = '\0';
	}
}

static uint64_t groups_left(void)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	uint64_t min = UINT64_MAX, left;
	char line[1100];

	while (f && fgets(line, sizeof(line), f)) {
		char *path = strrchr(line, ':');

		line[strcspn(line, "\n")] = '\0';
		if (!path)
			continue;
		*path++ = '\0';
		if (!strncmp(line, "0:", 2))
			left = left_upwards("/sys/fs/cgroup", path,
					    "memory.max", "memory.current");
		else if (strstr(line, ":memory"))
			left = left_upwards("/sys/fs/cgroup/memory", path,
					    "memory.limit_in_bytes",
					    "memory.usage_in_bytes");
		else
			continue;
		min = left < min ? left : min;
	}
	if (f)
		fclose(f);
	return min;
}

uint64_t vm_host_memory(void)
{
	uint64_t host = available(), groups = groups_left();

	return host < groups ? host : groups;
}
