/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of images of Ceph, as QEMU reads them; wrong ones say what is wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rbd/name.h"

static void assert_text(const char *is, const char *shall)
{
	if (shall)
		assert_string_equal(is ? is : "(none)", shall);
	else
		assert_null(is);
}

static void test_good(void **state)
{
	static const struct {
		const char *text, *pool, *space, *image, *snap, *conf, *id;
		const char *key, *value;
	} rows[] = {
		{ "rbd:p/i", "p", NULL, "i" },
		{ "rbd:p/i@s", "p", NULL, "i", "s" },
		{ "rbd:p/n/i", "p", "n", "i" },
		{ "rbd:p/n/i@s:id=me", "p", "n", "i", "s", NULL, "me" },
		{ "rbd:p//i", "p", "", "i" },
		{ "rbd:p/i:conf=/etc/a=b:id=x", "p", NULL, "i", NULL,
		  "/etc/a=b", "x" },
		{ "rbd:p/i:mon_host=a\\:1\\;b\\:2", "p", NULL, "i", NULL, NULL,
		  NULL, "mon_host", "a:1;b:2" },
		{ "rbd:p\\/q/i\\@j\\:k@s\\@t", "p/q", NULL, "i@j:k", "s@t" },
		{ "rbd:p/i:key=", "p", NULL, "i", NULL, NULL, NULL, "key", "" },
		{ "rbd:p/i\\", "p", NULL, "i\\" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct ceph_name n;

		assert_int_equal(ceph_name_parse(rows[i].text, &n, NULL), 0);
		assert_text(n.pool, rows[i].pool);
		assert_text(n.space, rows[i].space);
		assert_text(n.image, rows[i].image);
		assert_text(n.snap, rows[i].snap);
		assert_text(n.conf, rows[i].conf);
		assert_text(n.id, rows[i].id);
		assert_int_equal(n.count, rows[i].key ? 1 : 0);
		assert_text(n.count ? n.options[0].key : NULL, rows[i].key);
		assert_text(n.count ? n.options[0].value : NULL,
			    rows[i].value);
		ceph_name_free(&n);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *fault;
	} rows[] = {
		{ "/srv/i", "not in a Ceph cluster" },
		{ "rbd:", "which image" }, { "rbd:p", "which image" },
		{ "rbd:p:conf=x/y", "which image" },
		{ "rbd:p/", "a name is missing" },
		{ "rbd:/i", "a name is missing" },
		{ "rbd:p/n/", "a name is missing" },
		{ "rbd:p/i@", "a name is missing" },
		{ "rbd:p/n/i/j", "no slash" },
		{ "rbd:p/i:", "a key and a value" },
		{ "rbd:p/i:conf", "a key and a value" },
		{ "rbd:p/i:a:b=c", "a key and a value" },
		{ "rbd:p/i:=c", "a key and a value" },
		{ "rbd:p/i:a=:a=:a=:a=:a=:a=:a=:a=:a=:a=:a=:a=:a=:a=:a=:a=:a=",
		  "too many options" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct ceph_name n;
		struct tide_error err;

		assert_int_equal(ceph_name_parse(rows[i].text, &n, &err),
				 -EINVAL);
		if (!strstr(err.text, rows[i].fault))
			fail_msg("%s: %s", rows[i].text, err.text);
		assert_null(n.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
