/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * As many slots as KVM takes, registered with it, in a scattered order, and in
 * the map: every one is found by guest and by host address, every gap is not.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "tidemark/slots.h"

#define PAGE 4096ull

/* Slot i of @n, scattered: 7919 is prime and does not divide n. */
static struct tide_slot slot_of(uint32_t i, uint32_t n, char *memory)
{
	uint32_t k = (uint32_t)((uint64_t)i * 7919 % n);

	return (struct tide_slot){ .id = k, .gpa_bytes = 2 * k * PAGE,
				   .len_bytes = PAGE,
				   .host = memory + (n - 1 - k) * PAGE };
}

static void register_all(int vm, struct tide_slots *slots, uint32_t n,
			 char *memory)
{
	struct tide_slot *all = calloc(n, sizeof(*all));
	uint64_t kvm_ns = 0, map_ns = 0, t;

	assert_non_null(all);
	for (uint32_t i = 0; i < n; i++) {
		struct tide_slot slot = slot_of(i, n, memory);
		struct kvm_userspace_memory_region region = {
			.slot = slot.id,
			.guest_phys_addr = slot.gpa_bytes,
			.memory_size = slot.len_bytes,
			.userspace_addr = (uintptr_t)slot.host,
		};

		t = tide__now_ns();
		assert_int_equal(ioctl(vm, KVM_SET_USER_MEMORY_REGION,
				       &region), 0);
		kvm_ns += tide__now_ns() - t;
		all[i] = slot;
	}
	t = tide__now_ns();
	/* Most together; the last ones singly, as a hotplug would. */
	assert_int_equal(tide_slots_insert_many(slots, all, n - 100, NULL), 0);
	map_ns = tide__now_ns() - t;
	for (uint32_t i = n - 100; i < n; i++)
		assert_int_equal(tide_slots_insert(slots, &all[i], NULL), 0);
	print_message("# %u slots: %.1f us each in KVM; in the map %.1f ms for "
		      "all at once\n", n, (double)kvm_ns / n / 1e3,
		      (double)map_ns / 1e6);
	free(all);
}

static void all_that_kvm_takes(void **state)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct tide_slots *slots;
	struct tide_slot got;
	uint32_t n;
	char *memory;
	int vm;

	(void)state;
	if (kvm < 0) {
		print_message("# SKIP: /dev/kvm cannot be opened\n");
		skip();
	}
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	assert_true(vm >= 0);
	n = (uint32_t)ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	if (n > 32764)
		n = 32764;
	memory = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(memory != MAP_FAILED);
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	register_all(vm, slots, n, memory);
	assert_int_equal(tide_slots_count(slots), n);
	for (uint32_t k = 0; k < n; k++) {
		assert_true(
			tide_slots_find_gpa(slots, 2 * k * PAGE + 17, &got));
		assert_int_equal(got.id, k);
		assert_false(tide_slots_find_gpa(slots, (2 * k + 1) * PAGE,
						 &got));
		assert_true(tide_slots_find_host(slots, memory + k * PAGE + 5,
						 &got));
		assert_int_equal(got.id, n - 1 - k);
	}
	tide_slots_destroy(slots);
	munmap(memory, n * PAGE);
	close(vm);
	close(kvm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_kvm_takes),
	};

	return cmocka_run_group_tests_name("slots_kvm", tests, NULL, NULL);
}
