/* SPDX-License-Identifier: BSD-2-Clause */
/* A trace of a disk's requests as a stranger gave it, plain or packed. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bitmaps/writes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);
	struct writes w;
	char path[64];

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!writes_load(&w, path, NULL)) {
		for (size_t i = 0; i < w.count; i++)
			if (w.list[i].offset_bytes + w.list[i].length_bytes >
				    w.end_bytes || !w.list[i].length_bytes)
				__builtin_trap();
		writes_fini(&w);
	}
	close(fd);
	return 0;
}
