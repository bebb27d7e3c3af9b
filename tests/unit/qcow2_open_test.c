/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening an image that a stranger made: each option does what it says, the
 * caller's layer is asked for every file, and nothing is changed before the
 * first write - neither the image nor the files that its header names.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "disk/disk.h"
#include "folder.h"
#include "qcow2/driver/create.h"

#define SIZE 65536u

static char folder[FOLDER_BYTES], image[128], victim[128], other[128];

static int setup(void **state)
{
	(void)state;
	if (folder_make(folder, "/tmp"))
		return -1;
	snprintf(image, sizeof(image), "%s/image", folder);
	snprintf(victim, sizeof(victim), "%s/victim", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return folder_remove(folder);
}

static void put_file(const char *path, const char *text, long size)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	if (size)
		assert_int_equal(truncate(path, size), 0);
}

static off_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void make_image(const struct qcow2_create_options *o)
{
	struct tide_error err;

	unlink(image);
	if (qcow2_create(image, o, &err))
		fail_msg("%s", err.text);
}

/* An image whose data lies in `victim`, which is shorter than the disk. */
static void make_external(void)
{
	struct qcow2_create_options o = { .size_bytes = SIZE,
					  .default_refcounts = true,
					  .data_file = "victim" };

	unlink(victim);
	make_image(&o);
	put_file(victim, "victim short", 0);
}

static void make_backed(void)
{
	struct qcow2_create_options o = { .size_bytes = SIZE,
					  .default_refcounts = true,
					  .backing_name = "victim",
					  .backing_format = "raw" };

	put_file(victim, "TOP SECRET", SIZE);
	make_image(&o);
}

static struct tide_disk *must_open(const struct tide_disk_options *o)
{
	struct tide_disk *d;
	struct tide_error err;

	if (tide_disk_open(image, o, &d, &err))
		fail_msg("%s", err.text);
	return d;
}

static void a_data_file_stays_until_the_first_write(void **state)
{
	struct tide_disk_options o = { .writable = true, .format = "qcow2" };
	struct tide_disk *d;
	char got[8] = "";

	(void)state;
	make_external();
	d = must_open(&o);
	assert_int_equal(tide_disk_read(d, 0, got, 8, NULL), 0);
	assert_int_equal(tide_disk_read(d, SIZE - 8, got, 8, NULL), 0);
	assert_int_equal(tide_disk_flush(d, NULL), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	assert_int_equal(size_of(victim), 12);
	d = must_open(&o);
	assert_int_equal(tide_disk_write(d, SIZE - 4, "end.", 4, NULL), 0);
	assert_int_equal(tide_disk_read(d, SIZE - 4, got, 4, NULL), 0);
	assert_memory_equal(got, "end.", 4);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	assert_int_equal(size_of(victim), SIZE);
}

static uint8_t *slurp(const char *path, size_t *size)
{
	uint8_t *bytes;
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	*size = (size_t)size_of(path);
	bytes = malloc(*size + 1);
	assert_int_equal(fread(bytes, 1, *size, f), *size);
	fclose(f);
	return bytes;
}

/* An unknown autoclear bit, and a file that ends in the midst of a cluster. */
static void the_image_stays_until_the_first_write(void **state)
{
	struct qcow2_create_options c = { .size_bytes = SIZE,
					  .default_refcounts = true };
	struct tide_disk_options o = { .writable = true, .format = "qcow2" };
	uint8_t *before, *after, bit = 0x40;
	size_t had, has;
	FILE *f;

	(void)state;
	make_image(&c);
	f = fopen(image, "r+b");
	fseek(f, 88, SEEK_SET);
	fwrite(&bit, 1, 1, f);
	fclose(f);
	assert_int_equal(truncate(image, size_of(image) + 100), 0);
	before = slurp(image, &had);
	assert_int_equal(tide_disk_close(must_open(&o), NULL), 0);
	after = slurp(image, &has);
	assert_int_equal(had, has);
	assert_memory_equal(before, after, had);
	free(after);
	{
		struct tide_disk *d = must_open(&o);

		assert_int_equal(tide_disk_write(d, 0, "x", 1, NULL), 0);
		assert_int_equal(tide_disk_close(d, NULL), 0);
	}
	after = slurp(image, &has);
	assert_int_equal(after[88], 0); /* a write makes it untrue */
	free(before);
	free(after);
}

static void other_files_only_as_the_caller_says(void **state)
{
	struct tide_disk_options o = { .no_data_file = true };
	struct tide_disk *d = NULL;
	struct tide_error err;
	char got[12] = "";

	(void)state;
	make_external();
	assert_int_equal(tide_disk_open(image, &o, &d, &err), -EPERM);
	assert_non_null(strstr(err.text, image));
	put_file(other, "of the caller", SIZE);
	o = (struct tide_disk_options){ .data_path = other, .writable = true };
	d = must_open(&o);
	assert_int_equal(tide_disk_write(d, 0, "changed", 7, NULL), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	assert_int_equal(size_of(victim), 12);
	make_backed();
	put_file(other, "other base", SIZE);
	o = (struct tide_disk_options){ .backing_path = other };
	d = must_open(&o);
	assert_int_equal(tide_disk_read(d, 0, got, 10, NULL), 0);
	assert_memory_equal(got, "other base", 10);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	o = (struct tide_disk_options){ .no_backing = true };
	d = must_open(&o);
	assert_int_equal(tide_disk_read(d, 0, got, 10, NULL), 0);
	assert_memory_equal(got, "\0\0\0\0", 4);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

struct policy {
	int asked;
	const char *denied; /* end of a path */
};

static int policy_open(const char *path, const struct tide_disk_options *o,
		       struct tide_disk **out, struct tide_error *err)
{
	struct tide_disk_options plain = *o;
	struct policy *p = o->open_opaque;
	size_t length = p->denied ? strlen(p->denied) : 0;

	p->asked++;
	if (length && strlen(path) >= length &&
	    !strcmp(path + strlen(path) - length, p->denied))
		return tide_error_set(err, -EACCES, "policy", TIDE_NO_OFFSET,
				      "%s is not for you", path);
	plain.open_file = NULL;
	return tide_disk_open_file(path, &plain, out, err);
}

static void a_policy_is_asked_for_every_file(void **state)
{
	struct policy p = { 0 };
	struct tide_disk_options o = { .open_file = policy_open,
				       .open_opaque = &p, .format = "qcow2" };
	struct tide_disk *d;

	(void)state;
	make_backed();
	d = must_open(&o);
	assert_int_equal(p.asked, 2);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	p = (struct policy){ .denied = "/victim" };
	assert_int_equal(tide_disk_open(image, &o, &d, NULL), -EACCES);
	make_external();
	assert_int_equal(tide_disk_open(image, &o, &d, NULL), -EACCES);
	/* The look at the magic goes the same way. */
	o.format = NULL;
	p = (struct policy){ .denied = "/image" };
	assert_int_equal(tide_disk_open(image, &o, &d, NULL), -EACCES);
}

static void beside_a_writer_without_locks(void **state)
{
	struct tide_disk_options w = { .writable = true, .format = "qcow2" };
	struct tide_disk_options r = { .format = "qcow2" };
	struct tide_disk *writer, *reader;

	(void)state;
	make_backed();
	writer = must_open(&w);
	assert_int_equal(tide_disk_open(image, &r, &reader, NULL), -EBUSY);
	r.no_lock = true;
	reader = must_open(&r);
	assert_int_equal(tide_disk_close(reader, NULL), 0);
	assert_int_equal(tide_disk_close(writer, NULL), 0);
}

static void a_pipe_is_no_image(void **state)
{
	struct tide_error err;
	struct tide_disk *d;
	char pipe[160];

	(void)state;
	snprintf(pipe, sizeof(pipe), "%s/pipe", folder);
	assert_int_equal(mkfifo(pipe, 0600), 0);
	assert_int_equal(tide_disk_open(pipe, NULL, &d, &err), -EINVAL);
	assert_non_null(strstr(err.text, "neither a regular file nor"));
}

/* Whatever the image has: there is nothing to do. */
static void the_same_size_is_no_resize(void **state)
{
	struct tide_disk_options o = { .writable = true, .format = "qcow2" };
	struct tide_disk *d;
	char command[300];

	(void)state;
	make_backed();
	snprintf(command, sizeof(command),
		 "qemu-img bitmap --add %s b >/dev/null 2>&1", image);
	if (system(command)) {
		print_message("# SKIP: no qemu-img to make a bitmap\n");
		skip();
	}
	d = must_open(&o);
	assert_int_equal(tide_disk_resize(d, SIZE, NULL), 0);
	assert_int_equal(tide_disk_resize(d, 2 * SIZE, NULL), -ENOTSUP);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

/* `victim`, which the image names, is the image by another name. */
static void refuse_circle(bool locked)
{
	struct tide_disk_options o = { .writable = !locked, .no_lock = !locked,
				       .format = "qcow2" };
	struct tide_error err;
	struct tide_disk *d;
	off_t size = size_of(image);

	unlink(victim);
	assert_int_equal(link(image, victim), 0);
	assert_int_equal(tide_disk_open(image, &o, &d, &err), -ELOOP);
	assert_non_null(strstr(err.text, "lies on it"));
	assert_int_equal(size_of(image), size);
}

static void no_name_leads_back(void **state)
{
	struct qcow2_create_options o = { .size_bytes = SIZE,
					  .default_refcounts = true,
					  .backing_name = "victim",
					  .backing_format = "qcow2" };

	(void)state;
	make_image(&o);
	refuse_circle(true);
	o.backing_format = "raw";
	make_image(&o);
	refuse_circle(true);
	refuse_circle(false);
	make_external();
	refuse_circle(true);
	refuse_circle(false);
	unlink(victim);
}

/* How many bitmaps are marked as in use, as the reference tool lists them. */
static int bitmaps_in_use(void)
{
	char command[300];
	int n = -1;
	FILE *f;

	snprintf(command, sizeof(command),
		 "qemu-img info -U --output=json '%s' | grep -c '\"in-use\"'",
		 image);
	f = popen(command, "r");
	if (f && fscanf(f, "%d", &n) != 1)
		n = -1;
	if (f)
		pclose(f);
	return n;
}

/* What a crash leaves is out of date: every bitmap has to say so before. */
static void the_first_write_marks_all_bitmaps(void **state)
{
	struct qcow2_create_options c = { .size_bytes = SIZE,
					  .default_refcounts = true };
	struct tide_disk_options o = { .writable = true, .format = "qcow2" };
	char command[400];
	struct tide_disk *d;

	(void)state;
	make_image(&c);
	snprintf(command, sizeof(command),
		 "for b in one two three; do"
		 " qemu-img bitmap --add '%s' $b || exit 1; done 2>/dev/null",
		 image);
	if (system(command)) {
		print_message("skipped: no qemu-img\n");
		skip();
	}
	d = must_open(&o);
	assert_int_equal(bitmaps_in_use(), 0);
	assert_int_equal(tide_disk_write(d, 0, "x", 1, NULL), 0);
	assert_int_equal(tide_disk_flush(d, NULL), 0);
	assert_int_equal(bitmaps_in_use(), 3);
	tide_disk_close(d, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_data_file_stays_until_the_first_write),
		cmocka_unit_test(the_image_stays_until_the_first_write),
		cmocka_unit_test(other_files_only_as_the_caller_says),
		cmocka_unit_test(a_policy_is_asked_for_every_file),
		cmocka_unit_test(beside_a_writer_without_locks),
		cmocka_unit_test(a_pipe_is_no_image),
		cmocka_unit_test(no_name_leads_back),
		cmocka_unit_test(the_same_size_is_no_resize),
		cmocka_unit_test(the_first_write_marks_all_bitmaps),
	};

	return cmocka_run_group_tests_name("qcow2_open", tests, setup,
					   teardown);
}
