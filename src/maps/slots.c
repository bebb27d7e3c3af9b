/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The slot map as callers see it: changes, and lookups by any thread.
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
#include <pthread.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "maps/slots_gate.h"
#include "maps/slots_view.h"

#define CACHED 4

static const char origin[] = "slots";

struct tide_slots {
	struct tide__gate gate;
	uint64_t generation __attribute__((aligned(64)));
	struct tide__slot_view *current;
	pthread_mutex_t lock __attribute__((aligned(64)));	/* of changes */
	struct tide__slot_view *retired;	/* under the lock, newest first */
};

struct tide_slots_reader {
	struct tide__gate_line line;
	struct tide_slots *slots;
	uint64_t generation;		/* of all that is cached */
	unsigned int turn;		/* the entry to be replaced next */
	struct {
		uint64_t first, extent;	/* first to first + extent, included */
		bool found;
	} span[CACHED];
	struct tide_slot slot[CACHED];
};

static void *zeroed(size_t bytes)
{
	void *memory;

	if (posix_memalign(&memory, 64, bytes))
		return NULL;
	return __builtin_memset(memory, 0, bytes);
}

int tide_slots_create(struct tide_slots **out, struct tide_error *err)
{
	struct tide_slots *slots = zeroed(sizeof(*slots));
	struct tide__slot_view *empty = tide__slot_view_new(0, 0);

	if (!slots || !empty) {
		free(slots);
		free(empty);
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

		free(slots->retired);
		slots->retired = older;
	}
	free(slots->current);
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
		free(view);
	}
}

/* Under the lock: readers see @view from here on. */
static void publish(struct tide_slots *slots, struct tide__slot_view *view)
{
	struct tide__slot_view *old = slots->current;

	view->generation = slots->generation + 1;
	/* pairs with the acquire in tide_slots_reader_find_gpa */
	tide__store_release(&slots->generation, view->generation);
	/* pairs with the loads of `current` behind an entrance */
	tide__store_seqcst(&slots->current, view);
	old->retired = tide__gate_advance(&slots->gate);
	old->older = slots->retired;
	slots->retired = old;
	free_unused(slots);
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

static int no_memory(struct tide_error *err, uint32_t count)
{
	return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
			      "no memory for %" PRIu32 " slots", count);
}

static int no_slot(struct tide_error *err, uint32_t id)
{
	return tide_error_set(err, -ENOENT, origin, TIDE_NO_OFFSET,
			      "there is no slot %" PRIu32, id);
}

int tide_slots_insert(struct tide_slots *slots, const struct tide_slot *slot,
		      struct tide_error *err)
{
	struct tide__slot_view *view;
	int rc = check_shape(slot, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&slots->lock);
	rc = check_free(slots->current, slot, TIDE__NO_SLOT, err);
	if (!rc) {
		view = tide__slot_view_with(slots->current, slot);
		if (view)
			publish(slots, view);
		else
			rc = no_memory(err, slots->current->count + 1);
	}
	pthread_mutex_unlock(&slots->lock);
	return rc;
}

int tide_slots_remove(struct tide_slots *slots, uint32_t id,
		      struct tide_error *err)
{
	struct tide__slot_view *view;
	uint32_t index;
	int rc = 0;

	pthread_mutex_lock(&slots->lock);
	index = tide__slot_view_id(slots->current, id);
	if (index == TIDE__NO_SLOT) {
		rc = no_slot(err, id);
	} else {
		view = tide__slot_view_without(slots->current, index);
		if (view)
			publish(slots, view);
		else
			rc = no_memory(err, slots->current->count - 1);
	}
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
	free(without);
	if (!view)
		return no_memory(err, slots->current->count);
	publish(slots, view);
	return 0;
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

/* A thread's use of the current view, without a registered reader. */
struct visit {
	struct tide__gate *gate;
	struct tide__gate_line *line;
	const struct tide__slot_view *view;
};

static struct visit begin(const struct tide_slots *slots)
{
	/* The gate is what readers write; the map stays as it is. */
	struct tide_slots *s = (struct tide_slots *)slots;
	struct visit v = { &s->gate, tide__gate_enter_any(&s->gate), NULL };

	/* pairs with the store in publish */
	v.view = tide__load_seqcst(&s->current);
	return v;
}

static void end(const struct visit *v)
{
	tide__gate_leave_any(v->gate, v->line);
}

/* Copies the slot, ends the visit. */
static bool give(const struct visit *v, uint32_t index, struct tide_slot *out)
{
	bool found = index < v->view->count;

	if (found && out)
		*out = v->view->slot[index];
	end(v);
	return found;
}

bool tide_slots_next(const struct tide_slots *slots, uint64_t from_gpa,
		     struct tide_slot *out)
{
	struct visit v = begin(slots);

	return give(&v, tide__slot_view_from(v.view, from_gpa), out);
}

bool tide_slots_find_gpa(const struct tide_slots *slots, uint64_t gpa_bytes,
			 struct tide_slot *out)
{
	struct visit v = begin(slots);

	return give(&v, tide__slot_view_span(v.view, gpa_bytes).index, out);
}

bool tide_slots_find_host(const struct tide_slots *slots, const void *host,
			  struct tide_slot *out)
{
	struct visit v = begin(slots);

	return give(&v, tide__slot_view_host(v.view, (uintptr_t)host), out);
}

bool tide_slots_find_id(const struct tide_slots *slots, uint32_t id,
			struct tide_slot *out)
{
	struct visit v = begin(slots);

	return give(&v, tide__slot_view_id(v.view, id), out);
}

size_t tide_slots_split(const struct tide_slots *slots, uint64_t gpa_bytes,
			uint64_t len_bytes, struct tide_slot_piece *pieces,
			size_t max, uint64_t *covered_bytes)
{
	struct visit v = begin(slots);
	uint32_t i = tide__slot_view_from(v.view, gpa_bytes);
	uint64_t covered = 0;
	size_t n = 0;

	for (; covered < len_bytes && n < max && i < v.view->count; i++) {
		const struct tide_slot *s = &v.view->slot[i];
		uint64_t skip = gpa_bytes + covered - s->gpa_bytes;
		uint64_t len = s->len_bytes - skip;

		if (skip >= s->len_bytes)	/* a gap, or 2^64 was passed */
			break;
		if (len > len_bytes - covered)
			len = len_bytes - covered;
		pieces[n++] = (struct tide_slot_piece){
			.id = s->id,
			.host = s->host ? (char *)s->host + skip : NULL,
			.gpa_bytes = gpa_bytes + covered,
			.len_bytes = len,
		};
		covered += len;
	}
	end(&v);
	*covered_bytes = covered;
	return n;
}

uint32_t tide_slots_count(const struct tide_slots *slots)
{
	struct visit v = begin(slots);
	uint32_t count = v.view->count;

	end(&v);
	return count;
}

uint64_t tide_slots_generation(const struct tide_slots *slots)
{
	/* pairs with the release in publish */
	return tide__load_acquire(&slots->generation);
}

uint64_t tide_slots_top_bytes(const struct tide_slots *slots)
{
	struct visit v = begin(slots);
	uint64_t top = 0;

	if (v.view->count)
		top = tide__slot_last(&v.view->slot[v.view->count - 1]) + 1;
	end(&v);
	return top;
}

int tide_slots_reader_create(struct tide_slots *slots,
			     struct tide_slots_reader **out,
			     struct tide_error *err)
{
	struct tide_slots_reader *reader = zeroed(sizeof(*reader));

	if (!reader)
		return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
				      "no memory for a reader of slots");
	reader->slots = slots;
	reader->generation = UINT64_MAX;	/* that of no view */
	pthread_mutex_lock(&slots->lock);
	tide__gate_register(&slots->gate, &reader->line);
	pthread_mutex_unlock(&slots->lock);
	*out = reader;
	return 0;
}

void tide_slots_reader_destroy(struct tide_slots_reader *reader)
{
	if (!reader)
		return;
	pthread_mutex_lock(&reader->slots->lock);
	tide__gate_forget(&reader->slots->gate, &reader->line);
	pthread_mutex_unlock(&reader->slots->lock);
	free(reader);
}

static void remember(struct tide_slots_reader *r, unsigned int at,
		     const struct tide__slot_view *view,
		     const struct tide__slot_span *span)
{
	r->span[at].first = span->first;
	r->span[at].extent = span->last - span->first;
	r->span[at].found = span->index != TIDE__NO_SLOT;
	if (r->span[at].found)
		r->slot[at] = view->slot[span->index];
}

/* Looks @gpa up in the map; the entry that now holds its interval. */
static unsigned int search(struct tide_slots_reader *r, uint64_t gpa)
{
	const struct tide__slot_view *view;
	struct tide__slot_span span;
	unsigned int at;

	tide__gate_enter(&r->slots->gate, &r->line);
	/* pairs with the store in publish */
	view = tide__load_seqcst(&r->slots->current);
	span = tide__slot_view_span(view, gpa);
	if (view->generation != r->generation) {
		/* No entry is empty, so that none must be asked if it is. */
		for (unsigned int i = 0; i < CACHED; i++)
			remember(r, i, view, &span);
		r->generation = view->generation;
	}
	at = r->turn++ % CACHED;
	remember(r, at, view, &span);
	tide__gate_leave(&r->line);
	return at;
}

bool tide_slots_reader_find_gpa(struct tide_slots_reader *reader,
				uint64_t gpa_bytes, struct tide_slot *out)
{
	unsigned int at = CACHED;

	/* pairs with the release in publish */
	if (tide__load_acquire(&reader->slots->generation) ==
	    reader->generation) {
		for (at = 0; at < CACHED; at++)
			if (gpa_bytes - reader->span[at].first <=
			    reader->span[at].extent)
				break;
	}
	if (at == CACHED)
		at = search(reader, gpa_bytes);
	if (reader->span[at].found && out)
		*out = reader->slot[at];
	return reader->span[at].found;
}
