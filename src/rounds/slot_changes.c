/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots that come and go while their guest is moved.
 *
 * The attempt works on the list of slots that the receiver knows. Between two
 * rounds, after the harvest and before the cut, it looks whether the map has
 * changed since; if so the receiver is told (SLOTS) and answers when its memory
 * is as wanted (WELCOME). Inside a round a page is sent only if its slot is in
 * the list and in the map.
 *
 * Nothing is lost: a slot that the receiver did not have is dirty as a whole,
 * whoever else marked it; and what a round skipped, because its slot was gone
 * then, is dirty again in whatever slot lies there now. A slot's memory is only
 * read between hold and release, so the VMM knows when it may unmap it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rounds/precopy.h"

#define TRIES 1000	/* to see a map that stands still */

/* One walk over the map; -EAGAIN: it changed meanwhile. */
static int walk(const struct tide_slots *slots, struct tide__slot_list *list)
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
	*list = (struct tide__slot_list){ slot, n, generation };
	return 0;
}

int tide__slots_collect(const struct tide_slots *slots,
			struct tide__slot_list *list, struct tide_error *err)
{
	int rc = -EAGAIN;

	for (int i = 0; i < TRIES && rc == -EAGAIN; i++)
		rc = walk(slots, list);
	if (rc)
		return tide_error_set(err, rc, "precopy", TIDE_NO_OFFSET,
				      rc == -EAGAIN
					  ? "the memory slots do not stand still"
					  : "no memory for a list of slots");
	return 0;
}

static bool same(const struct tide_slot *a, const struct tide_slot *b)
{
	return a->id == b->id && a->gpa_bytes == b->gpa_bytes &&
	       a->len_bytes == b->len_bytes && a->flags == b->flags;
}

/* The list is in order of guest addresses. */
static bool has(const struct tide__slot_list *list,
		const struct tide_slot *slot)
{
	uint32_t low = 0, high = list->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (list->slot[mid].gpa_bytes < slot->gpa_bytes)
			low = mid + 1;
		else
			high = mid;
	}
	return low < list->count && same(&list->slot[low], slot);
}

bool tide__slots_sendable(const struct attempt *a, const struct tide_slot *slot)
{
	return tide_slots_generation(a->slots) == a->known.generation ||
	       has(&a->known, slot);
}

void tide__slots_skipped(struct attempt *a, uint64_t first, uint64_t count)
{
	if (!a->skipped.count) {
		a->skipped = (struct tide_range){ first, count };
		return;
	}
	/* Ranges come in order: one hull is enough. */
	if (first + count > a->skipped.first + a->skipped.count)
		a->skipped.count = first + count - a->skipped.first;
}

/* What the receiver cannot have of @slot. */
static void mark(struct attempt *a, const struct tide_slot *slot)
{
	uint64_t first = slot->gpa_bytes / 4096;
	uint64_t end = first + slot->len_bytes / 4096;
	uint64_t from = a->skipped.first;
	uint64_t to = from + a->skipped.count;

	if (has(&a->known, slot)) {
		first = first > from ? first : from;
		end = end < to ? end : to;
	}
	if (first < end)
		tide_set_mark_range(a->set, first, end - first);
}

static int tell(struct attempt *a, const struct tide__slot_list *list,
		struct tide_error *err)
{
	struct tide__hello h = {
		.version = TIDE__WIRE_VERSION,
		.page_bytes = a->options.page_bytes,
		.channels = a->channels,
		.slots = list->count,
		.slot = list->slot,
	};
	struct tide__frame f = { .type = TIDE__FRAME_SLOTS };
	size_t len;
	unsigned char *bytes = tide__hello_put(&h, &len);
	int rc;

	if (!bytes)
		return tide_error_set(err, -ENOMEM, "precopy", TIDE_NO_OFFSET,
				      "no memory for a list of slots");
	rc = tide__channel_send(&a->channel[0], &f, bytes, len, err);
	free(bytes);
	return rc ? rc : tide__expect(a, TIDE__FRAME_WELCOME, &f, err);
}

int tide__slots_sync(struct attempt *a, struct tide_error *err)
{
	struct tide__slot_list now;
	bool equal;
	int rc;

	if (tide_slots_generation(a->slots) == a->known.generation) {
		a->skipped.count = 0;
		return 0;
	}
	rc = tide__slots_collect(a->slots, &now, err);
	if (rc)
		return rc;
	equal = now.count == a->known.count;
	for (uint32_t i = 0; i < now.count; i++) {
		equal = equal && same(&now.slot[i], &a->known.slot[i]);
		mark(a, &now.slot[i]);
	}
	a->skipped.count = 0;
	if (!equal)
		rc = tell(a, &now, err);
	free(a->known.slot);
	a->known = now;
	return rc;
}
