/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a snapshot keeps of a guest besides its memory: where its slots were,
 * then the state that a migration sends, too. A folder of snapshots is a file
 * like any other, so all of it is judged before anything is made of it.
 *
 *   magic 8 | count 8 | count x (id 8, address 8, bytes 8) | state
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "vm/internal.h"

#define MAGIC UINT64_C(0x31304c4c49544d56)	/* "VMTILL01" */
#define HEAD 16u
#define ENTRY 24u

static unsigned int count_slots(const struct vm *vm)
{
	struct tide_slot slot;
	unsigned int n = 0;

	for (uint64_t from = 0; tide_slots_next(vm->slots, from, &slot); n++)
		from = slot.gpa_bytes + slot.len_bytes;
	return n;
}

static void put_slots(const struct vm *vm, unsigned char *to, unsigned int n)
{
	struct tide_slot slot;
	uint64_t from = 0;

	tide__put_le(to, MAGIC, 8);
	tide__put_le(to + 8, n, 8);
	for (to += HEAD; n--; to += ENTRY) {
		if (!tide_slots_next(vm->slots, from, &slot))
			return;
		tide__put_le(to, slot.id, 8);
		tide__put_le(to + 8, slot.gpa_bytes, 8);
		tide__put_le(to + 16, slot.len_bytes, 8);
		from = slot.gpa_bytes + slot.len_bytes;
	}
}

int vm_still_save(struct vm *vm, void **bytes, size_t *len,
		  struct tide_error *err)
{
	unsigned int n = count_slots(vm);
	size_t head = HEAD + n * ENTRY, state_len;
	unsigned char *blob;
	void *state;
	int ret = n > VM_STILL_SLOTS ? -E2BIG : 0;

	if (ret)
		return tide_error_set(err, ret, "vm-state", TIDE_NO_OFFSET,
				      "a snapshot takes %u memory slots at "
				      "most", VM_STILL_SLOTS);
	ret = vm_keep_state(vm, &state, &state_len, err);
	if (ret)
		return ret;
	blob = malloc(head + state_len);
	if (blob) {
		put_slots(vm, blob, n);
		memcpy(blob + head, state, state_len);
		*bytes = blob;
		*len = head + state_len;
	}
	free(state);
	return blob ? 0 : tide_error_set(err, -ENOMEM, "vm-state",
					 TIDE_NO_OFFSET, "no memory");
}

static int bad(const char *what, struct tide_error *err)
{
	return tide_error_set(err, -EPROTO, "vm-state", TIDE_NO_OFFSET,
			      "the snapshot's devices: %s", what);
}

int vm_still_read(struct vm_still *still, const void *bytes, size_t len,
		  struct tide_error *err)
{
	const unsigned char *at = bytes;
	uint64_t n;

	if (len < HEAD || tide__get_le(at, 8) != MAGIC)
		return bad("they are not a guest's of this VMM", err);
	n = tide__get_le(at + 8, 8);
	if (!n || n > VM_STILL_SLOTS || len - HEAD < n * ENTRY)
		return bad("an impossible number of slots", err);
	for (uint64_t i = 0; i < n; i++) {
		const unsigned char *e = at + HEAD + i * ENTRY;

		if (tide__get_le(e, 8) > UINT32_MAX)
			return bad("an impossible slot", err);
		still->slot[i] = (struct tide_slot){
			.id = (uint32_t)tide__get_le(e, 8),
			.gpa_bytes = tide__get_le(e + 8, 8),
			.len_bytes = tide__get_le(e + 16, 8),
		};
	}
	still->slots = (size_t)n;
	still->state = at + HEAD + n * ENTRY;
	still->state_bytes = len - HEAD - n * ENTRY;
	return 0;
}
