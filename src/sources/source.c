/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Code common to all sources: names, locks, the list of watched slots, and the
 * rule that nothing is lost when an implementation fails: whatever it could not
 * vouch for is marked as a whole before the error is returned.
 *
 * Two locks, taken in this order. `changes` serialises additions and removals
 * of slots, which may take long: KVM waits for a grace period, tens of
 * milliseconds on a busy host. `lock` protects the list and its elements; a
 * migration's senders take it for every unit. It is never held while a slot is
 * watched or unwatched: a mutex is not fair, and frequent hotplug would starve
 * the senders for seconds, until the receiver gives up.
 *
 * So a slot is watched before it is in the list, and unwatched after it has
 * left it. No harvest reports what is written to it in between; therefore it is
 * marked as a whole after it was added, or after it was unwatched.
 */
#include "sources/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sized.h"
#include "bits/word.h"

/* All that the first version of struct tide_source_vm had. */
#define MIN_BYTES (offsetof(struct tide_source_vm, pid) + sizeof(int))

static const struct {
	const char *name;
	const struct tide__source_ops *ops;
	int (*probe)(struct tide_error *err);
} kinds[TIDE_SOURCE_KINDS] = {
	[TIDE_SOURCE_LOG_MANUAL] = { "log-manual", &tide__kvm_log_manual_ops,
				     tide__probe_log_manual },
	[TIDE_SOURCE_LOG_LEGACY] = { "log-legacy", &tide__kvm_log_legacy_ops,
				     tide__probe_log_legacy },
	[TIDE_SOURCE_RING] = { "ring", &tide__kvm_ring_ops, tide__probe_ring },
	[TIDE_SOURCE_UFFD] = { "uffd", &tide__uffd_ops, tide__probe_uffd },
	[TIDE_SOURCE_FOREIGN] = { "foreign", &tide__foreign_ops,
				  tide__probe_foreign },
};

const char *tide_source_kind_name(enum tide_source_kind kind)
{
	return (unsigned int)kind < TIDE_SOURCE_KINDS ? kinds[kind].name : "?";
}

int tide_source_kind_parse(const char *name, enum tide_source_kind *kind)
{
	for (unsigned int i = 0; i < TIDE_SOURCE_KINDS; i++) {
		if (strcmp(name, kinds[i].name))
			continue;
		*kind = (enum tide_source_kind)i;
		return 0;
	}
	return -EINVAL;
}

int tide_source_probe(enum tide_source_kind kind, struct tide_error *err)
{
	if ((unsigned int)kind >= TIDE_SOURCE_KINDS)
		return tide_error_set(err, -EINVAL, "source", TIDE_NO_OFFSET,
				      "there is no source %d", (int)kind);
	return kinds[kind].probe(err);
}

int tide__source_new(struct tide_source **out, enum tide_source_kind kind,
		     const struct tide__source_ops *ops, void *impl,
		     struct tide_error *err)
{
	struct tide_source *source = calloc(1, sizeof(*source));

	if (!source)
		return tide_error_set(err, -ENOMEM, "source", TIDE_NO_OFFSET,
				      "no memory for a source");
	pthread_mutex_init(&source->changes, NULL);
	pthread_mutex_init(&source->lock, NULL);
	source->kind = kind;
	source->ops = ops;
	source->impl = impl;
	*out = source;
	return 0;
}

static void free_source(struct tide_source *source)
{
	free(source->by_address);
	pthread_mutex_destroy(&source->lock);
	pthread_mutex_destroy(&source->changes);
	free(source);
}

static int take_vm(struct tide_source_vm *own,
		   const struct tide_source_vm *theirs, struct tide_error *err)
{
	size_t size = theirs->struct_size ? theirs->struct_size : MIN_BYTES;

	if (size >= MIN_BYTES &&
	    tide__sized_take(own, sizeof(*own), theirs, size))
		return 0;
	return tide_error_set(
		err, -EINVAL, "source", TIDE_NO_OFFSET,
		"what is said of the VM has %zu bytes, or a field "
		"that this version does not know",
		size);
}

int tide_source_create(struct tide_source **out, enum tide_source_kind kind,
		       const struct tide_source_vm *vm, struct tide_error *err)
{
	struct tide_source_vm own = { .vm_fd = -1 };
	struct tide_source *source;
	int ret = take_vm(&own, vm, err);

	if (!ret)
		ret = tide_source_probe(kind, err);
	if (!ret)
		ret = tide__source_new(&source, kind, kinds[kind].ops, NULL,
				       err);
	if (ret)
		return ret;
	source->vm = own;
	ret = source->ops->init(source, err);
	if (ret)
		free_source(source);
	else
		*out = source;
	return ret;
}

static void free_watched(struct tide__watched *w)
{
	free(w->log);
	free(w->pending);
	free(w);
}

void tide_source_destroy(struct tide_source *source)
{
	if (!source)
		return;
	tide_source_stop(source, NULL);
	source->ops->fini(source);
	free_source(source);
}

/* The first slot that ends behind page @page: its index, or count. */
static size_t find_slot(const struct tide_source *source, uint64_t page)
{
	size_t low = 0, high = source->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct tide__watched *w = source->by_address[middle];

		if (w->first + w->pages > page)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static int make_room(struct tide_source *source)
{
	size_t room = source->room ? 2 * source->room : 8;
	void *more;

	if (source->count < source->room)
		return 0;
	more = realloc(source->by_address, room * sizeof(*source->by_address));
	if (!more)
		return -ENOMEM;
	source->by_address = more;
	source->room = room;
	return 0;
}

/* Into the list and the array, both by address; there is room. */
static void link_in(struct tide_source *source, struct tide__watched *w)
{
	size_t at = find_slot(source, w->first);
	struct tide__watched **before =
	    at ? &source->by_address[at - 1]->next : &source->watched;

	w->next = *before;
	*before = w;
	memmove(source->by_address + at + 1, source->by_address + at,
		(source->count - at) * sizeof(*source->by_address));
	source->by_address[at] = w;
	source->count++;
}

static struct tide__watched *unlink_at(struct tide_source *source, size_t at)
{
	struct tide__watched *w = source->by_address[at];

	*(at ? &source->by_address[at - 1]->next : &source->watched) = w->next;
	source->count--;
	memmove(source->by_address + at, source->by_address + at + 1,
		(source->count - at) * sizeof(*source->by_address));
	return w;
}

/* 0, or -ENOMEM. */
static int link_under_lock(struct tide_source *source, struct tide__watched *w)
{
	int ret;

	pthread_mutex_lock(&source->lock);
	ret = make_room(source);
	if (!ret)
		link_in(source, w);
	pthread_mutex_unlock(&source->lock);
	return ret;
}

/* Under `changes`: watch one slot, then let harvests see it. */
static int add_slot(struct tide_source *source, const struct tide_slot *slot,
		    struct tide_error *err)
{
	struct tide__watched *w = calloc(1, sizeof(*w));
	int ret;

	if (!w)
		goto no_memory;
	w->slot = *slot;
	w->first = slot->gpa_bytes >> TIDE__PAGE_SHIFT;
	w->pages = slot->len_bytes >> TIDE__PAGE_SHIFT;
	w->words = tide__words_for(w->pages);
	w->log = calloc(w->words, sizeof(*w->log));
	w->pending = calloc(w->words, sizeof(*w->pending));
	if (!w->log || !w->pending) {
		free_watched(w);
		goto no_memory;
	}
	ret = source->ops->watch(source, w, err);
	if (ret) {
		free_watched(w);
		return ret;
	}
	if (!link_under_lock(source, w))
		return 0;
	source->ops->unwatch(source, w, NULL);
	free_watched(w);

no_memory:
	return tide_error_set(err, -ENOMEM, "source", slot->gpa_bytes,
			      "no memory to watch slot %" PRIu32, slot->id);
}

/* Under `changes`: the slot at @at of the array is watched no more. */
static int remove_at(struct tide_source *source, size_t at,
		     struct tide_error *err)
{
	struct tide__watched *w;
	int ret;

	pthread_mutex_lock(&source->lock);
	w = unlink_at(source, at);
	pthread_mutex_unlock(&source->lock);
	ret = source->ops->unwatch(source, w, err);
	free_watched(w);
	return ret;
}

/* Under `changes`. */
static int remove_all(struct tide_source *source, struct tide_error *err)
{
	int first = 0;

	while (source->count) {
		int ret = remove_at(source, source->count - 1,
				    first ? NULL : err);

		if (ret && !first)
			first = ret;
	}
	return first;
}

int tide_source_start(struct tide_source *source,
		      const struct tide_slots *slots, struct tide_error *err)
{
	struct tide_slot slot;
	uint64_t from = 0;
	int ret = 0;

	pthread_mutex_lock(&source->changes);
	if (source->watched)
		ret = tide_error_set(err, -EBUSY, "source", TIDE_NO_OFFSET,
				     "the source is started already");
	while (!ret && tide_slots_next(slots, from, &slot)) {
		ret = add_slot(source, &slot, err);
		from = slot.gpa_bytes + slot.len_bytes;
		if (from == 0)
			break;		/* it ended at 2^64 */
	}
	if (ret && ret != -EBUSY)
		remove_all(source, NULL);
	pthread_mutex_unlock(&source->changes);
	return ret;
}

static void mark_all(struct tide_source *source, struct tide_set *set)
{
	for (struct tide__watched *w = source->watched; w; w = w->next) {
		tide_set_mark_range(set, w->first, w->pages);
		source->stats.assumed_dirty += w->pages;
	}
}

int tide_source_harvest(struct tide_source *source, struct tide_set *set,
			struct tide_error *err)
{
	uint64_t start;
	int ret;

	pthread_mutex_lock(&source->lock);
	start = tide__now_ns();
	ret = source->ops->harvest(source, set, err);
	if (ret)
		mark_all(source, set);
	source->stats.harvests++;
	source->stats.last_harvest_ns = tide__now_ns() - start;
	pthread_mutex_unlock(&source->lock);
	return ret;
}

int tide_source_ring_full(struct tide_source *source, struct tide_set *set,
			  struct tide_error *err)
{
	if (source->kind != TIDE_SOURCE_RING)
		return tide_error_set(err, -EINVAL, "source", TIDE_NO_OFFSET,
				      "a source of kind %s has no ring",
				      tide_source_kind_name(source->kind));
	return tide_source_harvest(source, set, err);
}

int tide_source_rearm(struct tide_source *source, uint64_t first,
		      uint64_t count, struct tide_error *err)
{
	uint64_t start, end = first + count;
	int ret = 0;

	if (!source->ops->rearm)
		return 0;
	start = tide__now_ns();
	pthread_mutex_lock(&source->lock);
	for (size_t i = find_slot(source, first); i < source->count && !ret;
	     i++) {
		struct tide__watched *w = source->by_address[i];
		uint64_t from = first > w->first ? first : w->first;
		uint64_t to = w->first + w->pages;

		if (w->first >= end)
			break;
		if (to > end)
			to = end;
		ret = source->ops->rearm(source, w, from - w->first, to - from,
					 err);
	}
	source->stats.last_rearm_ns = tide__now_ns() - start;
	pthread_mutex_unlock(&source->lock);
	return ret;
}

static void mark_slot(struct tide_set *set, const struct tide_slot *slot)
{
	tide_set_mark_range(set, slot->gpa_bytes >> TIDE__PAGE_SHIFT,
			    slot->len_bytes >> TIDE__PAGE_SHIFT);
}

int tide_source_slot_added(struct tide_source *source,
			   const struct tide_slot *slot, struct tide_set *set,
			   struct tide_error *err)
{
	int ret;

	pthread_mutex_lock(&source->changes);
	ret = add_slot(source, slot, err);
	pthread_mutex_unlock(&source->changes);
	mark_slot(set, slot);
	return ret;
}

/* Under `changes`: where slot @id is in the array, or count. */
static size_t find_id(const struct tide_source *source, uint32_t id)
{
	size_t at = 0;

	while (at < source->count && source->by_address[at]->slot.id != id)
		at++;
	return at;
}

int tide_source_slot_removing(struct tide_source *source,
			      const struct tide_slot *slot,
			      struct tide_set *set, struct tide_error *err)
{
	size_t at;
	int ret;

	pthread_mutex_lock(&source->changes);
	at = find_id(source, slot->id);
	if (at < source->count)
		ret = remove_at(source, at, err);
	else
		ret = tide_error_set(err, -ENOENT, "source", slot->gpa_bytes,
				     "slot %" PRIu32 " is not watched",
				     slot->id);
	pthread_mutex_unlock(&source->changes);
	/* What was not harvested before, and what is written until it goes. */
	mark_slot(set, slot);
	return ret;
}

int tide_source_stop(struct tide_source *source, struct tide_error *err)
{
	int ret;

	pthread_mutex_lock(&source->changes);
	ret = remove_all(source, err);
	pthread_mutex_unlock(&source->changes);
	return ret;
}

void tide_source_get_stats(const struct tide_source *source,
			   struct tide_source_stats *stats)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&source->lock;

	pthread_mutex_lock(lock);
	*stats = source->stats;
	pthread_mutex_unlock(lock);
}
