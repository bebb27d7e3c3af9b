/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/plan.h"

#define MOST_ZERO_BYTES (UINT64_C(256) << 20)

static enum backup_kind kind_of(const struct backup_plan *plan, uint32_t flags)
{
	if (!plan->all && !(flags & BACKUP_IS_DIRTY))
		return BACKUP_SKIP;
	return flags & BACKUP_IS_ZERO ? BACKUP_ZERO : BACKUP_DATA;
}

/* A chunk of which the first @length bytes are *flags, and the rest is not. */
static int mixed(struct backup_plan *plan, uint64_t end, uint32_t *flags,
		 uint64_t length, struct tide_error *err)
{
	uint64_t at = plan->at + length;
	uint32_t more;
	int ret = 0;

	while (!ret && at < end) {
		ret = backup_source_at(plan->source, at, &length, &more, err);
		/* Zero if all of it is, dirty if any is. */
		*flags = ((*flags | more) & BACKUP_IS_DIRTY) |
			 (*flags & more & BACKUP_IS_ZERO);
		at += length;
	}
	return ret;
}

/* A chunk that is copied in any case is a run of its own. */
static void force(const struct backup_plan *plan, uint64_t *length,
		  uint32_t *flags)
{
	if (!plan->forced_at || plan->forced_at < plan->at)
		return;
	if (plan->forced_at == plan->at) {
		*flags |= BACKUP_IS_DIRTY;
		if (*length > BACKUP_CHUNK_BYTES)
			*length = BACKUP_CHUNK_BYTES;
	} else if (*length > plan->forced_at - plan->at) {
		*length = plan->forced_at - plan->at;
	}
}

/* Whole chunks of one kind from plan->at on. */
static int look(struct backup_plan *plan, uint64_t *length, uint32_t *flags,
		struct tide_error *err)
{
	uint64_t left = backup_source_size(plan->source) - plan->at;
	uint64_t chunk = left < BACKUP_CHUNK_BYTES ? left : BACKUP_CHUNK_BYTES;
	int ret = backup_source_at(plan->source, plan->at, length, flags, err);

	if (ret)
		return ret;
	if (*length < chunk) {
		ret = mixed(plan, plan->at + chunk, flags, *length, err);
		*length = chunk;
	} else if (*length < left) {
		*length &= ~(BACKUP_CHUNK_BYTES - 1);
	}
	force(plan, length, flags);
	return ret;
}

static uint64_t most_of(enum backup_kind kind)
{
	return kind == BACKUP_DATA ? BACKUP_PIECE_BYTES :
	       kind == BACKUP_ZERO ? MOST_ZERO_BYTES : UINT64_MAX;
}

int backup_plan_next(struct backup_plan *plan, struct backup_piece *p,
		     struct tide_error *err)
{
	uint64_t size = backup_source_size(plan->source), length;
	uint32_t flags;
	int ret;

	p->offset_bytes = plan->at;
	p->length_bytes = 0;
	while (plan->at < size) {
		enum backup_kind kind;

		ret = look(plan, &length, &flags, err);
		if (ret)
			return ret;
		kind = kind_of(plan, flags);
		flags &= BACKUP_IS_DIRTY;
		if (p->length_bytes && (kind != p->kind || flags != p->flags))
			break;
		p->kind = kind;
		p->flags = flags;
		if (length > most_of(kind) - p->length_bytes)
			length = most_of(kind) - p->length_bytes;
		p->length_bytes += length;
		plan->at += length;
		/* Long runs of what is not copied are told of, too. */
		if (kind != BACKUP_DATA || p->length_bytes == most_of(kind))
			break;
	}
	return p->length_bytes != 0;
}
