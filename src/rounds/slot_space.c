/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory of a guest whose slots may change while it is copied (hotplug).
 *
 * The space works on the layout that the sink knows. Between two rounds, after
 * the harvest and before the cut, it checks whether the map has changed since;
 * if so, the sink is told. Within a round a page is read only if its slot is
 * both in the layout and in the map.
 *
 * Nothing is lost: a slot that is new to the sink is dirty as a whole; and
 * pages that a round skipped because their slot was gone are dirty again in
 * whatever slot is there now. A slot's memory is read only between hold and
 * release (a read-side critical section), so the VMM knows when it may unmap
 * it.
 */
#include "rounds/slot_space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

#define TRIES 1000	/* to see a map that stands still */

static struct tide__slot_space *of(struct tide__space *space)
{
	return (struct tide__slot_space *)space;
}

/* One walk over the map; -EAGAIN: it changed meanwhile. */
static int walk(const struct tide_slots *slots, struct tide__layout *layout)
{
	uint64_t generation = tide_slots_generation(slots), from = 0;
	uint32_t room = tide_slots_count(slots), n = 0;
	struct tide_slot *slot = calloc(room ? room : 1, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	while (n < room && tide_slots_next(slots, from, &slot[n])) {
		from = slot[n].gpa_bytes + slot[n].len_bytes;
		n++;
		if (!from)
			break;		/* it ended at 2^64 */
	}
	if (tide_slots_generation(slots) != generation) {
		free(slot);
		return -EAGAIN;
	}
	*layout = (struct tide__layout){ slot, n, generation };
	return 0;
}

static int collect(const struct tide_slots *slots, struct tide__layout *layout,
		   struct tide_error *err)
{
	int ret = -EAGAIN;

	for (int i = 0; i < TRIES && ret == -EAGAIN; i++)
		ret = walk(slots, layout);
	if (ret)
		return tide_error_set(
			err, ret, "precopy", TIDE_NO_OFFSET,
			ret == -EAGAIN ? "the memory slots do not stand still"
				       : "no memory for a list of slots");
	return 0;
}

static bool same(const struct tide_slot *a, const struct tide_slot *b)
{
	return a->id == b->id && a->gpa_bytes == b->gpa_bytes &&
	       a->len_bytes == b->len_bytes && a->flags == b->flags;
}

/* The layout is in order of guest addresses. */
static bool has(const struct tide__layout *layout, const struct tide_slot *slot)
{
	uint32_t low = 0, high = layout->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (layout->slot[mid].gpa_bytes < slot->gpa_bytes)
			low = mid + 1;
		else
			high = mid;
	}
	return low < layout->count && same(&layout->slot[low], slot);
}

static bool is_stale(const struct tide__space *space)
{
	const struct tide__slot_space *s =
	    (const struct tide__slot_space *)space;

	return tide_slots_generation(s->slots) != space->layout.generation;
}

static void skip(struct tide__slot_space *s, struct tide_range *left,
		 uint64_t count)
{
	uint64_t end = left->first + count;

	/* Ranges come in order: one hull is enough. */
	if (!s->skipped.count)
		s->skipped = (struct tide_range){ left->first, count };
	else if (end > s->skipped.first + s->skipped.count)
		s->skipped.count = end - s->skipped.first;
	left->first += count;
	left->count -= count;
}

/* Marks outside every slot are too wide, not wrong: skipped. */
static bool next(struct tide__space *space, struct tide_range *left,
		 struct tide__piece *piece)
{
	struct tide__slot_space *s = of(space);
	uint64_t gpa = left->first * TIDE_PAGE_BYTES, room;
	struct tide_slot slot;

	if (!tide_slots_next(s->slots, gpa, &slot) ||
	    slot.gpa_bytes >= gpa + left->count * TIDE_PAGE_BYTES) {
		skip(s, left, left->count);
		return false;
	}
	if (slot.gpa_bytes > gpa) {
		skip(s, left, (slot.gpa_bytes - gpa) / TIDE_PAGE_BYTES);
		return false;
	}
	room = (slot.len_bytes - (gpa - slot.gpa_bytes)) / TIDE_PAGE_BYTES;
	if (room > left->count)
		room = left->count;
	if (is_stale(space) && !has(&space->layout, &slot)) {
		skip(s, left, room);
		return false;
	}
	piece->first = left->first;
	piece->count = room < TIDE__PIECE_PAGES ? room : TIDE__PIECE_PAGES;
	piece->host = (unsigned char *)slot.host + (gpa - slot.gpa_bytes);
	left->first += piece->count;
	left->count -= piece->count;
	return true;
}

static int rearm(struct tide__space *space, const struct tide__piece *piece,
		 struct tide_error *err)
{
	struct tide__slot_space *s = of(space);

	if (!s->ops->rearm)
		return 0;
	return tide__called(s->ops->rearm(s->opaque, piece->first, piece->count,
					  err), "rearm", err);
}

static int harvest(struct tide__space *space, struct tide_set *set,
		   struct tide_error *err)
{
	struct tide__slot_space *s = of(space);

	return tide__called(s->ops->harvest(s->opaque, set, err), "harvest",
			    err);
}

static void hold(struct tide__space *space)
{
	if (of(space)->ops->hold)
		of(space)->ops->hold(of(space)->opaque);
}

static void release(struct tide__space *space)
{
	if (of(space)->ops->release)
		of(space)->ops->release(of(space)->opaque);
}

/*
 * Pages that the guest may be writing: what is torn is marked, and sent again.
 * No copy is free of that race by the letter, so the sanitizer is shown one by
 * words, which is.
 */
static int read_piece(struct tide__space *space,
		      const struct tide__piece *piece, void *to,
		      struct tide_error *err)
{
	size_t bytes = piece->count * TIDE_PAGE_BYTES;

	(void)space;
	(void)err;
#ifdef __SANITIZE_THREAD__
	for (size_t i = 0; i < bytes; i += 8) {
		/* Pairs with nothing. */
		uint64_t word = tide__load_relaxed(
		    (const uint64_t *)(piece->host + i));

		memcpy((char *)to + i, &word, 8);
	}
#else
	memcpy(to, piece->host, bytes);
#endif
	return 0;
}

/* What the sink cannot have of @slot. */
static void mark(struct tide__slot_space *s, struct tide_set *set,
		 const struct tide_slot *slot)
{
	uint64_t first = slot->gpa_bytes / TIDE_PAGE_BYTES;
	uint64_t end = first + slot->len_bytes / TIDE_PAGE_BYTES;
	uint64_t from = s->skipped.first;
	uint64_t to = from + s->skipped.count;

	if (has(&s->space.layout, slot)) {
		first = first > from ? first : from;
		end = end < to ? end : to;
	}
	if (first < end)
		tide_set_mark_range(set, first, end - first);
}

static int renew(struct tide__space *space, struct tide_set *set, bool *changed,
		 struct tide_error *err)
{
	struct tide__slot_space *s = of(space);
	struct tide__layout now;
	int ret = 0;

	if (is_stale(space)) {
		ret = collect(s->slots, &now, err);
		if (ret)
			return ret;
		*changed = now.count != space->layout.count;
		for (uint32_t i = 0; i < now.count; i++) {
			*changed = *changed || !same(&now.slot[i],
						     &space->layout.slot[i]);
			mark(s, set, &now.slot[i]);
		}
		free(space->layout.slot);
		space->layout = now;
	}
	s->skipped.count = 0;
	return 0;
}

static void mark_all(struct tide__space *space, struct tide_set *set)
{
	struct tide_slot slot;
	uint64_t from = 0;

	while (tide_slots_next(of(space)->slots, from, &slot)) {
		tide_set_mark_range(set, slot.gpa_bytes / TIDE_PAGE_BYTES,
				    slot.len_bytes / TIDE_PAGE_BYTES);
		from = slot.gpa_bytes + slot.len_bytes;
		if (!from)
			break;		/* it ended at 2^64 */
	}
}

static int open_space(struct tide__space *space, struct tide_error *err)
{
	return collect(of(space)->slots, &space->layout, err);
}

static void close_space(struct tide__space *space)
{
	free(space->layout.slot);
	space->layout.slot = NULL;
}

void tide__slot_space_init(struct tide__slot_space *s,
			   const struct tide_slots *slots,
			   const struct tide_precopy_ops *ops, void *opaque)
{
	static const struct tide__space_ops space_ops = {
		.open = open_space,
		.close = close_space,
		.mark_all = mark_all,
		.harvest = harvest,
		.is_stale = is_stale,
		.renew = renew,
		.next = next,
		.rearm = rearm,
		.hold = hold,
		.release = release,
		.read = read_piece,
	};

	*s = (struct tide__slot_space){
		.space.ops = &space_ops,
		.slots = slots,
		.ops = ops,
		.opaque = opaque,
	};
}
