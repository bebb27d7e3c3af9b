/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory runs out at every place where the slot map asks for some: the change
 * fails with -ENOMEM, the map is as it was, and the same change passes later.
 * Linked with --wrap=posix_memalign and --wrap=mmap.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "tidemark/slots.h"

#define PAGE 4096ull
#define SLOTS 600

int __real_posix_memalign(void **memory, size_t align, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t align, size_t bytes);

static bool exhausted;
static unsigned int refused, given;

int __wrap_posix_memalign(void **memory, size_t align, size_t bytes)
{
	refused += exhausted;
	given += !exhausted;
	return exhausted ? ENOMEM : __real_posix_memalign(memory, align, bytes);
}

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd,
		  off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd,
		  off_t offset);

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd,
		  off_t offset)
{
	refused += exhausted;
	if (exhausted) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	given++;
	return __real_mmap(at, bytes, protection, flags, fd, offset);
}

static struct tide_slot slot_of(uint32_t i)
{
	/* Every fourth far away, so that trees grow in height as well. */
	uint64_t gpa = i * 4 * PAGE + (i % 4 ? 0 : (uint64_t)i << 36);

	return (struct tide_slot){ i, 0, gpa, (1 + i % 3) * PAGE,
				   (void *)(uintptr_t)((i + 1) * 8 * PAGE) };
}

/* Slots [0, n) are there, and no others. */
static void check(const struct tide_slots *slots, uint32_t n)
{
	struct tide_slot got;

	assert_int_equal(tide_slots_count(slots), n);
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct tide_slot s = slot_of(i);

		assert_int_equal(tide_slots_find_gpa(slots, s.gpa_bytes, &got),
				 i < n);
		assert_int_equal(tide_slots_find_host(slots, s.host, &got),
				 i < n);
		assert_int_equal(tide_slots_find_id(slots, i, &got), i < n);
	}
}

/* The change with no memory left; true: it failed, and is to be made again. */
static bool starved(struct tide_slots *slots, uint32_t i, bool insert)
{
	uint64_t generation = tide_slots_generation(slots);
	struct tide_slot s = slot_of(i);
	struct tide_error err;
	int ret;

	exhausted = true;
	ret = insert ? tide_slots_insert(slots, &s, &err)
		    : tide_slots_remove(slots, i, &err);
	exhausted = false;
	if (!ret)
		return false;
	assert_int_equal(ret, -ENOMEM);
	assert_int_equal(err.code, -ENOMEM);
	assert_int_equal(tide_slots_generation(slots), generation);
	return true;
}

static void every_growth_can_fail(void **state)
{
	struct tide_slots_reader *reader;
	struct tide_slots *slots;
	unsigned int failures = 0;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	/* It pins a view now and then, so that memory is not given back. */
	assert_int_equal(tide_slots_reader_create(slots, &reader, NULL), 0);
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct tide_slot s = slot_of(i);

		if (starved(slots, i, true)) {
			failures++;
			check(slots, i);
			assert_int_equal(tide_slots_insert(slots, &s, NULL), 0);
		}
		if (i % 100 == 0)
			tide_slots_reader_find_gpa(reader, s.gpa_bytes, &s);
	}
	check(slots, SLOTS);
	for (uint32_t i = SLOTS; i-- > 0;) {
		if (starved(slots, i, false)) {
			failures++;
			check(slots, i + 1);
			assert_int_equal(tide_slots_remove(slots, i, NULL), 0);
		}
	}
	check(slots, 0);
	print_message("# %u changes failed, %u requests\n", failures, refused);
	assert_true(failures > 4);	/* each pool grows */
	tide_slots_reader_destroy(reader);
	tide_slots_destroy(slots);
}

/*
 * What a change has replaced is used again: changes without end need nothing.
 */
static void changes_need_no_more_memory(void **state)
{
	struct tide_slots *slots;
	unsigned int before = 0;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct tide_slot s = slot_of(i);

		assert_int_equal(tide_slots_insert(slots, &s, NULL), 0);
	}
	for (uint32_t i = 0; i < 20 * SLOTS; i++) {
		struct tide_slot s = slot_of(i % SLOTS);

		if (i == SLOTS)
			before = given;
		assert_int_equal(tide_slots_remove(slots, s.id, NULL), 0);
		assert_int_equal(tide_slots_insert(slots, &s, NULL), 0);
	}
	assert_true(given - before < 10);
	tide_slots_destroy(slots);
}

static void all_or_nothing(void **state)
{
	struct tide_slot all[SLOTS];
	struct tide_slots *slots;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	for (uint32_t i = 0; i < SLOTS; i++)
		all[i] = slot_of(i);
	exhausted = true;
	assert_int_equal(tide_slots_insert_many(slots, all, SLOTS, NULL),
			 -ENOMEM);
	exhausted = false;
	check(slots, 0);
	assert_int_equal(tide_slots_insert_many(slots, all, SLOTS, NULL), 0);
	check(slots, SLOTS);
	tide_slots_destroy(slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_growth_can_fail),
		cmocka_unit_test(changes_need_no_more_memory),
		cmocka_unit_test(all_or_nothing),
	};

	return cmocka_run_group_tests_name("slots_memory", tests, NULL, NULL);
}
