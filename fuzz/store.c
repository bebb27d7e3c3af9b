/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store of a tracker, as somebody else may have written it. It is refused,
 * with its name and the reason, or believed: then every point of it can be
 * asked, and says all of the disk, each stretch once; writes are marked and
 * checkpoints made; and a store that was closed, or whose tracker was killed,
 * is opened again.
 *
 * The first byte: 1: the host was not started anew since; 2: power durability;
 * 8, 16: the disk is of another size.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cbt/tracker.h"
#include "store_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
	uint64_t bytes;
	uint64_t runs;
};

static bool count(void *opaque, const uint64_t *lengths_bytes, size_t n,
		  bool dirty)
{
	struct told *t = opaque;

	(void)dirty;
	for (size_t i = 0; i < n; i++) {
		if (!lengths_bytes[i])
			abort();
		t->bytes += lengths_bytes[i];
	}
	t->runs += n;
	return t->runs < 100000;
}

static void ask_all(struct cbt *c, uint64_t size)
{
	struct cbt_info *list;
	size_t n;

	if (cbt_list(c, CBT_COUNTED, &list, &n))
		return;
	for (size_t i = 0; i < n; i++) {
		struct told t = { 0 };
		int ret = cbt_changes_of(c, list[i].uuid, 0, size, count, &t,
					 NULL);

		if (ret && ret != -ESTALE)
			abort();
		if (!ret && t.bytes != size && t.runs < 100000)
			abort();
		if (list[i].dirty_bytes > size)
			abort();
	}
	free(list);
}

static void use(struct cbt *c, struct tide_disk *d, uint64_t size)
{
	static const uint8_t buf[512];
	struct cbt_status status;
	struct cbt_info info;
	int made = cbt_checkpoint_create(&c, 1, "fuzz", false, NULL);

	if (tide_disk_write(d, size - 512, buf, 512, NULL))
		abort();
	cbt_status(c, &status);
	if (!made && (cbt_info(c, "fuzz", CBT_COUNTED, &info, NULL) ||
		      !info.dirty_bytes))
		abort();
}

static void leave(struct cbt *c, struct tide_disk *d, bool kill)
{
	if (!kill) {
		tide_disk_close(d, NULL);
		return;
	}
	cbt_discard(c, false);
	free(d->path);
	free(d);
}

static void put(const struct store_world *w, const uint8_t *data, size_t size)
{
	int fd = open(w->store_path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	close(fd);
}

static void again(struct store_world *w, bool kill)
{
	struct tide_disk *d;
	struct cbt *c;

	if (store_world_open(w, &c, &d))
		abort(); /* what we wrote ourselves */
	ask_all(c, w->disk.size_bytes);
	leave(c, d, kill);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t sizes[] = { 24u << 20, (1u << 20) + 513,
					  UINT64_C(1) << 33,
					  UINT64_C(1) << 40 };
	static struct store_world w;
	struct tide_disk *d;
	struct cbt *c;

	if (size < 8192 || size > 1 << 20)
		return 0;
	if (!*w.folder)
		store_world_init(&w);
	put(&w, data + 1, size - 1);
	memset(w.boot, *data & 1 ? 7 : 8, 16);
	w.o.durability = *data & 2 ? CBT_POWER : CBT_PROCESS;
	w.disk.size_bytes = sizes[*data >> 3 & 3];
	if (store_world_open(&w, &c, &d))
		return 0;
	ask_all(c, w.disk.size_bytes);
	use(c, d, w.disk.size_bytes);
	leave(c, d, *data & 4);
	again(&w, !(*data & 4));
	again(&w, false);
	return 0;
}
