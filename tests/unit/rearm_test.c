/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rearming a unit costs the same with few slots and with many: it is done for
 * every unit of every round, under the engine's lock. And it does not wait for
 * a slot that comes or goes, which may take KVM tens of milliseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "tidemark/source.h"

#define SLOT_BYTES 65536ull
#define FEW 16u
#define MANY 4096u

static int vm;

static int set_logging(void *opaque, const struct tide_slot *s, bool on)
{
	struct kvm_userspace_memory_region r = {
		.slot = s->id,
		.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = s->gpa_bytes,
		.memory_size = s->len_bytes,
		.userspace_addr = (uintptr_t)s->host,
	};

	(void)opaque;
	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

/* Every second slot of address space is one, so that there are gaps. */
static void add_slots(struct tide_slots *slots, unsigned int n, char *memory)
{
	for (unsigned int i = 0; i < n; i++) {
		struct tide_slot s = { .id = i,
				       .gpa_bytes = (1ull << 32) +
						    i * 2 * SLOT_BYTES,
				       .len_bytes = SLOT_BYTES,
				       .host = memory + i * SLOT_BYTES };

		assert_int_equal(set_logging(NULL, &s, false), 0);
		assert_int_equal(tide_slots_insert(slots, &s, NULL), 0);
	}
}

/* ns a call, of ranges in all slots, once nothing is pending; best of five. */
static uint64_t cost(unsigned int n, char *memory)
{
	struct tide_source_vm v = { .set_logging = set_logging };
	struct tide_source *source;
	struct tide_slots *slots;
	struct tide_set *set;
	uint64_t best = UINT64_MAX, page, pages = SLOT_BYTES / 4096;

	v.vm_fd = vm;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	add_slots(slots, n, memory);
	assert_int_equal(tide_set_create(&set,
					 tide_slots_top_bytes(slots) / 4096,
					 NULL), 0);
	assert_int_equal(tide_source_create(&source, TIDE_SOURCE_LOG_MANUAL,
					    &v, NULL), 0);
	assert_int_equal(tide_source_start(source, slots, NULL), 0);
	for (unsigned int round = 0; round < 6; round++) {
		uint64_t start = tide__now_ns(), took;

		for (unsigned int i = 0; i < n; i++) {
			page = (1ull << 20) + i * 2 * pages;
			assert_int_equal(tide_source_rearm(source, page, pages,
							   NULL), 0);
		}
		took = (tide__now_ns() - start) / n;
		if (round && took < best)
			best = took;
	}
	tide_source_destroy(source);
	tide_set_destroy(set);
	tide_slots_destroy(slots);
	return best;
}

static void rearm_does_not_walk_the_slots(void **state)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	uint64_t few, many;
	char *memory;

	(void)state;
	if (kvm < 0) {
		print_message("# SKIP: /dev/kvm cannot be opened\n");
		skip();
	}
	memory = mmap(NULL, MANY * SLOT_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(memory != MAP_FAILED);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	assert_true(vm >= 0);
	assert_int_equal(tide_kvm_manual_enable(vm, NULL), 0);
	few = cost(FEW, memory);
	close(vm);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	assert_int_equal(tide_kvm_manual_enable(vm, NULL), 0);
	many = cost(MANY, memory);
	print_message("# %u slots: %llu ns; %u slots: %llu ns\n", FEW,
		      (unsigned long long)few, MANY, (unsigned long long)many);
	/* A walk costs several hundred times as much; noise does not. */
	assert_true(many < 10 * few + 1000);
	munmap(memory, MANY * SLOT_BYTES);
	close(vm);
	close(kvm);
}

/* A change of slots that ends only when others have got their turn. */
static struct tide_source *busy;
static struct tide_set *busy_set;
static bool slow, got_through;

static void *rearm_and_harvest(void *arg)
{
	(void)arg;
	tide_source_rearm(busy, 1 << 20, 16, NULL);
	tide_source_harvest(busy, busy_set, NULL);
	tide__store_seqcst(&got_through, true);
	return NULL;
}

static int slow_logging(void *opaque, const struct tide_slot *s, bool on)
{
	const struct timespec nap = { 0, 1000000 };
	pthread_t thread;
	bool through = true;

	if (slow) {
		tide__store_seqcst(&got_through, false);
		pthread_create(&thread, NULL, rearm_and_harvest, NULL);
		for (int i = 0; i < 5000 && !tide__load_seqcst(&got_through);
		     i++)
			nanosleep(&nap, NULL);
		through = tide__load_seqcst(&got_through);
		pthread_detach(thread);
	}
	return through ? set_logging(opaque, s, on) : -ETIMEDOUT;
}

static void rearm_does_not_wait_for_changes(void **state)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct tide_source_vm v = { .set_logging = slow_logging };
	struct tide_slots *slots;
	struct tide_slot last = { .id = 3 };
	char *memory;

	(void)state;
	if (kvm < 0) {
		print_message("# SKIP: /dev/kvm cannot be opened\n");
		skip();
	}
	memory = mmap(NULL, 4 * SLOT_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	assert_int_equal(tide_kvm_manual_enable(vm, NULL), 0);
	v.vm_fd = vm;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	add_slots(slots, 4, memory);
	assert_true(tide_slots_find_id(slots, 3, &last));
	tide_slots_remove(slots, 3, NULL);
	assert_int_equal(tide_set_create(&busy_set, 1 << 21, NULL), 0);
	assert_int_equal(tide_source_create(&busy, TIDE_SOURCE_LOG_MANUAL, &v,
					    NULL), 0);
	assert_int_equal(tide_source_start(busy, slots, NULL), 0);
	slow = true;
	assert_int_equal(tide_source_slot_added(busy, &last, busy_set, NULL),
			 0);
	assert_int_equal(tide_source_slot_removing(busy, &last, busy_set, NULL),
			 0);
	slow = false;
	tide_source_destroy(busy);
	tide_set_destroy(busy_set);
	tide_slots_destroy(slots);
	munmap(memory, 4 * SLOT_BYTES);
	close(vm);
	close(kvm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rearm_does_not_walk_the_slots),
		cmocka_unit_test(rearm_does_not_wait_for_changes),
	};

	return cmocka_run_group_tests_name("rearm", tests, NULL, NULL);
}
