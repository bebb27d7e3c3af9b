/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stores as trackers leave them, as seeds: usage: store_seeds FOLDER. The first
 * byte is the target's; see store.c.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbt/filter.h"
#include "cbt/tracker.h"
#include "store_world.h"

static void must(int ret)
{
	if (ret)
		abort();
}

/* Without the zeroes at its end, which are not looked at. */
static void save(const struct store_world *w, const char *folder, int flags)
{
	static uint8_t bytes[4 << 20];
	char path[300];
	int fd = open(w->store_path, O_RDONLY);
	ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
	FILE *to;

	while (n > 0 && !bytes[n - 1])
		n--;
	n = (n + 4095) / 4096 * 4096;
	snprintf(path, sizeof(path), "%s/store.%d", folder, flags);
	to = fopen(path, "w");
	if (!to || n < 8192 || fputc(flags, to) == EOF ||
	    fwrite(bytes, 1, (size_t)n, to) != (size_t)n)
		abort();
	fclose(to);
	close(fd);
}

static void use(struct cbt *c, struct tide_disk *d)
{
	static const uint8_t buf[4096];

	must(cbt_checkpoint_create(&c, 1, "k", false, NULL));
	must(tide_disk_write(d, 1 << 20, buf, sizeof(buf), NULL));
	must(cbt_bitmap_add(c, "b", 512, true, NULL));
	must(tide_disk_write(d, 9 << 20, buf, sizeof(buf), NULL));
	must(cbt_bitmap_add(c, "off", 65536, false, NULL));
	must(cbt_bitmap_merge(c, "off", c, "k", NULL));
	must(cbt_checkpoint_create(&c, 1, "pending", true, NULL));
	must(tide_disk_write(d, 17 << 20, buf, sizeof(buf), NULL));
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (int flags = 0; flags < 8; flags++) {
		struct store_world w;
		struct tide_disk *d;
		struct cbt *c;

		store_world_init(&w);
		w.o.durability = flags & 2 ? CBT_POWER : CBT_PROCESS;
		must(store_world_open(&w, &c, &d));
		use(c, d);
		if (flags & 4) {
			cbt_discard(c, false); /* killed */
			save(&w, argv[1], flags);
			free(d->path);
			free(d);
		} else {
			must(tide_disk_close(d, NULL));
			save(&w, argv[1], flags);
		}
		store_world_fini(&w);
	}
	return 0;
}
