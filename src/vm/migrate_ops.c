/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a VMM uses the library: its source of dirty pages and its vCPUs behind
 * the callbacks of the pre-copy engine. Begin reading here.
 *
 * Sending: start the source, let the engine ask for harvests, rearm each range
 * before it is read, pause at the end, save the state. Stopping the source
 * comes last, whatever the outcome: a guest that stays needs no tracking, and
 * the set is told by the engine that everything is dirty.
 */
#include "vm/migrate_ops.h"

#include "base/clock.h"
#include "vm/internal.h"

static int harvest(void *opaque, struct tide_set *set, struct tide_error *err)
{
	struct vm_migration *m = opaque;

	return tide_source_harvest(vm_source(m->vm), set, err);
}

static int rearm(void *opaque, uint64_t first, uint64_t count,
		 struct tide_error *err)
{
	struct vm_migration *m = opaque;

	vm__addresses_note(m->vm, "harvest", first * GUEST_PAGE_BYTES,
			   count * GUEST_PAGE_BYTES);
	return tide_source_rearm(vm_source(m->vm), first, count, err);
}

static int pause_vm(void *opaque, struct tide_error *err)
{
	struct vm_migration *m = opaque;

	/* Before the pause: the guest must not see it change afterwards. */
	vm_set_phase(m->vm, VM_PHASE_STOP);
	vm_freeze_slots(m->vm);
	return vm_pause(m->vm, err);
}

static int resume_vm(void *opaque, struct tide_error *err)
{
	struct vm_migration *m = opaque;

	return vm_resume(m->vm, err);
}

static void throttle(void *opaque, unsigned int percent)
{
	struct vm_migration *m = opaque;

	vm_throttle(m->vm, percent);
}

static int save_state(void *opaque, void **state, size_t *len,
		      struct tide_error *err)
{
	struct vm_migration *m = opaque;

	return vm_save_state(m->vm, state, len, err);
}

static void progress(void *opaque, const struct tide_round *round)
{
	struct vm_migration *m = opaque;

	if (round->finished && round->kind == TIDE_ROUND_BULK)
		vm_set_phase(m->vm, VM_PHASE_DIRTY);
	if (m->progress)
		m->progress(m->opaque, round);
}

static void hold(void *opaque)
{
	vm_hold_memory(((struct vm_migration *)opaque)->vm);
}

static void release(void *opaque)
{
	vm_release_memory(((struct vm_migration *)opaque)->vm);
}

int vm_migrate(struct vm_migration *m, const int *channels, unsigned int count,
	       const struct tide_precopy_options *options,
	       struct tide_precopy_result *result, struct tide_error *err)
{
	static const struct tide_precopy_ops ops = {
		.harvest = harvest,
		.rearm = rearm,
		.pause = pause_vm,
		.resume = resume_vm,
		.throttle = throttle,
		.save_state = save_state,
		.progress = progress,
		.hold = hold,
		.release = release,
	};
	int ret = vm_track_start(m->vm, err);

	if (ret) {
		*result = (struct tide_precopy_result){
			.outcome = TIDE_PRECOPY_ROLLED_BACK };
		return ret;
	}
	vm_set_phase(m->vm, VM_PHASE_BULK);
	ret = tide_precopy_run(channels, count, m->vm->slots, m->vm->set, &ops,
			       m, options, result, err);
	vm_track_stop(m->vm, NULL);
	if (m->want_hash && result->outcome == TIDE_PRECOPY_MOVED)
		m->hash = vm_memory_hash(m->vm);
	vm_set_phase(m->vm, VM_PHASE_NONE);
	return ret;
}

static int prepare(void *opaque, const struct tide_slot *wanted, size_t count,
		   struct tide_slots *slots, struct tide_error *err)
{
	struct vm_migration *m = opaque;

	(void)slots;		/* the VM's own map, which it fills */
	return vm_prepare_incoming(m->vm, wanted, count, err);
}

static int change(void *opaque, const struct tide_slot *wanted, size_t count,
		  struct tide_slots *slots, struct tide_error *err)
{
	struct vm_migration *m = opaque;

	(void)slots;		/* the VM's own map */
	return vm_change_incoming(m->vm, wanted, count, err);
}

static int load_state(void *opaque, const void *state, size_t len,
		      struct tide_error *err)
{
	struct vm_migration *m = opaque;
	int ret = vm_load_state(m->vm, state, len, err);
	uint64_t start = tide__now_ns();

	if (!ret && m->want_hash) {
		m->hash = vm_memory_hash(m->vm);
		m->hash_ns = tide__now_ns() - start;
	}
	return ret;
}

static int run(void *opaque, struct tide_error *err)
{
	struct vm_migration *m = opaque;

	if (m->before_run)
		m->before_run(m->opaque);
	return vm_resume(m->vm, err);
}

static void received(void *opaque, const struct tide_round *round)
{
	struct vm_migration *m = opaque;

	if (m->progress)
		m->progress(m->opaque, round);
}

static int accept_next(void *opaque, struct tide_error *err)
{
	struct vm_migration *m = opaque;

	return m->accept(m->opaque, err);
}

int vm_receive(struct vm_migration *m,
	       const struct tide_precopy_options *options,
	       struct tide_precopy_result *result, struct tide_error *err)
{
	static const struct tide_receive_ops ops = {
		.prepare = prepare,
		.load_state = load_state,
		.resume = run,
		.progress = received,
		.change = change,
	};

	return tide_receive_run(accept_next, m->vm->slots, &ops, m, options,
				result, err);
}
