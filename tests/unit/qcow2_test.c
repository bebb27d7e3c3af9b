/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The qcow2 driver against a plain array of bytes: random scripts of reads,
 * writes, zeroes, discards, resizes and reopenings on every shape of image,
 * one at a time and many in flight; and against the reference tool, which must
 * find the image clean and its content the same.
 */
#include <errno.h>
#include <fcntl.h>
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
#include "qcow2/driver/create.h"
#include "disk/queue.h"
#include "folder.h"
#include "seed.h"

#define MAX (6u << 20)

static char folder[FOLDER_BYTES];
static bool have_qemu_img;

static void path_of(char path[128], const char *name)
{
	snprintf(path, 128, "%s/%s", folder, name);
}

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *format, ...)
{
	char command[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command);
}

static int setup(void **state)
{
	(void)state;
	have_qemu_img = shell("qemu-img --version >/dev/null 2>&1") == 0;
	if (!have_qemu_img)
		printf("# qemu-img is not here: only our own checks\n");
	return folder_make(folder, "/tmp");
}

static int teardown(void **state)
{
	(void)state;
	return folder_remove(folder);
}

/* --- a disk and what it must hold --- */

struct twin {
	struct tide_disk *d;
	uint8_t *want;
	uint64_t size;
	char path[128];
	uint64_t rng;
	struct tide_disk_options options;
};

static void open_twin(struct twin *t)
{
	struct tide_error err;

	if (tide_disk_open(t->path, &t->options, &t->d, &err))
		fail_msg("%s", err.text);
	assert_int_equal(tide_disk_size(t->d), t->size);
}

static void close_twin(struct twin *t)
{
	struct tide_error err;

	if (tide_disk_close(t->d, &err))
		fail_msg("close: %s", err.text);
	t->d = NULL;
}

static void compare_all(struct twin *t)
{
	uint8_t *got = malloc(t->size + 1);
	struct tide_error err;

	if (tide_disk_read(t->d, 0, got, t->size, &err))
		fail_msg("read: %s", err.text);
	for (uint64_t i = 0; i < t->size; i++)
		if (got[i] != t->want[i])
			fail_msg("%s: byte %llu is %02x, not %02x", t->path,
				 (unsigned long long)i, got[i], t->want[i]);
	free(got);
}

/* The reference tool's view of the closed image. */
static void ask_reference(struct twin *t)
{
	char raw[128];
	FILE *f;

	if (!have_qemu_img)
		return;
	path_of(raw, "want.raw");
	f = fopen(raw, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(t->want, 1, t->size, f), t->size);
	fclose(f);
	if (shell("qemu-img check -q %s >%s/check 2>&1", t->path, folder)) {
		shell("cat %s/check", folder);
		fail_msg("qemu-img check %s", t->path);
	}
	if (shell("qemu-img compare -q -F raw %s %s >%s/check 2>&1", t->path,
		  raw, folder)) {
		shell("cat %s/check", folder);
		fail_msg("qemu-img compare %s", t->path);
	}
}

/* A range: small, large, aligned or not; usually where others were. */
static void pick(struct twin *t, uint64_t *offset, uint64_t *length)
{
	uint64_t max = 1ull << seed_below(&t->rng, 19);

	*offset = seed_below(&t->rng, t->size);
	*length = 1 + seed_below(&t->rng, max);
	if (seed_below(&t->rng, 2)) {
		*offset &= ~4095ull;
		*length = (*length + 4095) & ~4095ull;
	}
	if (seed_below(&t->rng, 30) == 0)
		*offset = t->size - (*length < t->size ? *length : t->size);
	if (*length > t->size - *offset)
		*length = t->size - *offset;
}

static void fill(struct twin *t, uint8_t *bytes, uint64_t length)
{
	uint8_t value = (uint8_t)(1 + seed_below(&t->rng, 255));

	memset(bytes, value, length);
	for (uint64_t i = 0; i + 8 < length; i += 512)
		memcpy(bytes + i, &t->rng, 8);
}

static void resize(struct twin *t, bool fixed)
{
	uint64_t size = (1 + seed_below(&t->rng, MAX / 512)) * 512;
	struct tide_error err;

	if (fixed || seed_below(&t->rng, 4))
		return;
	if (tide_disk_resize(t->d, size, &err))
		fail_msg("resize to %llu: %s", (unsigned long long)size,
			 err.text);
	if (size > t->size)
		memset(t->want + t->size, 0, size - t->size);
	t->size = size;
	assert_int_equal(tide_disk_size(t->d), size);
}

/* What was discarded reads as before or as zeroes: find out which. */
static void learn(struct twin *t, uint64_t offset, uint64_t length)
{
	uint8_t *got = malloc(length);
	struct tide_error err;

	if (tide_disk_read(t->d, offset, got, length, &err))
		fail_msg("read: %s", err.text);
	for (uint64_t i = 0; i < length; i++) {
		if (got[i] != t->want[offset + i] && got[i] != 0)
			fail_msg("byte %llu became %02x by a discard",
				 (unsigned long long)(offset + i), got[i]);
		t->want[offset + i] = got[i];
	}
	free(got);
}

static void differ(const struct twin *t, const uint8_t *got, uint64_t offset,
		   uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		if (got[i] != t->want[offset + i])
			fail_msg("%s: %llu bytes at %llu: byte %llu is %02x, "
				 "not %02x", t->path,
				 (unsigned long long)length,
				 (unsigned long long)offset,
				 (unsigned long long)(offset + i), got[i],
				 t->want[offset + i]);
}

static void one_step(struct twin *t, uint8_t *buf, bool fixed)
{
	struct tide_error err;
	uint64_t offset, length;
	int ret = 0;

	pick(t, &offset, &length);
	switch (seed_below(&t->rng, 20)) {
	case 0:
		ret = tide_disk_flush(t->d, &err);
		break;
	case 1:
		close_twin(t);
		open_twin(t);
		break;
	case 2:
		resize(t, fixed);
		break;
	case 3:
	case 4:
		ret = tide_disk_zero(t->d, offset, length,
				     (uint32_t)seed_below(&t->rng, 2), &err);
		memset(t->want + offset, 0, length);
		break;
	case 5:
	case 6:
		ret = tide_disk_discard(t->d, offset, length, &err);
		if (ret == 0)
			learn(t, offset, length);
		break;
	case 7:
	case 8:
	case 9:
		ret = tide_disk_read(t->d, offset, buf, length, &err);
		differ(t, buf, offset, length);
		break;
	default:
		fill(t, t->want + offset, length);
		ret = tide_disk_write(t->d, offset, t->want + offset, length,
				      &err);
	}
	if (ret)
		fail_msg("step: %s", err.text);
}

/* --- many in flight --- */

#define FLIGHTS 24

struct flight {
	struct tide_io io;
	bool busy;
	struct twin *t;
	uint8_t *buf;
};

static void landed(struct tide_io *io)
{
	struct flight *f = io->opaque;

	if (io->result)
		fail_msg("io %d at %llu: %d", io->op,
			 (unsigned long long)io->offset_bytes, io->result);
	if (io->op == TIDE_IO_READ)
		differ(f->t, f->buf, io->offset_bytes, io->length_bytes);
	free(f->buf);
	f->busy = false;
}

static bool overlaps(const struct flight *all, uint64_t offset, uint64_t length)
{
	for (int i = 0; i < FLIGHTS; i++)
		if (all[i].busy && offset < all[i].io.offset_bytes +
						   all[i].io.length_bytes &&
		    all[i].io.offset_bytes < offset + length)
			return true;
	return false;
}

/* Requests that do not overlap in bytes, but share clusters all the time. */
static void fly(struct twin *t, int requests)
{
	struct flight all[FLIGHTS] = { 0 };
	struct tide_queue *queue;

	assert_int_equal(tide_queue_create(16, &queue, NULL), 0);
	for (int n = 0; n < requests;) {
		struct flight *f = &all[seed_below(&t->rng, FLIGHTS)];
		uint64_t offset, length, what = seed_below(&t->rng, 12);

		pick(t, &offset, &length);
		if (length > 65536)
			length = 65536;
		if (f->busy || overlaps(all, offset, length)) {
			assert_true(tide_queue_poll(queue, f->busy) >= 0);
			continue;
		}
		f->t = t;
		f->buf = malloc(length);
		f->busy = true;
		f->io = (struct tide_io){ .op = what < 4  ? TIDE_IO_READ :
						what < 10 ? TIDE_IO_WRITE :
						what < 11 ? TIDE_IO_ZERO :
							    TIDE_IO_FLUSH,
					  .flags = n & 1,
					  .offset_bytes = offset,
					  .length_bytes = length,
					  .buf = f->buf,
					  .done = landed,
					  .opaque = f };
		if (f->io.op == TIDE_IO_WRITE) {
			fill(t, t->want + offset, length);
			memcpy(f->buf, t->want + offset, length);
		} else if (f->io.op == TIDE_IO_ZERO) {
			memset(t->want + offset, 0, length);
		}
		tide_queue_submit(queue, t->d, &f->io);
		n++;
	}
	while (tide_queue_pending(queue))
		assert_true(tide_queue_poll(queue, true) >= 0);
	tide_queue_destroy(queue);
}

/* --- shapes --- */

static const struct shape {
	const char *name;
	struct qcow2_create_options o;
	bool fixed; /* no resize */
} shapes[] = {
	{ "plain", { .default_refcounts = true }, false },
	{ "v2", { .version = 2, .default_refcounts = true }, false },
	{ "c512", { .cluster_bits = 9, .default_refcounts = true }, false },
	{ "c512-rb64", { .cluster_bits = 9, .refcount_order = 6 }, false },
	{ "c512-rb1", { .cluster_bits = 9, .refcount_order = 0 }, false },
	{ "c4k-rb2", { .cluster_bits = 12, .refcount_order = 1 }, false },
	{ "c4k-rb8", { .cluster_bits = 12, .refcount_order = 3 }, false },
	{ "c16k-rb32", { .cluster_bits = 14, .refcount_order = 5 }, false },
	{ "c2m", { .cluster_bits = 21, .default_refcounts = true }, false },
	{ "extl2", { .extended_l2 = true, .default_refcounts = true }, false },
	{ "extl2-16k", { .extended_l2 = true, .cluster_bits = 14,
			 .default_refcounts = true }, false },
	{ "data-file", { .data_file = "external.raw",
			 .default_refcounts = true }, true },
	{ "lazy", { .lazy_refcounts = true,
		    .default_refcounts = true }, false },
};

static void make(struct twin *t, const struct shape *s, uint64_t size)
{
	struct qcow2_create_options o = s->o;
	struct tide_error err;
	char data[128];

	t->options.writable = true;
	/* Small enough for evictions in the midst of everything. */
	t->options.cache_bytes = 1;
	t->size = size;
	t->want = calloc(1, MAX);
	path_of(t->path, s->name);
	/* The reference tool looks for a relative one where it is run. */
	if (o.data_file) {
		path_of(data, o.data_file);
		o.data_file = data;
	}
	o.size_bytes = size;
	if (qcow2_create(t->path, &o, &err))
		fail_msg("%s: %s", s->name, err.text);
}

static void scripts(void **state)
{
	uint64_t seed = seed_of("scripts", 71);
	uint8_t *buf = malloc(MAX);

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		struct twin t = { .rng = seed + i };

		make(&t, &shapes[i], 3000320);
		open_twin(&t);
		for (int step = 0; step < 300; step++)
			one_step(&t, buf, shapes[i].fixed);
		fly(&t, 300);
		compare_all(&t);
		close_twin(&t);
		open_twin(&t);
		compare_all(&t);
		close_twin(&t);
		ask_reference(&t);
		free(t.want);
	}
	free(buf);
}

/* The same over a backing file, and beside internal snapshots. */
static void over_backing(void **state)
{
	uint64_t seed = seed_of("over_backing", 73);
	uint8_t *buf = malloc(MAX);
	char raw[128];

	(void)state;
	for (size_t i = 0; i < 11; i++) {
		struct twin t = { .rng = seed + i };
		struct shape s = shapes[i];
		char name[32];
		int fd;

		snprintf(name, sizeof(name), "over-%s", s.name);
		s.name = name;
		path_of(raw, "base.raw");
		fd = open(raw, O_RDWR | O_CREAT | O_TRUNC, 0600);
		s.o.backing_name = "base.raw";
		s.o.backing_format = "raw";
		make(&t, &s, 3000320);
		fill(&t, t.want, 2000000);
		assert_int_equal(write(fd, t.want, 2000000), 2000000);
		close(fd);
		open_twin(&t);
		compare_all(&t);
		for (int step = 0; step < 200; step++)
			one_step(&t, buf, s.fixed);
		fly(&t, 200);
		compare_all(&t);
		close_twin(&t);
		ask_reference(&t);
		free(t.want);
	}
	free(buf);
}

static void beside_snapshots(void **state)
{
	static const int which[] = { 0, 1, 2, 6, 7, 9, 10 };
	uint64_t seed = seed_of("beside_snapshots", 79);
	uint8_t *buf = malloc(MAX);

	(void)state;
	if (!have_qemu_img) {
		print_message("# SKIP: only qemu-img makes snapshots\n");
		free(buf);
		skip();
	}
	for (size_t i = 0; i < sizeof(which) / sizeof(*which); i++) {
		struct twin t = { .rng = seed + i };
		struct shape s = shapes[which[i]];
		uint8_t *old = malloc(MAX);
		char name[32];

		snprintf(name, sizeof(name), "snap-%s", s.name);
		s.name = name;
		make(&t, &s, 3000320);
		open_twin(&t);
		for (int step = 0; step < 60; step++)
			one_step(&t, buf, true);
		for (int round = 0; round < 3; round++) {
			close_twin(&t);
			memcpy(old, t.want, t.size);
			assert_int_equal(shell("qemu-img snapshot -c s%d %s",
					       round, t.path), 0);
			open_twin(&t);
			for (int step = 0; step < 80; step++)
				one_step(&t, buf, true);
			fly(&t, 60);
		}
		compare_all(&t);
		close_twin(&t);
		ask_reference(&t);
		/* The last snapshot still holds what it held. */
		assert_int_equal(shell("qemu-img snapshot -a s2 %s", t.path),
				 0);
		memcpy(t.want, old, t.size);
		open_twin(&t);
		compare_all(&t);
		close_twin(&t);
		ask_reference(&t);
		free(old);
		free(t.want);
	}
	free(buf);
}

static void creation_is_checked(void **state)
{
	static const struct {
		struct qcow2_create_options o;
		const char *says;
	} bad[] = {
		{ { .cluster_bits = 8, .default_refcounts = true }, "512" },
		{ { .refcount_order = 7 }, "refcounts" },
		{ { .version = 4, .default_refcounts = true }, "version" },
		{ { .version = 2, .extended_l2 = true,
		    .default_refcounts = true }, "version 2" },
		{ { .cluster_bits = 12, .extended_l2 = true,
		    .default_refcounts = true }, "16 KiB" },
		{ { .cluster_bits = 9, .size_bytes = 1ull << 50,
		    .default_refcounts = true }, "32 MiB" },
	};
	struct tide_error err;
	char path[128];

	(void)state;
	path_of(path, "bad");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_true(qcow2_create(path, &bad[i].o, &err) < 0);
		if (!strstr(err.text, bad[i].says))
			fail_msg("'%s' lacks '%s'", err.text, bad[i].says);
		assert_int_equal(access(path, F_OK), -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(creation_is_checked),
		cmocka_unit_test(scripts),
		cmocka_unit_test(over_backing),
		cmocka_unit_test(beside_snapshots),
	};

	return cmocka_run_group_tests_name("qcow2", tests, setup, teardown);
}
