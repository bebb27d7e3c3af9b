/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The slot map: an array sorted by guest address, searched by halving, under a
 * read-write lock.
 *
 * Readers share the lock for the length of one lookup; a change holds it alone
 * for one memmove. Search by host address is linear: only the paths that map
 * and unmap memory use it.
 */
#include "tidemark/slots.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char origin[] = "slots";

struct tide_slots {
	pthread_rwlock_t lock;
	struct tide_slot *at;	/* by gpa_bytes, not overlapping */
	uint32_t count, room;
	uint64_t generation;
};

int tide_slots_create(struct tide_slots **out, struct tide_error *err)
{
	struct tide_slots *slots = calloc(1, sizeof(*slots));

	if (!slots)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a slot map");
	pthread_rwlock_init(&slots->lock, NULL);
	*out = slots;
	return 0;
}

void tide_slots_destroy(struct tide_slots *slots)
{
	if (!slots)
		return;
	pthread_rwlock_destroy(&slots->lock);
	free(slots->at);
	free(slots);
}

static void read_lock(const struct tide_slots *slots)
{
	pthread_rwlock_rdlock((pthread_rwlock_t *)&slots->lock);
}

static void unlock(const struct tide_slots *slots)
{
	pthread_rwlock_unlock((pthread_rwlock_t *)&slots->lock);
}

/* Index of the first slot that ends behind @gpa; count if none does. */
static uint32_t first_ending_after(const struct tide_slots *slots,
				   uint64_t gpa)
{
	uint32_t low = 0, high = slots->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct tide_slot *s = &slots->at[mid];

		/* The last byte, not the end: a slot may end at 2^64. */
		if (s->gpa_bytes + (s->len_bytes - 1) < gpa)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int check_shape(const struct tide_slot *slot, struct tide_error *err)
{
	uint64_t bits = slot->gpa_bytes | slot->len_bytes |
			(uint64_t)(uintptr_t)slot->host;
	const char *fault = NULL;

	if (slot->len_bytes == 0)
		fault = "has no length";
	else if (bits % TIDE_SLOT_ALIGN_BYTES)
		fault = "is not aligned to 4 KiB";
	else if (slot->gpa_bytes + (slot->len_bytes - 1) < slot->gpa_bytes)
		fault = "wraps past 2^64";
	if (!fault)
		return 0;
	return tide_error_set(err, -EINVAL, origin, slot->gpa_bytes,
			      "slot %" PRIu32 " at 0x%" PRIx64 ", 0x%" PRIx64
			      " bytes, %s",
			      slot->id, slot->gpa_bytes, slot->len_bytes,
			      fault);
}

static bool host_overlaps(const struct tide_slot *a, const struct tide_slot *b)
{
	uint64_t x = (uintptr_t)a->host, y = (uintptr_t)b->host;

	if (!a->host || !b->host)
		return false;
	return x < y + b->len_bytes && y < x + a->len_bytes;
}

static bool guest_overlaps(const struct tide_slot *a, const struct tide_slot *b)
{
	return a->gpa_bytes <= b->gpa_bytes + (b->len_bytes - 1) &&
	       b->gpa_bytes <= a->gpa_bytes + (a->len_bytes - 1);
}

static int check_free(const struct tide_slots *slots,
		      const struct tide_slot *slot, struct tide_error *err)
{
	for (uint32_t i = 0; i < slots->count; i++) {
		const struct tide_slot *s = &slots->at[i];
		const char *where = NULL;

		if (s->id == slot->id)
			where = "its id is that of";
		else if (guest_overlaps(s, slot))
			where = "in the guest it overlaps";
		else if (host_overlaps(s, slot))
			where = "in the host it overlaps";
		if (!where)
			continue;
		return tide_error_set(
		    err, -EEXIST, origin, slot->gpa_bytes,
		    "slot %" PRIu32 " at 0x%" PRIx64 " to 0x%" PRIx64
		    ": %s slot %" PRIu32 " at 0x%" PRIx64 " to 0x%" PRIx64,
		    slot->id, slot->gpa_bytes,
		    slot->gpa_bytes + slot->len_bytes, where, s->id,
		    s->gpa_bytes, s->gpa_bytes + s->len_bytes);
	}
	return 0;
}

static int make_room(struct tide_slots *slots, struct tide_error *err)
{
	uint32_t room = slots->room ? slots->room * 2 : 8;
	struct tide_slot *at;

	if (slots->count < slots->room)
		return 0;
	at = realloc(slots->at, room * sizeof(*at));
	if (!at)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for %" PRIu32 " slots", room);
	slots->at = at;
	slots->room = room;
	return 0;
}

int tide_slots_insert(struct tide_slots *slots, const struct tide_slot *slot,
		      struct tide_error *err)
{
	int rc = check_shape(slot, err);

	if (rc)
		return rc;
	pthread_rwlock_wrlock(&slots->lock);
	rc = check_free(slots, slot, err);
	if (!rc)
		rc = make_room(slots, err);
	if (!rc) {
		uint32_t i = first_ending_after(slots, slot->gpa_bytes);

		memmove(&slots->at[i + 1], &slots->at[i],
			(slots->count - i) * sizeof(*slots->at));
		slots->at[i] = *slot;
		slots->count++;
		slots->generation++;
	}
	pthread_rwlock_unlock(&slots->lock);
	return rc;
}

int tide_slots_remove(struct tide_slots *slots, uint32_t id,
		      struct tide_error *err)
{
	uint32_t i;

	pthread_rwlock_wrlock(&slots->lock);
	for (i = 0; i < slots->count && slots->at[i].id != id; i++)
		;
	if (i < slots->count) {
		slots->count--;
		memmove(&slots->at[i], &slots->at[i + 1],
			(slots->count - i) * sizeof(*slots->at));
		slots->generation++;
		pthread_rwlock_unlock(&slots->lock);
		return 0;
	}
	pthread_rwlock_unlock(&slots->lock);
	return tide_error_set(err, -ENOENT, origin, TIDE_NO_OFFSET,
			      "there is no slot %" PRIu32, id);
}

bool tide_slots_next(const struct tide_slots *slots, uint64_t from_gpa,
		     struct tide_slot *out)
{
	uint32_t i;
	bool found;

	read_lock(slots);
	i = first_ending_after(slots, from_gpa);
	found = i < slots->count;
	if (found && out)
		*out = slots->at[i];
	unlock(slots);
	return found;
}

bool tide_slots_find_gpa(const struct tide_slots *slots, uint64_t gpa_bytes,
			 struct tide_slot *out)
{
	struct tide_slot slot;

	if (!tide_slots_next(slots, gpa_bytes, &slot) ||
	    slot.gpa_bytes > gpa_bytes)
		return false;
	if (out)
		*out = slot;
	return true;
}

static bool find_linear(const struct tide_slots *slots,
			bool (*is)(const struct tide_slot *, const void *),
			const void *key, struct tide_slot *out)
{
	bool found = false;

	read_lock(slots);
	for (uint32_t i = 0; i < slots->count && !found; i++) {
		found = is(&slots->at[i], key);
		if (found && out)
			*out = slots->at[i];
	}
	unlock(slots);
	return found;
}

static bool holds_host(const struct tide_slot *slot, const void *host)
{
	return slot->host &&
	       (uintptr_t)host - (uintptr_t)slot->host < slot->len_bytes;
}

static bool has_id(const struct tide_slot *slot, const void *id)
{
	return slot->id == *(const uint32_t *)id;
}

bool tide_slots_find_host(const struct tide_slots *slots, const void *host,
			  struct tide_slot *out)
{
	return find_linear(slots, holds_host, host, out);
}

bool tide_slots_find_id(const struct tide_slots *slots, uint32_t id,
			struct tide_slot *out)
{
	return find_linear(slots, has_id, &id, out);
}

size_t tide_slots_split(const struct tide_slots *slots, uint64_t gpa_bytes,
			uint64_t len_bytes, struct tide_slot_piece *pieces,
			size_t max, uint64_t *covered_bytes)
{
	uint64_t covered = 0;
	struct tide_slot slot;
	size_t n = 0;

	while (covered < len_bytes && n < max &&
	       tide_slots_find_gpa(slots, gpa_bytes + covered, &slot)) {
		uint64_t skip = gpa_bytes + covered - slot.gpa_bytes;
		uint64_t len = slot.len_bytes - skip;

		if (len > len_bytes - covered)
			len = len_bytes - covered;
		pieces[n++] = (struct tide_slot_piece){
			.id = slot.id,
			.host = (char *)slot.host + skip,
			.gpa_bytes = gpa_bytes + covered,
			.len_bytes = len,
		};
		covered += len;
	}
	*covered_bytes = covered;
	return n;
}

uint32_t tide_slots_count(const struct tide_slots *slots)
{
	uint32_t count;

	read_lock(slots);
	count = slots->count;
	unlock(slots);
	return count;
}

uint64_t tide_slots_generation(const struct tide_slots *slots)
{
	uint64_t generation;

	read_lock(slots);
	generation = slots->generation;
	unlock(slots);
	return generation;
}

uint64_t tide_slots_top_bytes(const struct tide_slots *slots)
{
	uint64_t top = 0;

	read_lock(slots);
	if (slots->count)
		top = slots->at[slots->count - 1].gpa_bytes +
		      slots->at[slots->count - 1].len_bytes;
	unlock(slots);
	return top;
}
