/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The common case of a move: what nearly every VMM would write around
 * tide_precopy_run and tide_receive_run, written once.
 */
#include "tidemark/move.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char origin[] = "move";

static int harvest(void *opaque, struct tide_set *set, struct tide_error *err)
{
	const struct tide_move_guest *g = opaque;

	return g->source ? tide_source_harvest(g->source, set, err) : 0;
}

static int rearm(void *opaque, uint64_t first, uint64_t count,
		 struct tide_error *err)
{
	const struct tide_move_guest *g = opaque;

	return g->source ? tide_source_rearm(g->source, first, count, err) : 0;
}

static int pause_guest(void *opaque, struct tide_error *err)
{
	const struct tide_move_guest *g = opaque;

	return g->pause(g->opaque, err);
}

static int resume_guest(void *opaque, struct tide_error *err)
{
	const struct tide_move_guest *g = opaque;

	return g->resume(g->opaque, err);
}

static int save_state(void *opaque, void **state, size_t *len,
		      struct tide_error *err)
{
	const struct tide_move_guest *g = opaque;

	return g->save_state(g->opaque, state, len, err);
}

static void throttle(void *opaque, unsigned int percent)
{
	const struct tide_move_guest *g = opaque;

	g->throttle(g->opaque, percent);
}

static int start(const struct tide_move_guest *g, struct tide_set **set,
		 struct tide_error *err)
{
	int ret = 0;

	if (!g->slots || !g->pause || !g->resume || !g->save_state ||
	    (!g->source && !g->set))
		return tide_error_set(err, -EINVAL, origin, TIDE_NO_OFFSET,
				      "a guest needs slots, a source or a set, "
				      "pause, resume and save_state");
	if (!g->set)
		ret = tide_set_create(set, tide_slots_top_bytes(g->slots) /
				      TIDE_PAGE_BYTES, err);
	if (!ret && g->source)
		ret = tide_source_start(g->source, g->slots, err);
	return ret;
}

int tide_move_send(const struct tide_move_guest *guest, const int *sockets,
		   unsigned int count,
		   const struct tide_precopy_options *options,
		   struct tide_precopy_result *result, struct tide_error *err)
{
	const struct tide_precopy_ops ops = {
		.harvest = harvest,
		.rearm = rearm,
		.pause = pause_guest,
		.resume = resume_guest,
		.throttle = guest->throttle ? throttle : NULL,
		.save_state = save_state,
	};
	struct tide_precopy_options defaults;
	struct tide_precopy_result ignored;
	struct tide_set *own = NULL;
	int ret;

	tide_precopy_defaults(&defaults);
	result = result ? result : &ignored;
	*result = (struct tide_precopy_result){
		.outcome = TIDE_PRECOPY_ROLLED_BACK };
	ret = start(guest, &own, err);
	if (!ret) {
		ret = tide_precopy_run(sockets, count, guest->slots,
				       own ? own : guest->set, &ops,
				       (void *)guest,
				       options ? options : &defaults, result,
				       err);
		if (guest->source)
			tide_source_stop(guest->source, NULL);
	}
	tide_set_destroy(own);
	return ret;
}

struct arriving {
	const struct tide_move_target *target;
	struct tide_slots *slots;
	const int *sockets;
	unsigned int count, taken;
};

static int next_socket(void *opaque, struct tide_error *err)
{
	struct arriving *a = opaque;

	if (a->taken < a->count)
		return a->sockets[a->taken++];
	return tide_error_set(err, -EPROTO, origin, TIDE_NO_OFFSET,
			      "the source has more channels than the %u here",
			      a->count);
}

static int map_slot(struct tide_slots *slots, const struct tide_slot *wanted,
		    struct tide_error *err)
{
	struct tide_slot slot = *wanted;
	int ret;

	slot.host = mmap(NULL, slot.len_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slot.host == MAP_FAILED)
		return tide_error_set(err, -ENOMEM, origin, slot.gpa_bytes,
				      "no memory for slot %" PRIu32 " of 0x%"
				      PRIx64 " bytes", slot.id,
				      slot.len_bytes);
	ret = tide_slots_insert(slots, &slot, err);
	if (ret)
		munmap(slot.host, slot.len_bytes);
	return ret;
}

static int prepare(void *opaque, const struct tide_slot *wanted, size_t count,
		   struct tide_slots *slots, struct tide_error *err)
{
	int ret = 0;

	(void)opaque;
	for (size_t i = 0; i < count && !ret; i++)
		ret = map_slot(slots, &wanted[i], err);
	return ret;
}

static int load_state(void *opaque, const void *state, size_t len,
		      struct tide_error *err)
{
	const struct arriving *a = opaque;

	return a->target->load_state(a->target->opaque, a->slots, state, len,
				     err);
}

static int resume_target(void *opaque, struct tide_error *err)
{
	const struct arriving *a = opaque;

	return a->target->resume(a->target->opaque, err);
}

int tide_move_receive(const struct tide_move_target *target,
		      const int *sockets, unsigned int count,
		      struct tide_slots *slots,
		      const struct tide_precopy_options *options,
		      struct tide_precopy_result *result,
		      struct tide_error *err)
{
	static const struct tide_receive_ops ops = {
		.prepare = prepare,
		.load_state = load_state,
		.resume = resume_target,
	};
	struct arriving a = { target, slots, sockets, count, 0 };
	struct tide_precopy_options defaults;
	struct tide_precopy_result ignored;
	int ret;

	tide_precopy_defaults(&defaults);
	ret = tide_receive_run(next_socket, slots, &ops, &a,
			       options ? options : &defaults,
			       result ? result : &ignored, err);
	while (a.taken < count)
		close(sockets[a.taken++]);
	if (ret)
		tide_move_unmap(slots);
	return ret;
}

void tide_move_unmap(struct tide_slots *slots)
{
	struct tide_slot slot;

	while (tide_slots_next(slots, 0, &slot)) {
		tide_slots_remove(slots, slot.id, NULL);
		munmap(slot.host, slot.len_bytes);
	}
}
