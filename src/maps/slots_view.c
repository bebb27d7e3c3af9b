/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/slots_view.h"

#include <stdlib.h>
#include <string.h>

struct tide__slot_view *tide__slot_view_new(uint32_t count, uint32_t hosts)
{
	struct tide__slot_view *v;
	size_t head = (sizeof(*v) + 63) & ~(size_t)63;
	size_t bytes = head + count * sizeof(*v->slot) +
		       (count + (size_t)hosts) * sizeof(*v->start) +
		       (2 * (size_t)count + hosts) * sizeof(*v->id);
	void *memory;

	/* No slot shall lie on two cache lines. */
	if (posix_memalign(&memory, 64, bytes))
		return NULL;
	v = memory;
	memset(v, 0, sizeof(*v));
	v->bytes = bytes;
	v->count = count;
	v->hosts = hosts;
	v->slot = (struct tide_slot *)((char *)v + head);
	v->start = (uint64_t *)(v->slot + count);
	v->host_start = v->start + count;
	v->host_slot = (uint32_t *)(v->host_start + hosts);
	v->id = v->host_slot + hosts;
	v->id_slot = v->id + count;
	return v;
}

static int by_gpa(const void *x, const void *y)
{
	const struct tide_slot *a = x, *b = y;

	return (a->gpa_bytes > b->gpa_bytes) - (a->gpa_bytes < b->gpa_bytes);
}

void tide__slots_sort(struct tide_slot *slots, uint32_t count)
{
	qsort(slots, count, sizeof(*slots), by_gpa);
}

/* A key and the slot that it belongs to, to be sorted by key. */
struct keyed {
	uint64_t key;
	uint32_t index;
};

static int by_key(const void *x, const void *y)
{
	const struct keyed *a = x, *b = y;

	return (a->key > b->key) - (a->key < b->key);
}

static void order_hosts(struct tide__slot_view *v, struct keyed *k)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < v->count; i++)
		if (v->slot[i].host)
			k[n++] = (struct keyed){ (uintptr_t)v->slot[i].host, i };
	qsort(k, n, sizeof(*k), by_key);
	for (uint32_t i = 0; i < n; i++) {
		v->host_start[i] = k[i].key;
		v->host_slot[i] = k[i].index;
	}
}

static void order_ids(struct tide__slot_view *v, struct keyed *k)
{
	for (uint32_t i = 0; i < v->count; i++)
		k[i] = (struct keyed){ v->slot[i].id, i };
	qsort(k, v->count, sizeof(*k), by_key);
	for (uint32_t i = 0; i < v->count; i++) {
		v->id[i] = (uint32_t)k[i].key;
		v->id_slot[i] = k[i].index;
	}
}

struct tide__slot_view *tide__slot_view_of(const struct tide_slot *sorted,
					   uint32_t count)
{
	struct keyed *k = malloc((count + 1) * sizeof(*k));
	struct tide__slot_view *v = NULL;
	uint32_t hosts = 0;

	for (uint32_t i = 0; i < count; i++)
		hosts += sorted[i].host != NULL;
	if (k)
		v = tide__slot_view_new(count, hosts);
	if (v) {
		memcpy(v->slot, sorted, count * sizeof(*sorted));
		for (uint32_t i = 0; i < count; i++)
			v->start[i] = sorted[i].gpa_bytes;
		order_hosts(v, k);
		order_ids(v, k);
	}
	free(k);
	return v;
}

/* dst = src with @item in front of index @at, of @n items in src. */
#define COPY_WITH(dst, src, n, at, item)                                       \
	do {                                                                   \
		memcpy((dst), (src), (at) * sizeof(*(dst)));                   \
		(dst)[at] = (item);                                            \
		memcpy((dst) + (at) + 1, (src) + (at),                         \
		       ((n) - (at)) * sizeof(*(dst)));                         \
	} while (0)

/* dst = src without index @at, of @n items in src. */
#define COPY_WITHOUT(dst, src, n, at)                                          \
	do {                                                                   \
		memcpy((dst), (src), (at) * sizeof(*(dst)));                   \
		memcpy((dst) + (at), (src) + (at) + 1,                         \
		       ((n) - (at) - 1) * sizeof(*(dst)));                     \
	} while (0)

/* Slots from @from on have moved up by one (or down, with @by -1). */
static void shift(uint32_t *index, uint32_t n, uint32_t from, uint32_t by)
{
	for (uint32_t i = 0; i < n; i++)
		index[i] += index[i] >= from ? by : 0;
}

/* Number of ids below @id. */
static uint32_t ids_below(const struct tide__slot_view *v, uint32_t id)
{
	uint32_t low = 0, high = v->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (v->id[mid] < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct tide__slot_view *tide__slot_view_with(const struct tide__slot_view *old,
					     const struct tide_slot *slot)
{
	uint64_t host = (uintptr_t)slot->host;
	uint32_t n = old->count, h = old->hosts;
	uint32_t at = tide__count_le(old->start, n, slot->gpa_bytes);
	uint32_t at_host = tide__count_le(old->host_start, h, host);
	uint32_t at_id = ids_below(old, slot->id);
	struct tide__slot_view *v = tide__slot_view_new(n + 1, h + !!host);

	if (!v)
		return NULL;
	COPY_WITH(v->slot, old->slot, n, at, *slot);
	COPY_WITH(v->start, old->start, n, at, slot->gpa_bytes);
	COPY_WITH(v->id, old->id, n, at_id, slot->id);
	COPY_WITH(v->id_slot, old->id_slot, n, at_id, UINT32_MAX);
	shift(v->id_slot, n + 1, at, 1);
	v->id_slot[at_id] = at;
	if (!host) {
		memcpy(v->host_start, old->host_start, h * sizeof(*v->start));
		memcpy(v->host_slot, old->host_slot, h * sizeof(*v->id));
		shift(v->host_slot, h, at, 1);
		return v;
	}
	COPY_WITH(v->host_start, old->host_start, h, at_host, host);
	COPY_WITH(v->host_slot, old->host_slot, h, at_host, UINT32_MAX);
	shift(v->host_slot, h + 1, at, 1);
	v->host_slot[at_host] = at;
	return v;
}

struct tide__slot_view *
tide__slot_view_without(const struct tide__slot_view *old, uint32_t index)
{
	const struct tide_slot *slot = &old->slot[index];
	uint64_t host = (uintptr_t)slot->host;
	uint32_t n = old->count, h = old->hosts;
	uint32_t at_id = ids_below(old, slot->id);
	struct tide__slot_view *v = tide__slot_view_new(n - 1, h - !!host);

	if (!v)
		return NULL;
	COPY_WITHOUT(v->slot, old->slot, n, index);
	COPY_WITHOUT(v->start, old->start, n, index);
	COPY_WITHOUT(v->id, old->id, n, at_id);
	COPY_WITHOUT(v->id_slot, old->id_slot, n, at_id);
	if (host) {
		uint32_t at = tide__count_le(old->host_start, h, host) - 1;

		COPY_WITHOUT(v->host_start, old->host_start, h, at);
		COPY_WITHOUT(v->host_slot, old->host_slot, h, at);
	} else {
		memcpy(v->host_start, old->host_start, h * sizeof(*v->start));
		memcpy(v->host_slot, old->host_slot, h * sizeof(*v->id));
	}
	shift(v->id_slot, n - 1, index, UINT32_MAX);
	shift(v->host_slot, v->hosts, index, UINT32_MAX);
	return v;
}

uint32_t tide__slot_view_search(const struct tide__slot_view *view,
				uint64_t gpa)
{
	uint32_t n = tide__count_le(view->start, view->count, gpa);

	return 2 * n - (n && gpa <= tide__slot_last(&view->slot[n - 1]));
}

int tide__slot_view_finish(struct tide__slot_view *view)
{
	int rc = tide__slot_index_init(&view->index, view->slot, view->count);

	view->bytes += view->index.bytes;
	return rc;
}

void tide__slot_view_free(struct tide__slot_view *view)
{
	if (view)
		tide__slot_index_fini(&view->index);
	free(view);
}

uint32_t tide__slot_view_from(const struct tide__slot_view *view, uint64_t gpa)
{
	uint32_t above = tide__count_le(view->start, view->count, gpa);

	if (above && tide__slot_last(&view->slot[above - 1]) >= gpa)
		return above - 1;
	return above;
}

uint32_t tide__slot_view_host(const struct tide__slot_view *view, uint64_t host)
{
	uint32_t above = tide__count_le(view->host_start, view->hosts, host);
	uint32_t index;

	if (!above)
		return TIDE__NO_SLOT;
	index = view->host_slot[above - 1];
	if (host - view->host_start[above - 1] >= view->slot[index].len_bytes)
		return TIDE__NO_SLOT;
	return index;
}

uint32_t tide__slot_view_id(const struct tide__slot_view *view, uint32_t id)
{
	uint32_t at = ids_below(view, id);

	if (at == view->count || view->id[at] != id)
		return TIDE__NO_SLOT;
	return view->id_slot[at];
}
