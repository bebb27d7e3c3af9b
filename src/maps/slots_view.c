/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/slots_view.h"

#include <stdlib.h>
#include <string.h>

struct tide__slot_view *tide__slot_view_new(uint32_t count, uint32_t hosts)
{
	struct tide__slot_view *v;
	size_t bytes = sizeof(*v) + count * sizeof(*v->slot) +
		       (count + (size_t)hosts) * sizeof(*v->start) +
		       (2 * (size_t)count + hosts) * sizeof(*v->id);
	void *memory;

	/* A cache line's alignment, for the keys that follow the head. */
	if (posix_memalign(&memory, 64, bytes))
		return NULL;
	v = memory;
	memset(v, 0, sizeof(*v));
	v->count = count;
	v->hosts = hosts;
	v->start = (uint64_t *)(v + 1);
	v->host_start = v->start + count;
	v->slot = (struct tide_slot *)(v->host_start + hosts);
	v->host_slot = (uint32_t *)(v->slot + count);
	v->id = v->host_slot + hosts;
	v->id_slot = v->id + count;
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

struct tide__slot_span tide__slot_view_span(const struct tide__slot_view *view,
					    uint64_t gpa)
{
	uint32_t above = tide__count_le(view->start, view->count, gpa);
	struct tide__slot_span span = { 0, UINT64_MAX, TIDE__NO_SLOT };

	if (above) {
		const struct tide_slot *s = &view->slot[above - 1];

		if (gpa - s->gpa_bytes < s->len_bytes) {
			span.first = s->gpa_bytes;
			span.last = tide__slot_last(s);
			span.index = above - 1;
			return span;
		}
		span.first = tide__slot_last(s) + 1;
	}
	if (above < view->count)
		span.last = view->start[above] - 1;
	return span;
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
