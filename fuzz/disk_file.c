/* SPDX-License-Identifier: BSD-2-Clause */
/* The disk of the VMs that the fuzz targets make: a file without a name. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "state.h"

const char *state_disk(void)
{
	static char path[64];
	int fd;

	if (*path)
		return path;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, STATE_DISK))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}
