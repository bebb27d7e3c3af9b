/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"
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

/* Names that an image or a peer chose do not reach the terminal as they are. */
static void foreign_bytes_are_shown(void **state)
{
	static const struct {
		const char *bytes, *shown;
	} cases[] = {
		{ "plain name.img", "plain name.img" },
		{ "a\nversion: 9", "a\\x0aversion: 9" },
		{ "\x1b[2J\x07", "\\x1b[2J\\x07" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
		  "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\xff\xc3", "\\xff\\xc3" },
		{ "\xc0\xaf", "\\xc0\\xaf" }, /* longer than it need be */
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* a surrogate */
		{ "a\xe2\x80\xae" "b", "a\\xe2\\x80\\xae" "b" }, /* override */
		{ "\xc2\x9b" "31m", "\\xc2\\x9b" "31m" }, /* C1 control */
		{ "", "" },
	};
	struct tide_error err;
	char text[12];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		tide_error_set(&err, -EINVAL, "test", 0, "%s", cases[i].bytes);
		assert_string_equal(err.text, cases[i].shown);
	}
	/* Cut off between escapes, never in one. */
	assert_int_equal(tide__text_show(text, sizeof(text),
					 "abcdefgh\n\n", 10), 8);
	assert_string_equal(text, "abcdefgh");
	assert_int_equal(tide__text_show(text, 1, "a", 1), 0);
}

static void shows_digits(void **state)
{
	static const uint8_t bytes[16] = { 0, 1, 0xab, 0xff, 4, 5, 6, 7, 8, 9,
					   10, 11, 12, 13, 14, 0xf0 };
	char hex[33], uuid[37];

	(void)state;
	tide__text_hex(hex, bytes, 16);
	assert_string_equal(hex, "0001abff0405060708090a0b0c0d0ef0");
	tide__text_hex(hex, bytes, 0);
	assert_string_equal(hex, "");
	tide__text_uuid(uuid, bytes);
	assert_string_equal(uuid, "0001abff-0405-0607-0809-0a0b0c0d0ef0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(foreign_bytes_are_shown),
		cmocka_unit_test(fills_every_field),
		cmocka_unit_test(cuts_long_text),
		cmocka_unit_test(shows_digits),
		cmocka_unit_test(null_buffer_is_fine),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
