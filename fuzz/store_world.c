/* SPDX-License-Identifier: BSD-2-Clause */
#include "store_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbt/filter.h"

uint64_t __wrap_XXH64(const void *bytes, size_t length, uint64_t seed);
uint64_t __wrap_XXH64(const void *bytes, size_t length, uint64_t seed)
{
	(void)bytes, (void)length, (void)seed;
	return 0;
}

static int null_read(struct tide_disk *d, uint64_t offset, void *buf,
		     uint64_t length, struct tide_error *err)
{
	(void)d, (void)offset, (void)err;
	memset(buf, 0, length);
	return 0;
}

static int null_write(struct tide_disk *d, uint64_t offset, const void *buf,
		      uint64_t length, struct tide_error *err)
{
	(void)d, (void)offset, (void)buf, (void)length, (void)err;
	return 0;
}

static int null_done(struct tide_disk *d, struct tide_error *err)
{
	(void)d, (void)err;
	return 0;
}

static const struct tide_disk_ops ops = {
	.name = "null", .read = null_read, .write = null_write,
	.flush = null_done, .close = null_done,
};

void store_world_init(struct store_world *w)
{
	int fd;

	memset(w, 0, sizeof(*w));
	strcpy(w->folder, "/dev/shm/fuzz.XXXXXX");
	if (!mkdtemp(w->folder))
		abort();
	snprintf(w->disk_path, sizeof(w->disk_path), "%s/disk", w->folder);
	snprintf(w->store_path, sizeof(w->store_path), "%s.tidemark",
		 w->disk_path);
	fd = open(w->disk_path, O_CREAT | O_WRONLY, 0600);
	if (fd < 0)
		abort();
	close(fd);
	memset(w->boot, 7, 16);
	w->disk = (struct tide_disk){ .ops = &ops, .size_bytes = 24u << 20,
				      .writable = true, .path = w->disk_path,
				      .alignment_bytes = 1 };
	w->o = (struct cbt_options){ .live_folder = w->folder,
				     .boot = w->boot };
}

int store_world_open(struct store_world *w, struct cbt **c,
		     struct tide_disk **tracked)
{
	struct tide_error err;
	int ret = cbt_open(&w->disk, &w->o, c, &err);

	if (ret) {
		/* It says of which file, and why. */
		if (!strstr(err.text, "disk"))
			abort();
		return ret;
	}
	if (cbt_filter_create(&w->disk, *c, tracked, NULL))
		abort();
	return 0;
}

void store_world_fini(struct store_world *w)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", w->folder);
	if (system(command))
		abort();
}
