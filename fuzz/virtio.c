/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest at its disk: registers in any order, rings and descriptors that it
 * writes as it likes. An input is a list of what it does: a byte of what, and
 * its operands.
 *
 * Held against the device beside not crashing: what it changes in memory is
 * marked, for nobody else sees these writes, and the page that steers the
 * threads of the host is never one of them.
 */
#include <stdlib.h>
#include <string.h>

#include "../guest/virtio.h"
#include "base/bytes.h"
#include "state.h"
#include "vm/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LOW_BYTES (2u << 20)
#define HIGH_GPA (6u << 20)
#define HIGH_BYTES (16u << 10)
/* Where an input's short addresses point: the rings, and both slots' ends. */
#define WINDOW 0x4000u
#define MAX_NOTIFIES 64u

enum { WRITE_REGISTER, READ_REGISTER, WRITE_MEMORY, NOTIFY, AGAIN, DEEDS };

struct input {
	const uint8_t *at;
	size_t left;
};

struct scene {
	struct vm *vm;
	char *low, *high;
	uint8_t was_low[LOW_BYTES], was_high[HIGH_BYTES];
	unsigned int notifies;
};

static uint64_t take(struct input *in, unsigned int bytes)
{
	uint64_t value;

	if (in->left < bytes) {
		in->left = 0;
		return 0;
	}
	value = tide__get_le(in->at, bytes);
	in->at += bytes;
	in->left -= bytes;
	return value;
}

static struct vm *make_vm(void)
{
	const struct tide_slot wanted[2] = {
		{ 0, 0, 0, LOW_BYTES, NULL },
		{ 1, 0, HIGH_GPA, HIGH_BYTES, NULL },
	};
	struct vm_config c;
	struct vm *vm;

	state_config(&c);
	if (vm_create_incoming(&vm, &c, NULL) ||
	    vm_prepare_incoming(vm, wanted, 2, NULL) ||
	    vm__disk_take(vm, NULL))
		abort();
	return vm;
}

/* Every page that changed is marked. */
static void must_be_marked(struct scene *s, const char *now, uint8_t *was,
			   size_t bytes, uint64_t gpa)
{
	for (size_t at = 0; at < bytes; at += GUEST_PAGE_BYTES) {
		if (!memcmp(now + at, was + at, GUEST_PAGE_BYTES))
			continue;
		if (!tide_set_is_dirty(s->vm->set,
				       (gpa + at) / GUEST_PAGE_BYTES) ||
		    gpa + at == GUEST_CONTROL)
			abort();
		memcpy(was + at, now + at, GUEST_PAGE_BYTES);
	}
}

static void notify(struct scene *s)
{
	struct tide_epoch *epoch;

	if (s->notifies++ >= MAX_NOTIFIES)
		return;
	memcpy(s->was_low, s->low, LOW_BYTES);
	memcpy(s->was_high, s->high, HIGH_BYTES);
	/* Clean before, so that marks are this notify's. */
	if (tide_set_cut(s->vm->set, &epoch, NULL))
		abort();
	tide_epoch_commit(epoch);
	vm__disk_write(s->vm, VIRTIO_QUEUE_NOTIFY, 0);
	must_be_marked(s, s->low, s->was_low, LOW_BYTES, 0);
	must_be_marked(s, s->high, s->was_high, HIGH_BYTES, HIGH_GPA);
}

/* A guest's address from a short one: near the rings, or near an edge. */
static char *place(struct scene *s, uint64_t from, uint64_t *room)
{
	uint64_t at = from % WINDOW;

	*room = WINDOW - at;
	switch (from / WINDOW) {
	case 0:
		return s->low + GUEST_QUEUE + at;
	case 1:
		return s->low + LOW_BYTES - WINDOW + at;
	default:
		return s->high + at;
	}
}

static void write_memory(struct scene *s, struct input *in)
{
	uint64_t from = take(in, 2), len = take(in, 1), room;
	char *to = place(s, from, &room);

	if (len > room)
		len = room;
	if (len > in->left)
		len = in->left;
	memcpy(to, in->at, len);
	in->at += len;
	in->left -= len;
}

/* Saved and loaded: the registers are as they were. */
static void again(struct scene *s)
{
	const struct vm_disk *d = &s->vm->disk;
	struct vm_disk was = *d;
	void *blob;
	size_t len;

	if (vm_save_state(s->vm, &blob, &len, NULL))
		abort();
	/* The registers are in; there is no work that could be run. */
	if (!vm_load_state(s->vm, blob, len, NULL))
		abort();
	if (d->status != was.status || d->desc != was.desc ||
	    d->driver != was.driver || d->device != was.device ||
	    d->queue_num != was.queue_num || d->last_avail != was.last_avail)
		abort();
	free(blob);
}

static void do_one(struct scene *s, struct input *in)
{
	uint64_t offset;

	switch (take(in, 1) % DEEDS) {
	case WRITE_REGISTER:
		offset = take(in, 2);
		if (offset != VIRTIO_QUEUE_NOTIFY)
			vm__disk_write(s->vm, (uint32_t)offset,
				       (uint32_t)take(in, 4));
		break;
	case READ_REGISTER:
		vm__disk_read(s->vm, (uint32_t)take(in, 2));
		break;
	case WRITE_MEMORY:
		write_memory(s, in);
		break;
	case NOTIFY:
		notify(s);
		break;
	default:
		again(s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct scene s;
	struct input in = { data, size };
	struct tide_slot slot;

	s.vm = make_vm();
	s.notifies = 0;
	if (!tide_slots_find_gpa(vm_slots(s.vm), 0, &slot))
		abort();
	s.low = slot.host;
	if (!tide_slots_find_gpa(vm_slots(s.vm), HIGH_GPA, &slot))
		abort();
	s.high = slot.host;
	while (in.left)
		do_one(&s, &in);
	vm_destroy(s.vm);
	return 0;
}
