/* SPDX-License-Identifier: BSD-2-Clause */
/* Enough of cmocka to run one test program on a CPU that has no cmocka. */
#ifndef TESTS_CROSS_CMOCKA_H
#define TESTS_CROSS_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
	const char *name;
	void (*run)(void **state);
};

#define cmocka_unit_test(f) { #f, f }
#define assert_true(c) \
	do { \
		if (!(c)) { \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #c); \
			exit(1); \
		} \
	} while (0)
#define assert_int_equal(a, b) \
	assert_true((unsigned long long)(a) == (unsigned long long)(b))
#define assert_memory_equal(a, b, n) assert_true(!memcmp(a, b, n))
#define assert_string_equal(a, b) assert_true(!strcmp(a, b))
#define assert_null(p) assert_true(!(p))
#define assert_non_null(p) assert_true(p)
#define cmocka_run_group_tests_name(group, tests, setup, teardown) \
	cross_run(tests, sizeof(tests) / sizeof(*(tests)))

static inline int cross_run(const struct CMUnitTest *tests, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		tests[i].run(NULL);
		printf("ok - %s\n", tests[i].name);
	}
	return 0;
}

#endif
