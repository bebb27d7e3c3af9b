/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host clusters that had a life before: what a short first write leaves of
 * them must read as zeroes, never as what an earlier owner wrote.
 *
 * A fixed case, because random scripts seldom meet it: the file is filled,
 * half of the guest is discarded, and short writes then land in the clusters
 * that became free - through the blocking calls, and through a queue, whose
 * started path gives clusters out without filling them up.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "disk/queue.h"
#include "folder.h"
#include "qcow2/driver/compress.h"
#include "qcow2/driver/create.h"

enum { CLUSTER = 65536, CLUSTERS = 16, SHORT = 4096, AT = 16384 };

static char folder[FOLDER_BYTES], image[128];
static uint8_t bytes[CLUSTERS * CLUSTER];

static int setup(void **state)
{
	(void)state;
	if (folder_make(folder, "/tmp"))
		return -1;
	snprintf(image, sizeof(image), "%s/image", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return folder_remove(folder);
}

/* Which host clusters hold the secret: all of it, aligned. */
static int find_secrets(off_t at[CLUSTERS])
{
	static uint8_t got[CLUSTER];
	int fd = open(image, O_RDONLY), n = 0;

	assert_true(fd >= 0);
	for (off_t o = 0; pread(fd, got, CLUSTER, o) == CLUSTER; o += CLUSTER)
		if (memcmp(got, bytes, CLUSTER) == 0 && n < CLUSTERS)
			at[n++] = o;
	close(fd);
	return n;
}

/* Freeing punches holes; a file system that cannot leaves what was there. */
static void put_back(const off_t at[CLUSTERS])
{
	int fd = open(image, O_WRONLY);

	assert_true(fd >= 0);
	for (int i = 0; i < CLUSTERS; i++)
		assert_int_equal(pwrite(fd, bytes, CLUSTER, at[i]), CLUSTER);
	close(fd);
}

/*
 * An image whose first half was written with secrets and given back; opened
 * anew, so that the search for free clusters begins at the front.
 */
static struct tide_disk *open_reused(void)
{
	struct qcow2_create_options c = { .size_bytes = 2 * sizeof(bytes),
					  .default_refcounts = true };
	struct tide_disk_options o = { .writable = true, .format = "qcow2" };
	struct tide_disk *d;
	off_t at[CLUSTERS];

	unlink(image);
	assert_int_equal(qcow2_create(image, &c, NULL), 0);
	assert_int_equal(tide_disk_open(image, &o, &d, NULL), 0);
	memset(bytes, 0xAA, sizeof(bytes));
	assert_int_equal(tide_disk_write(d, 0, bytes, sizeof(bytes), NULL), 0);
	assert_int_equal(tide_disk_flush(d, NULL), 0);
	assert_int_equal(find_secrets(at), CLUSTERS);
	assert_int_equal(tide_disk_discard(d, 0, sizeof(bytes), NULL), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	put_back(at);
	assert_int_equal(tide_disk_open(image, &o, &d, NULL), 0);
	return d;
}

static uint64_t place(int i)
{
	return sizeof(bytes) + (uint64_t)i * CLUSTER + AT;
}

static void only_the_short_writes_show(struct tide_disk *d)
{
	assert_int_equal(tide_disk_read(d, sizeof(bytes), bytes, sizeof(bytes),
					NULL), 0);
	for (int i = 0; i < CLUSTERS * CLUSTER; i++) {
		int in = i % CLUSTER;
		uint8_t want = in >= AT && in < AT + SHORT ? 0xBB : 0;

		if (bytes[i] != want)
			fail_msg("byte %d of cluster %d is %02x, not %02x", in,
				 i / CLUSTER, bytes[i], want);
	}
}

static void blocking(void **state)
{
	struct tide_disk *d = open_reused();
	uint8_t buf[SHORT];

	(void)state;
	memset(buf, 0xBB, sizeof(buf));
	for (int i = 0; i < CLUSTERS; i++)
		assert_int_equal(tide_disk_write(d, place(i), buf, SHORT, NULL),
				 0);
	only_the_short_writes_show(d);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

static void done(struct tide_io *io)
{
	assert_int_equal(io->result, 0);
}

static void through_a_queue(const char *engine)
{
	struct tide_disk *d = open_reused();
	struct tide_queue *queue;
	uint8_t buf[SHORT];

	setenv("TIDEMARK_IO", engine, 1);
	assert_int_equal(tide_queue_create(4, &queue, NULL), 0);
	unsetenv("TIDEMARK_IO");
	memset(buf, 0xBB, sizeof(buf));
	/* One by one: the first makes the L2 table, the others are started. */
	for (int i = 0; i < CLUSTERS; i++) {
		struct tide_io io = { .op = TIDE_IO_WRITE,
				      .offset_bytes = place(i),
				      .length_bytes = SHORT,
				      .buf = buf,
				      .done = done };

		tide_queue_submit(queue, d, &io);
		while (tide_queue_pending(queue))
			assert_true(tide_queue_poll(queue, true) >= 0);
	}
	tide_queue_destroy(queue);
	only_the_short_writes_show(d);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

static void by_threads(void **state)
{
	(void)state;
	through_a_queue("threads");
}

static void by_the_best_engine(void **state)
{
	(void)state;
	through_a_queue("");
}

static void pack(struct tide_disk *d, int cluster, uint8_t value)
{
	struct qcow2_packer *p;
	uint64_t stored;

	memset(bytes, value, CLUSTER);
	assert_int_equal(qcow2_packer_create(d, 0, &p, NULL), 0);
	assert_int_equal(qcow2_packer_write(p, (uint64_t)cluster * CLUSTER,
					    bytes, CLUSTER, &stored, NULL), 0);
	assert_true(stored < CLUSTER);
	qcow2_packer_destroy(p);
}

static void holds(struct tide_disk *d, int cluster, uint8_t value)
{
	assert_int_equal(tide_disk_read(d, (uint64_t)cluster * CLUSTER, bytes,
					CLUSTER, NULL), 0);
	for (int i = 0; i < CLUSTER; i++)
		if (bytes[i] != value)
			fail_msg("byte %d of cluster %d is %02x, not %02x", i,
				 cluster, bytes[i], value);
}

/*
 * A stream of the same length where an earlier one was: its entry is the same,
 * bit by bit, and what was decompressed for that one is not its content.
 */
static void a_stream_where_one_was(void **state)
{
	struct qcow2_create_options c = { .size_bytes = sizeof(bytes),
					  .default_refcounts = true };
	struct tide_disk_options o = { .writable = true, .format = "qcow2" };
	struct tide_disk *d;

	(void)state;
	unlink(image);
	assert_int_equal(qcow2_create(image, &c, NULL), 0);
	assert_int_equal(tide_disk_open(image, &o, &d, NULL), 0);
	pack(d, 0, 0x11);
	holds(d, 0, 0x11);
	memset(bytes, 0x33, CLUSTER);
	assert_int_equal(tide_disk_write(d, 0, bytes, CLUSTER, NULL), 0);
	assert_int_equal(tide_disk_flush(d, NULL), 0);
	pack(d, 1, 0x22);
	holds(d, 1, 0x22);
	/* And what a short write takes over from it. */
	memset(bytes, 0x22, SHORT);
	assert_int_equal(tide_disk_write(d, CLUSTER + AT, bytes, SHORT, NULL),
			 0);
	holds(d, 1, 0x22);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocking),
		cmocka_unit_test(by_threads),
		cmocka_unit_test(by_the_best_engine),
		cmocka_unit_test(a_stream_where_one_was),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
