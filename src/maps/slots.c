/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The slot map as callers see it: changes to it.
 *
 * Readers see one view (slots_view.h), which never changes; a change makes a
 * new one and publishes it. slots_gate.h says when an old view is freed.
 *
 * `generation` is raised before `current`: a reader whose cached interval has
 * the present generation can be sure that no later view was published, so that
 * two threads that talk to each other never see the map go backwards.
 */
#include "tidemark/slots.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "maps/slots.h"

static const char origin[] = "slots";

void *tide__slots_zeroed(size_t bytes)
{
	void *memory;

	if (posix_memalign(&memory, 64, bytes))
		return NULL;
	return __builtin_memset(memory, 0, bytes);
}

int tide_slots_create(struct tide_slots **out, struct tide_error *err)
{
	struct tide_slots *slots = tide__slots_zeroed(sizeof(*slots));
	struct tide__slot_view *empty = tide__slot_view_new(0, 0);

	if (!slots || !empty || tide__slot_view_finish(empty)) {
		free(slots);
		tide__slot_view_free(empty);
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a slot map");
	}
	tide__gate_init(&slots->gate);
	pthread_mutex_init(&slots->lock, NULL);
	slots->current = empty;
	*out = slots;
	return 0;
}

void tide_slots_destroy(struct tide_slots *slots)
{
	if (!slots)
		return;
	while (slots->retired) {
		struct tide__slot_view *older = slots->retired->older;

		tide__slot_view_free(slots->retired);
		slots->retired = older;
	}
	tide__slot_view_free(slots->current);
	pthread_mutex_destroy(&slots->lock);
	free(slots);
}

/* Under the lock. */
static void free_unused(struct tide_slots *slots)
{
	uint64_t oldest = tide__gate_oldest(&slots->gate);
	struct tide__slot_view **at = &slots->retired;

	while (*at) {
		struct tide__slot_view *view = *at;

		if (view->retired > oldest) {
			at = &view->older;
			continue;
		}
		*at = view->older;
		tide__slot_view_free(view);
	}
}

static int no_memory(struct tide_error *err, uint32_t count)
{
	return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
			      "no memory for %" PRIu32 " slots", count);
}

/*
 * Under the lock: readers see @view (NULL: there was no memory for it) from
 * here on. On failure it is freed and the map is unchanged.
 */
static int publish(struct tide_slots *slots, struct tide__slot_view *view,
		   struct tide_error *err)
{
	struct tide__slot_view *old = slots->current;

	if (!view || tide__slot_view_finish(view)) {
		tide__slot_view_free(view);
		return no_memory(err, old->count + 1);
	}

	view->generation = slots->generation + 1;
	/* pairs with the acquire in tide_slots_reader_find_gpa */
	tide__store_release(&slots->generation, view->generation);
	/* pairs with the loads of `current` behind an entrance */
	tide__store_seqcst(&slots->current, view);
	old->retired = tide__gate_advance(&slots->gate);
	old->older = slots->retired;
	slots->retired = old;
	free_unused(slots);
	return 0;
}

static int check_shape(const struct tide_slot *slot, struct tide_error *err)
{
	uint64_t host = (uintptr_t)slot->host, len = slot->len_bytes;
	const char *fault = NULL;

	if (len == 0)
		fault = "has no length";
	else if ((slot->gpa_bytes | len | host) % TIDE_SLOT_ALIGN_BYTES)
		fault = "is not aligned to 4 KiB";
	else if (tide__slot_last(slot) < slot->gpa_bytes)
		fault = "wraps past 2^64";
	else if (host + (len - 1) < host)
		fault = "wraps past 2^64 in the host";
	if (!fault)
		return 0;
	return tide_error_set(err, -EINVAL, origin, slot->gpa_bytes,
			      "slot %" PRIu32 " at 0x%" PRIx64 ", 0x%" PRIx64
			      " bytes, %s",
			      slot->id, slot->gpa_bytes, len, fault);
}

/* The slot other than @except that overlaps @slot in the guest, if any. */
static uint32_t guest_clash(const struct tide__slot_view *v,
			    const struct tide_slot *slot, uint32_t except)
{
	uint32_t n = tide__count_le(v->start, v->count, tide__slot_last(slot));

	/* The last one that starts in time, or the one before @except. */
	if (n && n - 1 == except)
		n--;
	if (n && tide__slot_last(&v->slot[n - 1]) >= slot->gpa_bytes)
		return n - 1;
	return TIDE__NO_SLOT;
}

static uint32_t host_clash(const struct tide__slot_view *v,
			   const struct tide_slot *slot, uint32_t except)
{
	uint64_t host = (uintptr_t)slot->host;
	uint32_t n = tide__count_le(v->host_start, v->hosts,
				    host + (slot->len_bytes - 1));
	uint32_t index;

	if (host && n && v->host_slot[n - 1] == except)
		n--;
	if (!host || !n)
		return TIDE__NO_SLOT;
	index = v->host_slot[n - 1];
	if (v->host_start[n - 1] + (v->slot[index].len_bytes - 1) < host)
		return TIDE__NO_SLOT;
	return index;
}

/* Is there room for @slot if the one at index @except goes? */
static int check_free(const struct tide__slot_view *v,
		      const struct tide_slot *slot, uint32_t except,
		      struct tide_error *err)
{
	const char *where = "its id is that of";
	uint32_t clash = tide__slot_view_id(v, slot->id);
	const struct tide_slot *s;

	if (clash == except)
		clash = TIDE__NO_SLOT;
	if (clash == TIDE__NO_SLOT) {
		where = "in the guest it overlaps";
		clash = guest_clash(v, slot, except);
	}
	if (clash == TIDE__NO_SLOT) {
		where = "in the host it overlaps";
		clash = host_clash(v, slot, except);
	}
	if (clash == TIDE__NO_SLOT)
		return 0;
	s = &v->slot[clash];
	return tide_error_set(err, -EEXIST, origin, slot->gpa_bytes,
			      "slot %" PRIu32 " at 0x%" PRIx64 " to 0x%" PRIx64
			      ": %s slot %" PRIu32 " at 0x%" PRIx64
			      " to 0x%" PRIx64,
			      slot->id, slot->gpa_bytes,
			      slot->gpa_bytes + slot->len_bytes, where, s->id,
			      s->gpa_bytes, s->gpa_bytes + s->len_bytes);
}

static int no_slot(struct tide_error *err, uint32_t id)
{
	return tide_error_set(err, -ENOENT, origin, TIDE_NO_OFFSET,
			      "there is no slot %" PRIu32, id);
}

int tide_slots_insert(struct tide_slots *slots, const struct tide_slot *slot,
		      struct tide_error *err)
{
	int rc = check_shape(slot, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&slots->lock);
	rc = check_free(slots->current, slot, TIDE__NO_SLOT, err);
	if (!rc)
		rc = publish(slots, tide__slot_view_with(slots->current, slot),
			     err);
	pthread_mutex_unlock(&slots->lock);
	return rc;
}

/* Of slots that are about to be inserted together, in order of the guest. */
static int check_sorted(const struct tide_slot *s, uint32_t n,
			struct tide_error *err)
{
	for (uint32_t i = 1; i < n; i++)
		if (tide__slot_last(&s[i - 1]) >= s[i].gpa_bytes)
			return tide_error_set(
			    err, -EEXIST, origin, s[i].gpa_bytes,
			    "slot %" PRIu32 " at 0x%" PRIx64 " to 0x%" PRIx64
			    ": in the guest it overlaps slot %" PRIu32
			    " at 0x%" PRIx64 " to 0x%" PRIx64,
			    s[i].id, s[i].gpa_bytes,
			    s[i].gpa_bytes + s[i].len_bytes, s[i - 1].id,
			    s[i - 1].gpa_bytes,
			    s[i - 1].gpa_bytes + s[i - 1].len_bytes);
	return 0;
}

/* Ids and host ranges of a view that is not yet published. */
static int check_orders(const struct tide__slot_view *v, struct tide_error *err)
{
	const struct tide_slot *a, *b;

	for (uint32_t i = 1; i < v->count; i++)
		if (v->id[i - 1] == v->id[i])
			return tide_error_set(err, -EEXIST, origin,
			    v->slot[v->id_slot[i]].gpa_bytes,
			    "two slots have the id %" PRIu32, v->id[i]);
	for (uint32_t i = 1; i < v->hosts; i++) {
		a = &v->slot[v->host_slot[i - 1]];
		b = &v->slot[v->host_slot[i]];
		if ((uintptr_t)a->host + (a->len_bytes - 1) >=
		    (uintptr_t)b->host)
			return tide_error_set(err, -EEXIST, origin,
			    b->gpa_bytes, "slot %" PRIu32 " at 0x%" PRIx64
			    ": in the host it overlaps slot %" PRIu32
			    " at 0x%" PRIx64, b->id, b->gpa_bytes, a->id,
			    a->gpa_bytes);
	}
	return 0;
}

/* Under the lock: the old slots and @n new ones, sorted, as one new view. */
static int insert_all(struct tide_slots *slots, const struct tide_slot *more,
		      uint32_t n, struct tide_error *err)
{
	const struct tide__slot_view *old = slots->current;
	struct tide__slot_view *view = NULL;
	struct tide_slot *all = NULL;
	int rc = 0;

	if (n > TIDE__NO_SLOT - 1 - old->count)
		return no_memory(err, n);
	all = malloc((old->count + (size_t)n + 1) * sizeof(*all));
	if (!all)
		return no_memory(err, old->count + n);
	memcpy(all, old->slot, old->count * sizeof(*all));
	memcpy(all + old->count, more, n * sizeof(*all));
	tide__slots_sort(all, old->count + n);
	rc = check_sorted(all, old->count + n, err);
	if (!rc) {
		view = tide__slot_view_of(all, old->count + n);
		rc = view ? check_orders(view, err) :
			    no_memory(err, old->count + n);
	}
	if (!rc)
		rc = publish(slots, view, err);
	else
		tide__slot_view_free(view);
	free(all);
	return rc;
}

int tide_slots_insert_many(struct tide_slots *slots,
			   const struct tide_slot *more, uint32_t count,
			   struct tide_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; i < count; i++) {
		rc = check_shape(&more[i], err);
		if (rc)
			return rc;
	}
	if (!count)
		return 0;
	pthread_mutex_lock(&slots->lock);
	rc = insert_all(slots, more, count, err);
	pthread_mutex_unlock(&slots->lock);
	return rc;
}

int tide_slots_remove(struct tide_slots *slots, uint32_t id,
		      struct tide_error *err)
{
	uint32_t index;
	int rc;

	pthread_mutex_lock(&slots->lock);
	index = tide__slot_view_id(slots->current, id);
	if (index == TIDE__NO_SLOT)
		rc = no_slot(err, id);
	else
		rc = publish(slots,
			     tide__slot_view_without(slots->current, index),
			     err);
	pthread_mutex_unlock(&slots->lock);
	return rc;
}

/* Under the lock: the slot at @index becomes @slot, in one step. */
static int replace(struct tide_slots *slots, uint32_t index,
		   const struct tide_slot *slot, struct tide_error *err)
{
	struct tide__slot_view *without, *view = NULL;
	int rc = check_shape(slot, err);

	if (!rc)
		rc = check_free(slots->current, slot, index, err);
	if (rc)
		return rc;
	without = tide__slot_view_without(slots->current, index);
	if (without)
		view = tide__slot_view_with(without, slot);
	tide__slot_view_free(without);
	return publish(slots, view, err);
}

int tide_slots_resize(struct tide_slots *slots, uint32_t id, uint64_t len_bytes,
		      struct tide_error *err)
{
	struct tide_slot slot;
	uint32_t index;
	int rc;

	pthread_mutex_lock(&slots->lock);
	index = tide__slot_view_id(slots->current, id);
	if (index == TIDE__NO_SLOT) {
		rc = no_slot(err, id);
	} else {
		slot = slots->current->slot[index];
		slot.len_bytes = len_bytes;
		rc = replace(slots, index, &slot, err);
	}
	pthread_mutex_unlock(&slots->lock);
	return rc;
}

int tide_slots_move(struct tide_slots *slots, uint32_t id, uint64_t gpa_bytes,
		    struct tide_error *err)
{
	struct tide_slot slot;
	uint32_t index;
	int rc;

	pthread_mutex_lock(&slots->lock);
	index = tide__slot_view_id(slots->current, id);
	if (index == TIDE__NO_SLOT) {
		rc = no_slot(err, id);
	} else {
		slot = slots->current->slot[index];
		slot.gpa_bytes = gpa_bytes;
		rc = replace(slots, index, &slot, err);
	}
	pthread_mutex_unlock(&slots->lock);
	return rc;
}
