/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of a QEMU's mappings are its guest's memory: those as large as the
 * memory devices that query-memdev names.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qemu.h"

/*
 * The piece that fits @size bytes best, not taken yet, moved to the front of
 * the rest. Private memory may have grown together with a neighbour's.
 */
static bool take_size(struct tide__ram *ram, size_t taken, uint64_t size)
{
	size_t best = ram->count;
	struct tide__ram_area a;

	for (size_t i = taken; i < ram->count; i++) {
		uint64_t len = ram->area[i].len_bytes;

		if (len != size && (ram->area[i].kind != TIDE__MAP_ANONYMOUS ||
				    len < size || len > 2 * size))
			continue;
		if (best == ram->count || len < ram->area[best].len_bytes)
			best = i;
	}
	if (best == ram->count)
		return false;
	a = ram->area[best];
	memmove(&ram->area[taken + 1], &ram->area[taken],
		(best - taken) * sizeof(a));
	ram->area[taken] = a;
	return true;
}

static int by_address(const void *a, const void *b)
{
	const struct tide__ram_area *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

int qemu_choose(struct vmm *vmm, struct tide__ram *ram,
		struct tide_error *err)
{
	json_t *list = NULL, *dev;
	size_t taken = 0, i;
	int ret = qmp_ask(qemu_monitor(vmm), "query-memdev", NULL, -1, &list, err);

	if (ret)
		return ret;
	json_array_foreach(list, i, dev) {
		json_int_t size = json_integer_value(json_object_get(dev,
								     "size"));

		if (!take_size(ram, taken, (uint64_t)size)) {
			ret = tide_error_set(err, -ENOENT, "vmm",
					     TIDE_NO_OFFSET, "process %d has "
					     "no mapping as large as QEMU's "
					     "memory device (%lld bytes): is "
					     "it that QEMU?", vmm->pid,
					     (long long)size);
			break;
		}
		vmm->private_memory |=
		    !json_is_true(json_object_get(dev, "share"));
		taken++;
	}
	json_decref(list);
	if (!ret && !taken)
		ret = tide_error_set(err, -ENOENT, "vmm", TIDE_NO_OFFSET,
				     "this QEMU names no memory device");
	ram->count = taken;
	ram->bytes = 0;
	for (i = 0; i < taken; i++)
		ram->bytes += ram->area[i].len_bytes;
	qsort(ram->area, taken, sizeof(*ram->area), by_address);
	return ret;
}
