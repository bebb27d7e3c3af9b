/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pulling the plug on the qcow2 driver. A layer below it records every write
 * and flush of a random script; then the file is made as it may be if the power
 * goes after any of them, with what was not flushed kept or lost at will. Each
 * must open, have no corruption but leaks at worst, and hold all that was
 * flushed. A part of the prefixes by default, all with CAMPAIGN set.
 *
 * And a process that is killed in the midst of writing, again and again; and a
 * file that fails: EIO and ENOSPC at every operation, one after the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "qcow2/check/check.h"
#include "qcow2/driver/create.h"
#include "qcow2/format/reader.h"
#include "folder.h"
#include "seed.h"
#include "tests/support/recorder.h"

#define SIZE (1u << 20)
#define MAX_FLUSHES 64

static char folder[FOLDER_BYTES], image[128], crashed[128];
static bool have_qemu_img;

static int setup(void **state)
{
	(void)state;
	/*
	 * In memory if that may be: a crash image is written thousands of
	 * times.
	 */
	if (folder_make(folder, access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm"))
		return -1;
	have_qemu_img = system("qemu-img --version >/dev/null 2>&1") == 0;
	snprintf(image, sizeof(image), "%s/image", folder);
	snprintf(crashed, sizeof(crashed), "%s/crashed", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return folder_remove(folder);
}

/* What was so when a flush had returned, and what was written afterwards. */
struct promise {
	uint64_t events; /* of the log, when the flush returned */
	uint8_t bytes[SIZE];
	bool touched[SIZE]; /* by anything after it */
};

struct script {
	struct recorder *r;
	struct tide_disk *d;
	uint64_t rng;
	uint8_t want[SIZE];
	struct promise *promise; /* [MAX_FLUSHES] */
	int flushes;
};

static void promise(struct script *s)
{
	struct promise *p = &s->promise[s->flushes++];

	recorder_events(s->r, &p->events);
	memcpy(p->bytes, s->want, SIZE);
	memset(p->touched, 0, SIZE);
}

static void touch(struct script *s, uint64_t offset, uint64_t length)
{
	for (int i = 0; i < s->flushes; i++)
		memset(s->promise[i].touched + offset, 1, length);
}

/* One request that is to be durable: its bytes, and nothing else. */
static int write_durably(struct script *s, uint64_t offset, uint64_t length,
			 struct tide_error *err)
{
	uint64_t half = seed_below(&s->rng, length + 1);
	struct iovec parts[2] = { { s->want + offset, half },
				  { s->want + offset + half, length - half } };
	struct promise *p;
	int ret = tide_disk_writev(s->d, offset, parts, 2, TIDE_FUA, err);

	if (ret || s->flushes == MAX_FLUSHES)
		return ret;
	p = &s->promise[s->flushes];
	promise(s);
	memset(p->touched, 1, SIZE);
	memset(p->touched + offset, 0, length);
	return 0;
}

static void one_step(struct script *s)
{
	uint64_t offset = seed_below(&s->rng, SIZE);
	uint64_t length =
		1 + seed_below(&s->rng, 1u << seed_below(&s->rng, 17));
	struct tide_error err;
	int ret = 0;

	if (length > SIZE - offset)
		length = SIZE - offset;
	switch (seed_below(&s->rng, 13)) {
	case 0:
	case 1:
		if (s->flushes == MAX_FLUSHES)
			break;
		ret = tide_disk_flush(s->d, &err);
		if (ret == 0)
			promise(s);
		break;
	case 2:
	case 3:
		touch(s, offset, length);
		ret = tide_disk_discard(s->d, offset, length, &err);
		if (ret == 0)
			ret = tide_disk_read(s->d, offset, s->want + offset,
					     length, &err);
		break;
	case 4:
	case 5:
		touch(s, offset, length);
		memset(s->want + offset, 0, length);
		ret = tide_disk_zero(s->d, offset, length,
				     TIDE_ZERO_MAY_UNMAP, &err);
		break;
	case 6:
	case 7:
		touch(s, offset, length);
		memset(s->want + offset, (int)(1 + seed_below(&s->rng, 255)),
		       length);
		ret = write_durably(s, offset, length, &err);
		break;
	default:
		touch(s, offset, length);
		memset(s->want + offset, (int)(1 + seed_below(&s->rng, 255)),
		       length);
		ret = tide_disk_write(s->d, offset, s->want + offset, length,
				      &err);
	}
	if (ret)
		fail_msg("step: %s", err.text);
}

static void say(void *opaque, const struct qcow2_problem *p)
{
	(void)opaque;
	if (p->type != QCOW2_PROBLEM_LEAK)
		printf("# %s: %s\n", qcow2_problem_name(p->type), p->text);
}

/* No corruption: at worst leaks. */
static void check_image(const char *path, const char *when)
{
	struct qcow2_reader reader;
	struct qcow2_header header;
	struct qcow2_check found;
	struct tide_error err;
	uint8_t *first = malloc(2u << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t have;

	assert_true(fd >= 0 && first);
	assert_int_equal(qcow2_reader_fd(&reader, &fd, path, &err), 0);
	have = reader.size_bytes < 2u << 20 ? reader.size_bytes : 2u << 20;
	assert_int_equal(qcow2_read_at(&reader, 0, first, have, &err), 0);
	if (qcow2_header_parse_tolerant(path, first, have, reader.size_bytes,
					&header, &err) ||
	    qcow2_check(&reader, &header, say, NULL, &found, NULL, &err))
		fail_msg("%s: %s", when, err.text);
	if (qcow2_check_corruptions(&found))
		fail_msg("%s: the image is corrupt", when);
	qcow2_header_fini(&header);
	free(first);
	close(fd);
}

static void check_content(const struct promise *p, const char *when)
{
	static uint8_t got[SIZE];
	struct tide_disk_options o = { 0 };
	struct tide_error err;
	struct tide_disk *d;

	if (tide_disk_open(crashed, &o, &d, &err) ||
	    tide_disk_read(d, 0, got, SIZE, &err))
		fail_msg("%s: %s", when, err.text);
	tide_disk_close(d, NULL);
	for (uint64_t i = 0; p && i < SIZE; i++)
		if (!p->touched[i] && got[i] != p->bytes[i])
			fail_msg("%s: byte %llu was flushed as %02x and is "
				 "%02x", when, (unsigned long long)i,
				 p->bytes[i], got[i]);
}

/* One moment; the reference tool is asked now and then. */
static void crash_at(struct script *s, uint64_t prefix, uint64_t seed,
		     bool reference)
{
	const struct promise *p = NULL;
	struct recorder_image bytes;
	char when[64], command[400];
	int ret;

	snprintf(when, sizeof(when), "after %llu events, seed %llu",
		 (unsigned long long)prefix, (unsigned long long)seed);
	for (int i = 0; i < s->flushes; i++)
		if (s->promise[i].events <= prefix)
			p = &s->promise[i];
	assert_int_equal(recorder_crash(s->r, prefix, seed, &bytes), 0);
	assert_int_equal(recorder_image_save(&bytes, crashed), 0);
	recorder_image_free(&bytes);
	check_image(crashed, when);
	check_content(p, when);
	if (!reference)
		return;
	snprintf(command, sizeof(command),
		 "qemu-img check -q %s >/dev/null 2>&1", crashed);
	ret = system(command);
	ret = WIFEXITED(ret) ? WEXITSTATUS(ret) : -1;
	if (ret != 0 && ret != 3)
		fail_msg("%s: qemu-img check says %d", when, ret);
}

static void crash_shape(const char *name, const struct qcow2_create_options *o,
			uint64_t seed, uint64_t moments)
{
	struct tide_disk_options options = { .writable = true,
					     .open_file = recorder_open,
					     .cache_bytes = 1 };
	struct script *s = calloc(1, sizeof(*s));
	uint64_t events, step;
	struct tide_error err;

	s->promise = calloc(MAX_FLUSHES, sizeof(*s->promise));
	s->rng = seed;
	unlink(image);
	if (qcow2_create(image, o, &err))
		fail_msg("%s: %s", name, err.text);
	s->r = recorder_create();
	options.open_opaque = s->r;
	if (tide_disk_open(image, &options, &s->d, &err))
		fail_msg("%s: %s", name, err.text);
	for (int i = 0; i < 120; i++)
		one_step(s);
	assert_int_equal(tide_disk_close(s->d, &err), 0);
	recorder_events(s->r, &events);
	step = getenv("CAMPAIGN") ? 1 : events / moments + 1;
	for (uint64_t at = 0; at <= events; at += step)
		for (uint64_t k = 0; k < 4; k++)
			crash_at(s, at, k ? seed_next(&s->rng) | 1 : 0,
				 have_qemu_img && at / step % 16 == 0 &&
					 k == 1);
	print_message("# %s: %llu events, %d flushes, every %llu of them a "
		      "crash, four ways each\n", name,
		      (unsigned long long)events, s->flushes,
		      (unsigned long long)step);
	recorder_destroy(s->r);
	free(s->promise);
	free(s);
}

static void every_prefix(void **state)
{
	static const struct {
		const char *name;
		struct qcow2_create_options o;
	} shapes[] = {
		{ "c64k", { .size_bytes = SIZE, .default_refcounts = true } },
		{ "c4k", { .size_bytes = SIZE, .cluster_bits = 12,
			   .default_refcounts = true } },
		{ "c512, 64-bit refcounts", { .size_bytes = SIZE,
			.cluster_bits = 9, .refcount_order = 6 } },
		{ "extended L2", { .size_bytes = SIZE, .cluster_bits = 14,
			.extended_l2 = true, .default_refcounts = true } },
		{ "version 2", { .size_bytes = SIZE, .cluster_bits = 10,
			.version = 2, .default_refcounts = true } },
	};
	uint64_t seed = seed_of("every_prefix", 83);

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		crash_shape(shapes[i].name, &shapes[i].o, seed + i, 60);
}

/* --- a file that fails --- */

/* What a disk over a failing file must still hold: all but failed ranges. */
struct survivor {
	uint8_t want[SIZE];
	bool unknown[SIZE];
	int failed;
};

static void failing_step(struct tide_disk *d, struct survivor *v, int i,
			 uint64_t *rng)
{
	static uint8_t buf[9000];
	uint64_t at = seed_below(rng, SIZE - sizeof(buf));
	uint64_t length = 1 + seed_below(rng, sizeof(buf));
	struct tide_error err;
	int ret;

	err.text[0] = 0;
	memset(buf, i + 1, sizeof(buf));
	if (i % 8 == 7) {
		ret = tide_disk_flush(d, &err);
	} else if (i % 8 == 6) {
		ret = tide_disk_discard(d, at, length, &err);
		memset(v->unknown + at, 1, length);
	} else {
		ret = tide_disk_write(d, at, buf, length, &err);
		memset(v->unknown + at, ret < 0, length);
		memcpy(v->want + at, buf, length);
	}
	if (ret < 0) {
		v->failed++;
		assert_true(err.text[0] != 0);
	}
}

static int one_failure(uint64_t n, const struct recorder_fault *fault,
		       uint64_t rng)
{
	struct qcow2_create_options o = { .size_bytes = SIZE,
					  .cluster_bits = 12,
					  .default_refcounts = true };
	struct recorder *r = recorder_create();
	struct tide_disk_options options = { .writable = true,
					     .open_file = recorder_open,
					     .open_opaque = r,
					     .cache_bytes = 1 };
	struct survivor *v = calloc(1, sizeof(*v));
	uint8_t *got = malloc(SIZE);
	struct tide_error err;
	struct tide_disk *d;
	int failed;

	unlink(image);
	assert_int_equal(qcow2_create(image, &o, &err), 0);
	assert_int_equal(tide_disk_open(image, &options, &d, &err), 0);
	recorder_set_fault(r, fault);
	for (int i = 0; i < 60; i++)
		failing_step(d, v, i, &rng);
	assert_int_equal(tide_disk_read(d, 0, got, SIZE, &err), 0);
	for (uint64_t i = 0; i < SIZE; i++)
		if (!v->unknown[i] && got[i] != v->want[i])
			fail_msg("failure %llu: byte %llu is %02x, not %02x",
				 (unsigned long long)n, (unsigned long long)i,
				 got[i], v->want[i]);
	tide_disk_close(d, &err);
	recorder_destroy(r);
	check_image(image, "after a failure");
	failed = v->failed;
	free(got);
	free(v);
	return failed;
}

/* At each operation in turn: once, a few times, or for good. */
static void failures(void **state)
{
	uint64_t seed = seed_of("failures", 89);
	int told = 0;

	(void)state;
	for (uint64_t n = 0; n < 240; n++) {
		struct recorder_fault fault = { .ops = RECORDER_CHANGES,
						.after = n / 2, .count = n % 4,
						.error = n % 2 ? -EIO : -ENOSPC,
						.torn_bytes = n % 5 * 512 };

		told += one_failure(n, &fault, seed + n) > 0;
	}
	print_message("# %d of 240 failures were told to the caller\n", told);
	/* A hole that could not be made, a way around: not all are. */
	assert_true(told > 120);
}

/* --- kill -9 --- */

static void write_forever(const char *path, uint64_t seed, uint64_t *done)
{
	struct tide_disk_options options = { .writable = true };
	static uint8_t buf[16384];
	struct tide_disk *d;

	if (tide_disk_open(path, &options, &d, NULL))
		_exit(1);
	/* Each block says how often it was written; done[] after a flush. */
	for (uint64_t n = 1;; n++) {
		for (int i = 0; i < 8; i++) {
			uint64_t block = seed_below(&seed, SIZE / sizeof(buf));

			for (size_t k = 0; k < sizeof(buf); k += 8)
				memcpy(buf + k, &n, 8);
			if (tide_disk_write(d, block * sizeof(buf), buf,
					    sizeof(buf), NULL))
				_exit(2);
			if (seed_below(&seed, 8) == 0 &&
			    tide_disk_discard(d, (block ^ 1) * sizeof(buf),
					      sizeof(buf), NULL))
				_exit(3);
		}
		if (tide_disk_flush(d, NULL))
			_exit(4);
		*(volatile uint64_t *)done = n;
	}
}

static void killed(void **state)
{
	struct qcow2_create_options o = { .size_bytes = SIZE,
					  .cluster_bits = 12,
					  .default_refcounts = true };
	int kills = getenv("CAMPAIGN") ? 500 : 60;
	uint64_t rng = seed_of("killed", 97), rounds = 0;
	uint64_t *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	unlink(image);
	assert_int_equal(qcow2_create(image, &o, NULL), 0);
	/*
	 * Some lived long enough to flush; where nothing is quick, a later one.
	 */
	for (int i = 0; i < kills || (!rounds && i < 50 * kills); i++) {
		pid_t child = fork();
		int status;

		assert_true(child >= 0);
		if (!child)
			write_forever(image, seed_next(&rng) + (uint64_t)i,
				      done);
		usleep((useconds_t)(1000 + seed_below(&rng, 25000)));
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		if (!WIFSIGNALED(status))
			fail_msg("the writer ended with %d", status);
		rounds += *done;
		*done = 0;
		check_image(image, "after kill -9");
		seed_next(&rng);
	}
	print_message("# %d kills, %llu flushes\n", kills,
		      (unsigned long long)rounds);
	assert_true(rounds > 0);
	munmap(done, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_prefix),
		cmocka_unit_test(failures),
		cmocka_unit_test(killed),
	};

	return cmocka_run_group_tests_name("qcow2_crash", tests, setup,
					   teardown);
}
