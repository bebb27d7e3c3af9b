/* SPDX-License-Identifier: BSD-2-Clause */
#include "transfer/plan.h"

#define MAX_ZERO_BYTES (UINT64_C(256) << 20)

static enum piece_kind kind_of(const struct plan *plan, uint32_t flags)
{
	if (!plan->all && !(flags & EXTENT_DIRTY))
		return PIECE_SKIP;
	return flags & EXTENT_ZERO ? PIECE_ZERO : PIECE_DATA;
}

/* A chunk of which the first @length bytes are *flags, and the rest is not. */
static int mixed(struct plan *plan, uint64_t end, uint32_t *flags,
		 uint64_t length, struct tide_error *err)
{
	uint64_t at = plan->at + length;
	uint32_t more;
	int ret = 0;

	while (!ret && at < end) {
		ret = nbd_client_at(plan->source, at, &length, &more, err);
		/* Zero if all of it is, dirty if any is. */
		*flags = ((*flags | more) & EXTENT_DIRTY) |
			 (*flags & more & EXTENT_ZERO);
		at += length;
	}
	return ret;
}

/* A chunk that is copied in any case is a run of its own. */
static void force(const struct plan *plan, uint64_t *length,
		  uint32_t *flags)
{
	if (!plan->forced_at || plan->forced_at < plan->at)
		return;
	if (plan->forced_at == plan->at) {
		*flags |= EXTENT_DIRTY;
		if (*length > CHUNK_BYTES)
			*length = CHUNK_BYTES;
	} else if (*length > plan->forced_at - plan->at) {
		*length = plan->forced_at - plan->at;
	}
}

/* Whole chunks of one kind from plan->at on. */
static int look(struct plan *plan, uint64_t *length, uint32_t *flags,
		struct tide_error *err)
{
	uint64_t left = nbd_client_size(plan->source) - plan->at;
	uint64_t chunk = left < CHUNK_BYTES ? left : CHUNK_BYTES;
	int ret = nbd_client_at(plan->source, plan->at, length, flags, err);

	if (ret)
		return ret;
	if (*length < chunk) {
		ret = mixed(plan, plan->at + chunk, flags, *length, err);
		*length = chunk;
	} else if (*length < left) {
		*length &= ~(CHUNK_BYTES - 1);
	}
	force(plan, length, flags);
	return ret;
}

static uint64_t max_of(const struct piece *p)
{
	enum piece_kind kind = p->kind;

	return kind == PIECE_DATA ? p->max_bytes & ~(CHUNK_BYTES - 1) :
	       kind == PIECE_ZERO ? MAX_ZERO_BYTES : UINT64_MAX;
}

int plan_next(struct plan *plan, struct piece *p,
	      struct tide_error *err)
{
	uint64_t size = nbd_client_size(plan->source), length;
	uint32_t flags;
	int ret;

	p->offset_bytes = plan->at;
	p->length_bytes = 0;
	while (plan->at < size) {
		enum piece_kind kind;

		ret = look(plan, &length, &flags, err);
		if (ret)
			return ret;
		kind = kind_of(plan, flags);
		flags &= EXTENT_DIRTY;
		if (p->length_bytes && (kind != p->kind || flags != p->flags))
			break;
		p->kind = kind;
		p->flags = flags;
		if (length > max_of(p) - p->length_bytes)
			length = max_of(p) - p->length_bytes;
		p->length_bytes += length;
		plan->at += length;
		/* Long runs of what is not copied are told of, too. */
		if (kind != PIECE_DATA || p->length_bytes == max_of(p))
			break;
	}
	return p->length_bytes != 0;
}
