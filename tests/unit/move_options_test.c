/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The numbers of a "migrate" request come from the table of the command line:
 * its defaults are the library's, its ranges hold at both edges, and what a
 * command line makes is what a request gives back.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/vm/options.h"

static const struct cli_option options[] = { OPT_MOVE("300"), OPT_END };

static bool is_number(const struct cli_option *o)
{
	return o->kind != CLI_FLAG && o->kind != CLI_TEXT;
}

static uint64_t number(const char *option)
{
	json_t *request = json_object();
	uint64_t value = UINT64_MAX;

	assert_int_equal(vm_move_number(request, option, &value, NULL), 0);
	json_decref(request);
	return value;
}

static void defaults_are_the_librarys(void **state)
{
	struct tide_precopy_options o;

	(void)state;
	tide_precopy_defaults(&o);
	assert_int_equal(number("downtime") * 1000000, o.downtime_target_ns);
	assert_int_equal(number("stall-timeout") * 1000000,
			 o.stall_timeout_ns);
	assert_int_equal(number("max-rounds"), o.max_rounds);
	assert_int_equal(number("max-throttle"), o.max_throttle_percent);
	assert_int_equal(number("bandwidth"), o.bandwidth_bytes_per_s);
	assert_int_equal(number("zstd"), o.zstd_level);
	assert_int_equal(number("channels"), 1);
}

/* A command line with @text for all numbers, as a request. */
static json_t *request_with(const struct cli_option *option, const char *text)
{
	struct cli_command command = { .name = "test", .options = options };
	struct cli_parsed p;
	json_t *request = json_object();
	char word[80];
	char *argv[] = { "test", word, NULL };
	int code;

	snprintf(word, sizeof(word), "--%s=%s", option->name, text);
	assert_true(cli_parse(&command, 2, argv, &p, &code));
	assert_int_equal(vm_move_request(&p, request), 0);
	return request;
}

/* Where @option stands in a request: only there a bad value is refused. */
static const char *member(const struct cli_option *option, json_t *request)
{
	const char *name, *found = NULL;
	uint64_t unused;
	json_t *value;

	json_object_foreach(request, name, value) {
		json_int_t kept = json_integer_value(value);

		json_integer_set(value, -1);
		if (vm_move_number(request, option->name, &unused, NULL))
			found = name;
		json_integer_set(value, kept);
	}
	return found;
}

static void edges_hold(void **state)
{
	(void)state;
	for (const struct cli_option *o = options; o->name; o++) {
		uint64_t min, max, value;
		struct tide_error err;
		char text[32];
		json_t *request;
		const char *name;

		if (!is_number(o))
			continue;
		cli_range(o, &min, &max);
		snprintf(text, sizeof(text), "%llu", (unsigned long long)max);
		request = request_with(o, text);
		assert_int_equal(vm_move_number(request, o->name, &value, &err),
				 0);
		assert_int_equal(value, max);
		name = member(o, request);
		assert_non_null(name);
		if (max < INT64_MAX) {
			json_object_set_new(request, name,
					    json_integer((json_int_t)max + 1));
			assert_int_equal(vm_move_number(request, o->name,
							&value, &err), -EINVAL);
			assert_non_null(strstr(err.text, text));
		}
		json_object_set_new(request, name,
				    json_integer((json_int_t)min - 1));
		assert_int_equal(vm_move_number(request, o->name, &value, &err),
				 -EINVAL);
		json_object_set_new(request, name, json_string("1"));
		assert_int_equal(vm_move_number(request, o->name, &value, &err),
				 -EINVAL);
		json_decref(request);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_the_librarys),
		cmocka_unit_test(edges_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
