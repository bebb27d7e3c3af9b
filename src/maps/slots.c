/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The slot map as callers see it: changes to it, read-copy-update (RCU) in user
 * space.
 *
 * Readers see one view, which never changes: three radix trees (slots_radix.h),
 * by guest address, by host address and by id. A change makes a new view that
 * shares with the old one all that is the same, and publishes it. slots_gate.h
 * says when what it replaced is freed.
 *
 * `generation` is raised before `current`: a reader that holds a view of the
 * present generation can be sure that no later one was published, so that two
 * threads that talk to each other never see the map go backwards.
 */
#include "tidemark/slots.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

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

static struct tide__radix empty_tree(unsigned int bits, enum tide__key key)
{
	return (struct tide__radix){ .root = TIDE__EMPTY, .shift = bits,
				     .bits = bits, .key = key };
}

int tide_slots_create(struct tide_slots **out, struct tide_error *err)
{
	struct tide_slots *slots = tide__slots_zeroed(sizeof(*slots));
	struct tide__slot_view *empty = NULL;

	if (slots) {
		tide__pools_init(slots->pool, sizeof(*empty));
		empty = tide__pool_take(&slots->pool[TIDE__VIEWS]);
	}
	if (!empty) {
		free(slots);
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a slot map");
	}
	tide__gate_init(&slots->gate);
	pthread_mutex_init(&slots->lock, NULL);
	*empty = (struct tide__slot_view){
		.old = { .pool = TIDE__VIEWS },
		.guest = empty_tree(TIDE__GUEST_BITS, TIDE__BY_GUEST),
		.host = empty_tree(TIDE__OTHER_BITS, TIDE__BY_HOST),
		.id = empty_tree(TIDE__OTHER_BITS, TIDE__BY_ID),
	};
	slots->current = empty;
	*out = slots;
	return 0;
}

void tide_slots_destroy(struct tide_slots *slots)
{
	if (!slots)
		return;
	tide__pools_fini(slots->pool);
	pthread_mutex_destroy(&slots->lock);
	free(slots);
}

/* Under the lock: free what no reader can have any more. */
static void free_unused(struct tide_slots *slots)
{
	uint64_t oldest = tide__gate_oldest(&slots->gate);
	struct tide__old **at = &slots->dropped;

	while (*at) {
		struct tide__old *old = *at;

		if (old->dropped > oldest ||
		    tide__gate_pinned(&slots->gate, old->made, old->dropped)) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		tide__old_free(slots->pool, old);
	}
}

/* Under the lock: a copy of the current view to change; NULL: no memory. */
static struct tide__slot_view *begin_change(struct tide_slots *slots,
					    struct tide__change *change)
{
	const struct tide__slot_view *now = slots->current;
	struct tide__slot_view *view;

	*change = (struct tide__change){ .pool = slots->pool,
					 .number = slots->generation + 1 };
	view = tide__make(change, TIDE__VIEWS, 0);
	if (!view)
		return NULL;
	view->count = now->count;
	view->bytes = now->bytes;
	view->guest = now->guest;
	view->host = now->host;
	view->id = now->id;
	change->bytes = 0;	/* views are not counted */
	return view;
}

/* Under the lock: readers see @view from here on; or -ENOMEM, undone. */
static int publish(struct tide_slots *slots, struct tide__slot_view *view,
		   struct tide__change *change, struct tide_error *err)
{
	struct tide__old *old = &slots->current->old, *next;

	if (change->failed) {
		tide__change_undo(change);
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory to change a map of %" PRIu32
				      " slots", slots->current->count);
	}
	view->bytes += change->bytes;
	/* pairs with the acquire in slots_inline.h */
	tide__store_release(&slots->generation, change->number);
	/* pairs with the loads of `current` behind an entrance */
	tide__store_seqcst(&slots->current, view);
	tide__gate_advance(&slots->gate);
	old->next = change->dropped;
	for (; old; old = next) {
		next = old->next;
		old->dropped = change->number;
		old->next = slots->dropped;
		slots->dropped = old;
	}
	free_unused(slots);
	return 0;
}

static void put(struct tide__change *change, struct tide__slot_view *view,
		const struct tide_slot *slot)
{
	struct tide__record *r = tide__record_new(change, slot);

	if (r)
		tide__radix_put(change, &view->guest, r);
	if (!change->failed && slot->host)
		tide__radix_put(change, &view->host, r);
	if (!change->failed)
		tide__radix_put(change, &view->id, r);
	view->count++;
}

static void take(struct tide__change *change, struct tide__slot_view *view,
		 const struct tide__record *r)
{
	if (!change->failed)
		tide__radix_take(change, &view->guest, r);
	if (!change->failed && r->slot.host)
		tide__radix_take(change, &view->host, r);
	if (!change->failed)
		tide__radix_take(change, &view->id, r);
	/* Its head is the writer's, whatever readers do with the slot. */
	tide__record_drop(change, (struct tide__record *)r);
	view->count--;
}

static int check_shape(const struct tide_slot *slot, struct tide_error *err)
{
	uint64_t host = (uintptr_t)slot->host, len = slot->len_bytes;
	const char *fault = NULL;

	if (len == 0)
		fault = "has no length";
	else if ((slot->gpa_bytes | len | host) % TIDE_SLOT_ALIGN_BYTES)
		fault = "is not aligned to 4 KiB";
	else if (slot->gpa_bytes + (len - 1) < slot->gpa_bytes)
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

/* The first record with pages of @slot other than @except. */
static const struct tide__record *clash_in(const struct tide__radix *tree,
					   const struct tide_slot *slot,
					   const struct tide__record *except)
{
	struct tide__pages p = tide__pages_of(tree->key, slot), q;
	const struct tide__record *r = tide__radix_next(tree, p.first);

	if (r && r == except) {
		q = tide__pages_of(tree->key, &r->slot);
		r = q.last < p.last ? tide__radix_next(tree, q.last + 1) : NULL;
	}
	if (!r || tide__pages_of(tree->key, &r->slot).first > p.last)
		return NULL;
	return r;
}

/* Is there room for @slot if @except goes? */
static int check_free(const struct tide__slot_view *v,
		      const struct tide_slot *slot,
		      const struct tide__record *except, struct tide_error *err)
{
	const char *where = "its id is that of";
	const struct tide__record *clash = tide__radix_find(&v->id, slot->id);
	const struct tide_slot *s;

	if (clash == except)
		clash = NULL;
	if (!clash) {
		where = "in the guest it overlaps";
		clash = clash_in(&v->guest, slot, except);
	}
	if (!clash && slot->host) {
		where = "in the host it overlaps";
		clash = clash_in(&v->host, slot, except);
	}
	if (!clash)
		return 0;
	s = &clash->slot;
	return tide_error_set(err, -EEXIST, origin, slot->gpa_bytes,
			      "slot %" PRIu32 " at 0x%" PRIx64 " to 0x%" PRIx64
			      ": %s slot %" PRIu32 " at 0x%" PRIx64
			      " to 0x%" PRIx64,
			      slot->id, slot->gpa_bytes,
			      slot->gpa_bytes + slot->len_bytes, where, s->id,
			      s->gpa_bytes, s->gpa_bytes + s->len_bytes);
}

int tide_slots_insert_many(struct tide_slots *slots,
			   const struct tide_slot *more, uint32_t count,
			   struct tide_error *err)
{
	struct tide__slot_view *view;
	struct tide__change change;
	int ret = 0;

	for (uint32_t i = 0; i < count && !ret; i++)
		ret = check_shape(&more[i], err);
	if (ret || !count)
		return ret;
	pthread_mutex_lock(&slots->lock);
	view = begin_change(slots, &change);
	for (uint32_t i = 0; i < count && !ret && !change.failed; i++) {
		/* Also against those before it. */
		ret = check_free(view, &more[i], NULL, err);
		if (!ret)
			put(&change, view, &more[i]);
	}
	if (ret)
		tide__change_undo(&change);
	else
		ret = publish(slots, view, &change, err);
	pthread_mutex_unlock(&slots->lock);
	return ret;
}

int tide_slots_insert(struct tide_slots *slots, const struct tide_slot *slot,
		      struct tide_error *err)
{
	return tide_slots_insert_many(slots, slot, 1, err);
}

/* Under the lock: the slot of @r becomes @slot (NULL: goes), in one step. */
static int replace(struct tide_slots *slots, const struct tide__record *r,
		   const struct tide_slot *slot, struct tide_error *err)
{
	struct tide__slot_view *view;
	struct tide__change change;
	int ret = slot ? check_shape(slot, err) : 0;

	if (!ret && slot)
		ret = check_free(slots->current, slot, r, err);
	if (ret)
		return ret;
	view = begin_change(slots, &change);
	if (view)
		take(&change, view, r);
	if (slot && !change.failed)
		put(&change, view, slot);
	return publish(slots, view, &change, err);
}

/* Under the lock: NULL with an error if there is no such slot. */
static const struct tide__record *record_of(const struct tide_slots *slots,
					    uint32_t id, struct tide_error *err)
{
	const struct tide__record *r = tide__radix_find(&slots->current->id,
							id);

	if (!r)
		tide_error_set(err, -ENOENT, origin, TIDE_NO_OFFSET,
			       "there is no slot %" PRIu32, id);
	return r;
}

int tide_slots_remove(struct tide_slots *slots, uint32_t id,
		      struct tide_error *err)
{
	const struct tide__record *r;
	int ret = -ENOENT;

	pthread_mutex_lock(&slots->lock);
	r = record_of(slots, id, err);
	if (r)
		ret = replace(slots, r, NULL, err);
	pthread_mutex_unlock(&slots->lock);
	return ret;
}

/* The slot @id as it is, with one thing @set, in its place. */
static int alter(struct tide_slots *slots, uint32_t id,
		 void (*set)(struct tide_slot *slot, uint64_t value),
		 uint64_t value, struct tide_error *err)
{
	const struct tide__record *r;
	struct tide_slot slot;
	int ret = -ENOENT;

	pthread_mutex_lock(&slots->lock);
	r = record_of(slots, id, err);
	if (r) {
		slot = r->slot;
		set(&slot, value);
		ret = replace(slots, r, &slot, err);
	}
	pthread_mutex_unlock(&slots->lock);
	return ret;
}

static void set_length(struct tide_slot *slot, uint64_t len_bytes)
{
	slot->len_bytes = len_bytes;
}

static void set_place(struct tide_slot *slot, uint64_t gpa_bytes)
{
	slot->gpa_bytes = gpa_bytes;
}

int tide_slots_resize(struct tide_slots *slots, uint32_t id, uint64_t len_bytes,
		      struct tide_error *err)
{
	return alter(slots, id, set_length, len_bytes, err);
}

int tide_slots_move(struct tide_slots *slots, uint32_t id, uint64_t gpa_bytes,
		    struct tide_error *err)
{
	return alter(slots, id, set_place, gpa_bytes, err);
}
