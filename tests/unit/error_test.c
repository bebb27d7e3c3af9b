/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tidemark/error.h"

static void fills_every_field(void **state)
{
	struct tide_error e;

	(void)state;
	tide_error_clear(&e);
	assert_int_equal(e.code, 0);
	assert_int_equal(tide_error_set(&e, -EIO, "frame", 4096, "bad %d", 7),
			 -EIO);
	assert_int_equal(e.code, -EIO);
	assert_int_equal(e.offset, 4096);
	assert_string_equal(e.origin, "frame");
	assert_string_equal(e.text, "bad 7");
}

static void cuts_long_text(void **state)
{
	struct tide_error e;
	char longer[600];

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	tide_error_set(&e, -EINVAL, longer, 0, "%s", longer);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	assert_int_equal(strlen(e.origin), sizeof(e.origin) - 1);
}

static void null_buffer_is_fine(void **state)
{
	(void)state;
	tide_error_clear(NULL);
	assert_int_equal(tide_error_set(NULL, -ENOMEM, "x", 0, "y"), -ENOMEM);
	assert_int_equal(tide_error_set(NULL, 0, "x", 0, "y"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_every_field),
		cmocka_unit_test(cuts_long_text),
		cmocka_unit_test(null_buffer_is_fine),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
