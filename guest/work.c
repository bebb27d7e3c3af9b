/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest does: writes pages in a pattern, and proves on request that
 * every page it ever wrote is there, whole, in its last version.
 *
 * A page's record says which page it is and in which version; a table of
 * versions elsewhere in RAM says which version is the last. A page that was
 * torn in the move fails its checksum, a page that arrived in an older version
 * fails against the table. Each vCPU owns the work pages whose index has its
 * number as remainder, so nobody writes another's page.
 *
 * Time: between two page writes the TSC is read; how long each write took goes
 * into a histogram, by the phase that the VMM says it is in. Write-protection
 * faults and lock waits that tracking causes show there, as the guest feels
 * them.
 */
#include "work.h"

static inline uint64_t ticks(void)
{
	return __builtin_ia32_rdtsc();
}

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t next_random(struct guest_vcpu *me)
{
	me->rng += UINT64_C(0x9e3779b97f4a7c15);
	return mix(me->rng);
}

#define BODY_WORDS (GUEST_PAGE_BYTES / 8 - 4)

static uint64_t sum_of(uint64_t page, uint64_t version, uint64_t folded)
{
	return mix(folded ^ mix(page) ^ (version << 1));
}

void guest_record_fill(struct guest_record *record, uint64_t page,
		       uint64_t version)
{
	uint64_t word = mix(page * 0x10001 + version), folded = 0;

	record->magic = GUEST_MAGIC;
	record->page = page;
	record->version = version;
	for (unsigned int i = 0; i < BODY_WORDS; i++) {
		record->body[i] = word;
		folded = (folded << 1 | folded >> 63) ^ word;
		word += UINT64_C(0x9e3779b97f4a7c15);
	}
	record->checksum = sum_of(page, version, folded);
}

int guest_record_check(const struct guest_record *record, uint64_t page,
		       uint64_t version)
{
	uint64_t folded = 0;

	for (unsigned int i = 0; i < BODY_WORDS; i++)
		folded = (folded << 1 | folded >> 63) ^ record->body[i];
	if (record->magic != GUEST_MAGIC || record->page != page ||
	    record->checksum != sum_of(page, record->version, folded))
		return 1;
	return record->version == version ? 0 : 2;
}

uint64_t guest_page_of(const struct guest_control *control, uint64_t index)
{
	for (unsigned int i = 0; i < control->regions; i++) {
		if (index < control->region[i].count)
			return control->region[i].first + index;
		index -= control->region[i].count;
	}
	return 0;
}

/* The index of the next page to write; always one of this vCPU's own. */
static uint64_t pick(const struct guest_control *control, unsigned int vcpu,
		     struct guest_vcpu *me)
{
	uint64_t own = control->work_pages / control->vcpus, i;
	uint64_t r = next_random(me), half;

	switch (control->pattern) {
	case GUEST_SEQUENTIAL:
		i = me->next++ % own;
		break;
	case GUEST_HOTSET:
		half = own >= 10 ? own / 10 : 1;
		i = (r >> 32) % 10 ? r % half : r % own;
		break;
	case GUEST_ZIPF:
		/* Halve the range with probability 1/2, again and again. */
		half = own;
		for (uint64_t coin = r >> 32; (coin & 1) && half > 1;
		     coin >>= 1)
			half /= 2;
		i = r % half;
		break;
	default:
		i = r % own;
	}
	return i * control->vcpus + vcpu;
}

static void note_time(const struct guest_control *control,
		      struct guest_vcpu *me, uint64_t took)
{
	unsigned int phase = control->phase < GUEST_PHASES ? control->phase : 0;
	unsigned int bucket = took ? 63 - (unsigned int)__builtin_clzll(took)
				   : 0;

	me->stalls[phase][bucket]++;
	if (took > me->longest[phase])
		me->longest[phase] = took;
}

static void write_one(const struct guest_memory *memory, unsigned int vcpu,
		      const struct guest_control *control,
		      struct guest_vcpu *me)
{
	uint32_t *versions = (uint32_t *)(memory->base + GUEST_VERSIONS);
	uint64_t index = pick(control, vcpu, me), start = ticks();
	uint64_t page = guest_page_of(control, index);

	guest_record_fill((struct guest_record *)(memory->base +
						  page * GUEST_PAGE_BYTES),
			  page, versions[index] + 1);
	versions[index]++;
	me->written++;
	note_time(control, me, ticks() - start);
}

static void verify(const struct guest_memory *memory, unsigned int vcpu,
		   const struct guest_control *control, struct guest_vcpu *me)
{
	const uint32_t *versions =
	    (const uint32_t *)(memory->base + GUEST_VERSIONS);

	me->verified = me->bad = 0;
	for (uint64_t i = vcpu; i < control->work_pages; i += control->vcpus) {
		uint64_t page = guest_page_of(control, i);
		int bad;

		if (!versions[i])
			continue;
		me->verified++;
		bad = guest_record_check(
		    (const struct guest_record *)(memory->base +
						  page * GUEST_PAGE_BYTES),
		    page, versions[i]);
		if (bad && !me->bad++) {
			me->first_bad = page;
			me->first_bad_kind = (uint64_t)bad;
		}
	}
}

static void say(const char *text)
{
	while (*text)
		machine_out(GUEST_PORT_SERIAL, (unsigned char)*text++);
}

static void obey(const struct guest_memory *memory, unsigned int vcpu,
		 const struct guest_control *control, struct guest_vcpu *me)
{
	/* Pairs with the VMM's release of the number after the command. */
	uint64_t number = __atomic_load_n(&control->command_number,
					  __ATOMIC_ACQUIRE);

	if (number == me->command_done)
		return;
	if (control->command == GUEST_VERIFY)
		verify(memory, vcpu, control, me);
	/*
	 * Pairs with the VMM's acquire: the answer is there before the number.
	 */
	__atomic_store_n(&me->command_done, number, __ATOMIC_RELEASE);
}

void guest_work(const struct guest_memory *memory, unsigned int vcpu)
{
	const struct guest_control *control =
	    (const void *)(memory->base + GUEST_CONTROL);
	struct guest_vcpu *me = (void *)(memory->base + GUEST_VCPUS +
					 vcpu * GUEST_VCPU_BYTES);

	if (!me->started) {
		me->started = 1;
		me->rng = mix(control->seed + vcpu);
		if (vcpu == 0)
			say("tidemark guest: running\n");
	}
	for (;;) {
		uint32_t n = 0;

		obey(memory, vcpu, control, me);
		if (control->pattern != GUEST_IDLE) {
			for (; n < control->batch; n++)
				write_one(memory, vcpu, control, me);
		}
		if (control->pattern == GUEST_MIXED && vcpu == 0 &&
		    control->disk_blocks)
			guest_disk_step(memory, control, me, next_random(me));
		if (machine_out(GUEST_PORT_BATCH, n))
			return;
	}
}
