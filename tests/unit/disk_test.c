/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disk interface on the file driver: what every driver owes, random
 * scripts against an array of bytes, locks, and errors from below.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "seed.h"

#define BYTES (1u << 20)
#define MAX_BYTES 70000u

/* Not in tmpfs alone: the build's folder is where tests run. */
static char path[] = "disk_test.XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	if (fd < 0 || ftruncate(fd, BYTES) < 0)
		return -1;
	return close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	unlink(path);
	memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
	return 0;
}

static struct tide_disk *open_as(struct tide_disk_options options)
{
	struct tide_disk *d = NULL;
	struct tide_error err = { 0 };
	int ret;

	options.format = "raw";
	ret = tide_disk_open(path, &options, &d, &err);
	if (ret)
		print_message("# open: %s\n", err.text);
	assert_int_equal(ret, 0);
	return d;
}

static void test_border(void **state)
{
	struct tide_disk *d = open_as((struct tide_disk_options){
		.writable = true });
	struct tide_disk_extent extent;
	struct tide_error err;
	char byte = 1;

	(void)state;
	assert_int_equal(tide_disk_size(d), BYTES);
	assert_int_equal(tide_disk_read(d, BYTES, &byte, 0, NULL), 0);
	assert_int_equal(tide_disk_read(d, BYTES, &byte, 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(err.offset, BYTES);
	assert_int_equal(tide_disk_write(d, UINT64_MAX, &byte, 1, NULL),
			 -EINVAL);
	assert_int_equal(tide_disk_write(d, 1, &byte, UINT64_MAX, NULL),
			 -EINVAL);
	assert_int_equal(tide_disk_zero(d, BYTES - 1, 2, 0, NULL), -EINVAL);
	assert_int_equal(tide_disk_discard(d, BYTES + 1, 0, NULL), -EINVAL);
	assert_int_equal(tide_disk_status(d, 0, 0, &extent, NULL), -EINVAL);
	assert_int_equal(tide_disk_resize(d, UINT64_MAX, NULL), -EFBIG);
	assert_int_equal(tide_disk_write(d, BYTES - 1, &byte, 1, NULL), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	assert_int_equal(tide_disk_close(NULL, NULL), 0);
}

static void test_read_only(void **state)
{
	struct tide_disk *d = open_as((struct tide_disk_options){ 0 });
	struct tide_error err;
	char byte = 1;

	(void)state;
	assert_int_equal(tide_disk_write(d, 0, &byte, 1, &err), -EROFS);
	assert_non_null(strstr(err.text, "reading only"));
	assert_int_equal(tide_disk_zero(d, 0, 1, 0, NULL), -EROFS);
	assert_int_equal(tide_disk_discard(d, 0, 1, NULL), -EROFS);
	assert_int_equal(tide_disk_resize(d, 5, NULL), -EROFS);
	assert_int_equal(tide_disk_flush(d, NULL), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

static void test_open_refused(void **state)
{
	struct tide_disk_options o = { .format = "vmdk" };
	struct tide_disk *d;
	struct tide_error err;

	(void)state;
	assert_int_equal(tide_disk_open(path, &o, &d, &err), -EINVAL);
	assert_non_null(strstr(err.text, "vmdk"));
	assert_int_equal(tide_disk_open("no/such", NULL, &d, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no/such"));
	assert_int_equal(tide_disk_open_file(".", NULL, &d, &err), -EISDIR);
	assert_int_equal(tide_disk_open_file("/dev/null", NULL, &d, &err),
			 -EINVAL);
}

/* Two readers, or one writer: also within one process. */
static void test_locks(void **state)
{
	struct tide_disk_options o = { .writable = true };
	struct tide_disk *d, *e;
	struct tide_error err;

	(void)state;
	d = open_as(o);
	assert_int_equal(tide_disk_open_file(path, &o, &e, &err), -EBUSY);
	assert_non_null(strstr(err.text, "in use"));
	o.writable = false;
	assert_int_equal(tide_disk_open_file(path, &o, &e, NULL), -EBUSY);
	o.no_lock = true;
	assert_int_equal(tide_disk_open_file(path, &o, &e, NULL), 0);
	tide_disk_close(e, NULL);
	tide_disk_close(d, NULL);
	o.no_lock = false;
	d = open_as(o);
	assert_int_equal(tide_disk_open_file(path, &o, &e, NULL), 0);
	o.writable = true;
	struct tide_disk *f;

	assert_int_equal(tide_disk_open_file(path, &o, &f, NULL), -EBUSY);
	tide_disk_close(d, NULL);
	tide_disk_close(e, NULL);
	assert_int_equal(tide_disk_open_file(path, &o, &f, NULL), 0);
	tide_disk_close(f, NULL);
}

/* QEMU sees that we write, or that we read and it must not write. */
static void test_locks_of_qemu(void **state)
{
	struct tide_disk_options o = { .writable = true };
	char read[128], write[128];
	struct tide_disk *d;

	(void)state;
	if (system("command -v qemu-io >/dev/null")) {
		print_message("# skipped: no qemu-io\n");
		skip();
	}
	snprintf(read, sizeof(read), "qemu-io -r -f raw -c 'read 0 512' %s "
		 ">/dev/null 2>&1", path);
	snprintf(write, sizeof(write), "qemu-io -f raw -c 'write 0 512' %s "
		 ">/dev/null 2>&1", path);
	assert_int_equal(system(write), 0);
	d = open_as(o);
	assert_int_not_equal(system(write), 0);
	tide_disk_close(d, NULL);
	o.writable = false;
	d = open_as(o);
	assert_int_not_equal(system(write), 0);
	assert_int_equal(system(read), 0);
	tide_disk_close(d, NULL);
}

/* A file that somebody shortened: the disk is as long as it was. */
static void test_short_file(void **state)
{
	struct tide_disk *d;
	char buf[3000];
	static const char zeroes[3000];
	struct tide_disk_extent extent;

	(void)state;
	d = open_as((struct tide_disk_options){ .writable = true });
	memset(buf, 7, sizeof(buf));
	assert_int_equal(tide_disk_write(d, 0, buf, sizeof(buf), NULL), 0);
	assert_int_equal(truncate(path, 1000), 0);
	assert_int_equal(tide_disk_read(d, 500, buf, 2500, NULL), 0);
	assert_memory_equal(buf + 500, zeroes, 2000);
	assert_int_equal(buf[499], 7);
	assert_int_equal(tide_disk_read(d, BYTES - 3000, buf, 3000, NULL), 0);
	assert_memory_equal(buf, zeroes, 3000);
	assert_int_equal(tide_disk_status(d, 65536, 100, &extent, NULL), 0);
	assert_true(extent.flags & TIDE_EXTENT_ZERO);
	assert_int_equal(extent.length_bytes, 100);
	tide_disk_close(d, NULL);
}

static void test_resize(void **state)
{
	struct tide_disk *d;
	char buf[100];
	static const char zeroes[100];

	(void)state;
	d = open_as((struct tide_disk_options){ .writable = true });
	memset(buf, 9, sizeof(buf));
	assert_int_equal(tide_disk_write(d, BYTES - 100, buf, 100, NULL), 0);
	assert_int_equal(tide_disk_resize(d, BYTES - 50, NULL), 0);
	assert_int_equal(tide_disk_read(d, BYTES - 50, buf, 1, NULL), -EINVAL);
	assert_int_equal(tide_disk_resize(d, 2 * BYTES, NULL), 0);
	assert_int_equal(tide_disk_read(d, BYTES - 100, buf, 100, NULL), 0);
	assert_int_equal(buf[49], 9);
	assert_memory_equal(buf + 50, zeroes, 50);
	assert_int_equal(tide_disk_size(d), 2 * BYTES);
	tide_disk_close(d, NULL);
}

/* Where data lies and where not; the file system's grain is not ours. */
static void test_status(void **state)
{
	struct tide_disk *d;
	struct tide_disk_extent e;
	char *data = calloc(1, 65536);
	uint64_t at = 0, holes = 0;

	(void)state;
	memset(data, 5, 65536);
	d = open_as((struct tide_disk_options){ .writable = true });
	assert_int_equal(tide_disk_write(d, 131072, data, 65536, NULL), 0);
	while (at < BYTES) {
		assert_int_equal(tide_disk_status(d, at, BYTES - at, &e, NULL),
				 0);
		assert_in_range(e.length_bytes, 1, BYTES - at);
		assert_true(e.flags & TIDE_EXTENT_HAS_HOST);
		assert_int_equal(e.host_offset_bytes, at);
		assert_int_equal(e.depth, 0);
		if (e.flags & TIDE_EXTENT_HOLE) {
			assert_true(e.flags & TIDE_EXTENT_ZERO);
			assert_true(at >= 196608 ||
				    at + e.length_bytes <= 131072);
			holes++;
		}
		at += e.length_bytes;
	}
	assert_int_equal(at, BYTES);
	if (holes != 2)
		print_message("# %d holes seen, not 2\n", (int)holes);
	tide_disk_close(d, NULL);
	free(data);
}

/* No room for a file larger than the limit: the error, and no other byte. */
static void test_no_room(void **state)
{
	struct rlimit old, limit;
	struct tide_disk *d;
	struct tide_error err;
	char *buf = malloc(BYTES);
	int ret;

	(void)state;
	memset(buf, 1, BYTES);
	d = open_as((struct tide_disk_options){ .writable = true });
	assert_int_equal(truncate(path, 65536), 0);
	getrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_IGN);
	limit = old;
	limit.rlim_cur = 65536 + 4096;
	setrlimit(RLIMIT_FSIZE, &limit);
	ret = tide_disk_write(d, 0, buf, BYTES, &err);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(ret, -EFBIG);
	assert_non_null(strstr(err.text, "writing"));
	assert_int_equal(tide_disk_write(d, 0, buf, BYTES, NULL), 0);
	tide_disk_close(d, NULL);
	free(buf);
}

/* Offsets and lengths near blocks' edges as often as anywhere. */
static uint64_t pick(uint64_t *seed, uint64_t below)
{
	uint64_t value = seed_below(seed, below);

	switch (seed_below(seed, 3)) {
	case 0:
		return value & ~UINT64_C(4095);
	case 1:
		return value & ~UINT64_C(511);
	default:
		return value;
	}
}

static void step(struct tide_disk *d, uint8_t *oracle, uint8_t *buf,
		 uint64_t *seed)
{
	uint64_t at = pick(seed, BYTES - 3);
	uint64_t length = pick(seed, MAX_BYTES) + 1;
	uint8_t *memory = buf + (seed_next(seed) & 1);

	if (length > BYTES - 3 - at)
		length = BYTES - 3 - at;
	switch (seed_below(seed, 5)) {
	case 0:
		memset(memory, (int)seed_next(seed), length);
		memcpy(oracle + at, memory, length);
		assert_int_equal(tide_disk_write(d, at, memory, length, NULL),
				 0);
		break;
	case 1:
		memset(oracle + at, 0, length);
		assert_int_equal(tide_disk_zero(d, at, length,
						seed_next(seed) & 1, NULL), 0);
		break;
	case 2:
		assert_int_equal(tide_disk_discard(d, at, length, NULL), 0);
		assert_int_equal(tide_disk_read(d, at, oracle + at, length,
						NULL), 0);
		break;
	default:
		assert_int_equal(tide_disk_read(d, at, memory, length, NULL),
				 0);
		assert_memory_equal(memory, oracle + at, length);
		break;
	}
}

static void random_script(bool direct)
{
	struct tide_disk_options o = { .writable = true, .format = "raw",
				       .direct = direct };
	struct tide_disk *d = NULL;
	struct tide_error err;
	uint64_t seed = seed_of("disk", 20261121);
	uint8_t *oracle = calloc(1, BYTES), *buf;
	struct stat st;

	buf = aligned_alloc(4096, 2 * (MAX_BYTES / 4096 + 1) * 4096);
	/* The disk ends within a block. */
	assert_int_equal(truncate(path, BYTES - 3), 0);
	if (tide_disk_open(path, &o, &d, &err)) {
		print_message("# skipped: %s\n", err.text);
		free(oracle);
		free(buf);
		skip();
	}
	for (int i = 0; i < 3000; i++)
		step(d, oracle, buf, &seed);
	assert_int_equal(tide_disk_flush(d, NULL), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, BYTES - 3);
	free(oracle);
	free(buf);
}

static void test_random(void **state)
{
	(void)state;
	random_script(false);
}

static void test_random_direct(void **state)
{
	(void)state;
	random_script(true);
}

/* A loop device on the file, if we may have one: path becomes the device. */
static bool attach_device(char *device, size_t room)
{
	char command[128];
	FILE *out;
	bool got;

	snprintf(command, sizeof(command), "losetup -f --show %s 2>/dev/null",
		 path);
	out = popen(command, "r");
	got = out && fgets(device, (int)room, out) != NULL;
	if (out)
		pclose(out);
	device[got ? strcspn(device, "\n") : 0] = 0;
	return got;
}

/* Detached once it is open: it goes with the last who has it open. */
static void device_script(const char *device, bool direct)
{
	char command[128];
	struct tide_disk_options o = { .writable = true, .direct = direct };
	uint64_t seed = seed_of("device", 11);
	uint8_t *oracle = calloc(1, BYTES);
	uint8_t *buf = aligned_alloc(4096, 2 * (MAX_BYTES / 4096 + 1) * 4096);
	struct tide_disk_extent extent;
	struct tide_disk *d = NULL;

	assert_int_equal(tide_disk_open_file(device, &o, &d, NULL), 0);
	snprintf(command, sizeof(command), "losetup -d %s", device);
	assert_int_equal(system(command), 0);
	assert_int_equal(tide_disk_size(d), BYTES);
	assert_int_equal(tide_disk_zero(d, 0, BYTES, 0, NULL), 0);
	for (int i = 0; i < 1000; i++)
		step(d, oracle, buf, &seed);
	assert_int_equal(tide_disk_status(d, 5, 100, &extent, NULL), 0);
	assert_int_equal(extent.flags, TIDE_EXTENT_HAS_HOST);
	assert_int_equal(tide_disk_resize(d, BYTES / 2, NULL), -ENOTSUP);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	free(oracle);
	free(buf);
}

static void test_block_device(void **state)
{
	char device[64];

	(void)state;
	for (int direct = 0; direct < 2; direct++) {
		if (!attach_device(device, sizeof(device))) {
			print_message("# skipped: no loop device for us\n");
			skip();
		}
		device_script(device, direct);
	}
}

/* Parts of the same blocks, from four threads: no write undoes another's. */
struct writer {
	struct tide_disk *d;
	unsigned int index;
};

static void *write_stripes(void *arg)
{
	struct writer *w = arg;
	char buf[128];

	memset(buf, (int)w->index + 1, sizeof(buf));
	for (uint64_t at = w->index * 128; at < 65536; at += 512)
		if (tide_disk_write(w->d, at, buf, sizeof(buf), NULL))
			return w;
	return NULL;
}

static void test_shared_blocks(void **state)
{
	struct tide_disk_options o = { .writable = true, .direct = true };
	struct tide_disk *d = NULL;
	struct writer w[4];
	pthread_t thread[4];
	uint8_t *buf;
	void *failed;

	(void)state;
	if (tide_disk_open_file(path, &o, &d, NULL))
		skip();
	for (unsigned int i = 0; i < 4; i++) {
		w[i] = (struct writer){ d, i };
		assert_int_equal(pthread_create(&thread[i], NULL,
						write_stripes, &w[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	buf = malloc(65536);
	assert_int_equal(tide_disk_read(d, 0, buf, 65536, NULL), 0);
	for (unsigned int i = 0; i < 65536; i++)
		assert_int_equal(buf[i], i / 128 % 4 + 1);
	free(buf);
	tide_disk_close(d, NULL);
}

/*
 * Callers of other versions: what they lack is as usual, what we lack is not.
 */
static void test_versions(void **state)
{
	struct {
		struct tide_disk_options known;
		uint64_t later;
	} o = { .known = { .size = sizeof(o) } };
	struct tide_error err;
	struct tide_disk *d;

	(void)state;
	assert_int_equal(tide_disk_open(path, &o.known, &d, &err), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	o.later = 1;
	assert_int_equal(tide_disk_open(path, &o.known, &d, &err), -EINVAL);
	assert_non_null(strstr(err.text, "later version"));
	assert_int_equal(tide_disk_open_file(path, &o.known, &d, &err),
			 -EINVAL);
	/* An older one, which ends before what stands here. */
	o.known.size = offsetof(struct tide_disk_options, writable);
	o.known.writable = true;
	assert_int_equal(tide_disk_open(path, &o.known, &d, &err), 0);
	assert_int_equal(tide_disk_write(d, 0, "x", 1, NULL), -EROFS);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	o.known.size = 0;
	assert_int_equal(tide_disk_open(path, &o.known, &d, &err), 0);
	assert_int_equal(tide_disk_write(d, 0, "x", 1, NULL), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_versions),
		CASE(test_border), CASE(test_read_only),
		CASE(test_open_refused), CASE(test_locks),
		CASE(test_locks_of_qemu),
		CASE(test_short_file), CASE(test_resize),
		CASE(test_status), CASE(test_no_room),
		CASE(test_random), CASE(test_random_direct),
		CASE(test_block_device), CASE(test_shared_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
