/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's memory by its looks. Neighbours that are one piece to the program
 * are several mappings to the kernel after an mprotect, a madvise or a
 * registration of a part; they are joined again.
 */
#include "attach/ram.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MIN (UINT64_C(1) << 20)

static bool is_memory(const struct tide__map *m)
{
	return m->readable && m->writable && !m->executable &&
	       m->kind != TIDE__MAP_OTHER;
}

static bool continues(const struct tide__map *a, const struct tide__map *b)
{
	if (!is_memory(b) || a->end != b->start || a->kind != b->kind ||
	    a->shared != b->shared || strcmp(a->name, b->name))
		return false;
	return a->kind == TIDE__MAP_ANONYMOUS ||
	       a->offset_bytes + (a->end - a->start) == b->offset_bytes;
}

/* The piece that begins with mapping *i, which is left behind it. */
static struct tide__map take_piece(const struct tide__maps *maps, size_t *i)
{
	struct tide__map piece = maps->map[(*i)++];

	while (*i < maps->count && continues(&piece, &maps->map[*i]))
		piece.end = maps->map[(*i)++].end;
	return piece;
}

static uint64_t min_of(const struct tide__maps *maps)
{
	uint64_t max = 0;

	for (size_t i = 0; i < maps->count;) {
		struct tide__map m;

		if (!is_memory(&maps->map[i])) {
			i++;
			continue;
		}
		m = take_piece(maps, &i);
		if (m.end - m.start > max)
			max = m.end - m.start;
	}
	return max / 8 > MIN ? max / 8 : MIN;
}

static int refuse_file(const struct tide__map *m, struct tide_error *err)
{
	return tide_error_set(err, -EOPNOTSUPP, "attach", m->start,
			      "%" PRIu64 " MiB of memory are the file %s on a "
			      "disk, whose writes cannot be tracked; give the "
			      "guest memory from a memfd or /dev/shm",
			      (m->end - m->start) >> 20, m->name);
}

int tide__ram_find(struct tide__ram *ram, const struct tide__maps *maps,
		   uint64_t min, struct tide_error *err)
{
	memset(ram, 0, sizeof(*ram));
	if (!min)
		min = min_of(maps);
	for (size_t i = 0; i < maps->count;) {
		struct tide__ram_area *a = &ram->area[ram->count];
		struct tide__map m;

		if (!is_memory(&maps->map[i])) {
			i++;
			continue;
		}
		m = take_piece(maps, &i);
		if (m.end - m.start < min)
			continue;
		if (m.kind == TIDE__MAP_FILE && m.shared)
			return refuse_file(&m, err);
		if (m.kind == TIDE__MAP_FILE)
			continue;
		if (ram->count == TIDE__RAM_MAX)
			return tide_error_set(err, -E2BIG, "attach", m.start,
					      "more than %d pieces of %" PRIu64
					      " bytes and more; name a larger "
					      "least size", TIDE__RAM_MAX,
					      min);
		*a = (struct tide__ram_area){
			.start = m.start, .len_bytes = m.end - m.start,
			.kind = m.kind, .offset_bytes = m.offset_bytes,
			.inode = m.shared ? m.inode : 0,
			.device = m.device,
		};
		snprintf(a->name, sizeof(a->name), "%.63s", m.name);
		ram->bytes += a->len_bytes;
		ram->count++;
	}
	if (ram->count)
		return 0;
	return tide_error_set(err, -ENOENT, "attach", TIDE_NO_OFFSET,
			      "it has no memory of %" PRIu64 " bytes or more "
			      "in one piece", min);
}
