/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The detection matrix: for each of the twelve sections of a real image, guest
 * writes aimed at its first byte, its last byte, and the bytes just outside.
 * Printed beside what the reference tool is known to do. Then the guard at
 * work: an L2 entry that points at metadata, as a bug or a hostile image would
 * have it, must stop the write, mark the image, and say what it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "qcow2/driver/create.h"
#include "qcow2/format/layout.h"
#include "qcow2/driver/qcow2.h"
#include "folder.h"
#include "tidemark/kinds.h"

static char folder[FOLDER_BYTES], path[128];

static int shell(const char *command)
{
	char line[1200];

	snprintf(line, sizeof(line), "cd %s && { %s; } >out 2>&1", folder,
		 command);
	return system(line);
}

static int setup(void **state)
{
	(void)state;
	if (folder_make(folder, "/tmp"))
		return -1;
	snprintf(path, sizeof(path), "%s/image", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return folder_remove(folder);
}

/* --- the matrix --- */

/* The first place of each section, in an image that has it. */
struct matrix {
	struct tide_kinds *kinds;
	uint64_t offset[TIDE_KIND_COUNT], length[TIDE_KIND_COUNT];
	uint64_t cluster;
};

static int note(void *opaque, enum qcow2_section section, uint64_t offset_bytes,
		uint64_t length_bytes, uint32_t owner)
{
	struct matrix *m = opaque;

	(void)owner;
	if (!m->length[section]) {
		m->offset[section] = offset_bytes;
		m->length[section] = length_bytes;
	}
	return tide_kinds_add(m->kinds, (enum tide_kind)section, offset_bytes,
			      length_bytes, NULL);
}

static void load(struct matrix *m)
{
	struct qcow2_reader reader;
	struct qcow2_header header;
	struct tide_error err;
	uint8_t *first = malloc(2u << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t have;

	memset(m, 0, sizeof(*m));
	assert_int_equal(qcow2_reader_fd(&reader, &fd, path, &err), 0);
	have = reader.size_bytes < 2u << 20 ? reader.size_bytes : 2u << 20;
	assert_int_equal(qcow2_read_at(&reader, 0, first, have, &err), 0);
	assert_int_equal(qcow2_header_parse(path, first, have,
					    reader.size_bytes, &header, &err),
			 0);
	m->cluster = qcow2_cluster_bytes(&header);
	assert_int_equal(tide_kinds_create(&m->kinds, header.cluster_bits,
					   &err), 0);
	assert_int_equal(qcow2_layout_walk(&reader, &header, note, m, &err), 0);
	qcow2_header_fini(&header);
	free(first);
	close(fd);
}

static bool hits(const struct matrix *m, uint64_t offset, enum tide_kind kind)
{
	struct tide_kinds_hit hit;

	return tide_kinds_check(m->kinds, offset, 1, 0, &hit) &&
	       hit.kinds >> kind & 1;
}

/* Rows of the sections that this image has; true for each that was new. */
static void rows(const struct matrix *m, bool seen[TIDE_KIND_COUNT])
{
	static const char *const reference[TIDE_KIND_COUNT] = {
		[TIDE_KIND_INACTIVE_L2] = "off by default",
		[TIDE_KIND_BITMAP_TABLE] = "never checked",
		[TIDE_KIND_BITMAP_DATA] = "never checked",
		[TIDE_KIND_LUKS_HEADER] = "never checked",
	};

	for (int k = 0; k < TIDE_KIND_COUNT; k++) {
		uint64_t from = m->offset[k], to;
		bool before, after;

		if (!m->length[k] || seen[k])
			continue;
		seen[k] = true;
		to = (from + m->length[k] + m->cluster - 1) &
		     ~(m->cluster - 1);
		before = from && hits(m, from - 1, (enum tide_kind)k);
		after = hits(m, to, (enum tide_kind)k);
		print_message("# %-22s %-6s %-6s %-8s %-8s %s\n",
			      tide_kind_name((enum tide_kind)k),
			      hits(m, from, (enum tide_kind)k) ? "hit" : "MISS",
			      hits(m, from + m->length[k] - 1,
				   (enum tide_kind)k) ? "hit" : "MISS",
			      before ? "same" : "no hit",
			      after ? "same" : "no hit",
			      reference[k] ? reference[k] : "checked");
		assert_true(hits(m, from, (enum tide_kind)k));
		assert_true(hits(m, from + m->length[k] - 1,
				 (enum tide_kind)k));
		/* A neighbour of the same kind is another table of it. */
		if (k != TIDE_KIND_L2 && k != TIDE_KIND_INACTIVE_L2 &&
		    k != TIDE_KIND_INACTIVE_L1 && k != TIDE_KIND_BITMAP_DATA &&
		    k != TIDE_KIND_REFCOUNT_BLOCK &&
		    k != TIDE_KIND_BITMAP_TABLE) {
			assert_false(before);
			assert_false(after);
		}
	}
}

static void detection_matrix(void **state)
{
	static const char *const images[] = {
		/* snapshots that diverge, and bitmaps with bits in them */
		"qemu-img create -q -f qcow2 image 64M && "
		"qemu-io -c 'write 0 1M' image && "
		"qemu-img snapshot -c s image && "
		"qemu-io -c 'write 512k 1M' image && "
		"qemu-img bitmap --add -g 64K image b && "
		"qemu-io -c 'write 3M 1M' image",
		"qemu-img create -q -f qcow2 --object secret,id=s,data=x "
		"-o encrypt.format=luks,encrypt.key-secret=s,"
		"encrypt.iter-time=10 image 4M",
	};
	bool seen[TIDE_KIND_COUNT] = { false };
	struct matrix m;

	(void)state;
	if (shell("qemu-img --version && qemu-io --version")) {
		print_message("# SKIP: qemu-img and qemu-io make the images\n");
		skip();
	}
	print_message("# %-22s %-6s %-6s %-8s %-8s %s\n", "section", "first",
		      "last", "before", "after", "the reference tool");
	for (size_t i = 0; i < sizeof(images) / sizeof(*images); i++) {
		unlink(path);
		/* What it measures for a key's strength fails now and then. */
		for (int tries = 1; shell(images[i]); tries++)
			assert_in_range(tries, 1, 50);
		load(&m);
		rows(&m, seen);
		tide_kinds_destroy(m.kinds);
	}
	for (int k = 0; k < TIDE_KIND_COUNT; k++)
		if (!seen[k])
			fail_msg("no image has a %s",
				 tide_kind_name((enum tide_kind)k));
}

/* --- the guard at work --- */

static uint64_t get_be(int fd, uint64_t at)
{
	uint8_t raw[8];

	assert_int_equal(pread(fd, raw, 8, (off_t)at), 8);
	return tide__get_be(raw, 8);
}

static void put_be(int fd, uint64_t at, uint64_t value)
{
	uint8_t raw[8];

	tide__put_be(raw, value, 8);
	assert_int_equal(pwrite(fd, raw, 8, (off_t)at), 8);
}

/* An image with data, whose first L2 entry lies at @entry. */
static void with_data(uint64_t *entry)
{
	struct qcow2_create_options o = { .size_bytes = 1u << 20,
					  .default_refcounts = true };
	struct tide_disk_options w = { .writable = true };
	struct tide_disk *d;
	uint64_t l1;
	int fd;

	unlink(path);
	assert_int_equal(qcow2_create(path, &o, NULL), 0);
	assert_int_equal(tide_disk_open(path, &w, &d, NULL), 0);
	assert_int_equal(tide_disk_write(d, 0, "x", 1, NULL), 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	l1 = get_be(fd, 40);
	*entry = get_be(fd, l1) & L1_OFFSET_MASK;
	close(fd);
}

/* That entry says that guest data lies at @target. */
static void poison(uint64_t target)
{
	uint64_t l2;
	int fd;

	with_data(&l2);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (target == UINT64_MAX)
		target = l2;
	put_be(fd, l2, target | QCOW2_ENTRY_COPIED);
	close(fd);
}

static void stopped(uint64_t target, const char *section)
{
	struct tide_disk_options w = { .writable = true };
	uint8_t before[512], after[512];
	struct tide_error err;
	struct tide_disk *d;
	int fd;

	poison(target);
	assert_int_equal(tide_disk_open(path, &w, &d, &err), 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, before, 512, target == UINT64_MAX ?
			       (off_t)0x40000 : (off_t)target), 512);
	assert_int_equal(tide_disk_write(d, 1000, "attack", 6, &err), -EIO);
	assert_non_null(strstr(err.text, section));
	/* All writing is over, reading goes on. */
	assert_int_equal(tide_disk_write(d, 500000, "more", 4, &err), -EIO);
	assert_non_null(strstr(err.text, section));
	assert_int_equal(tide_disk_read(d, 500000, after, 512, &err), 0);
	tide_disk_close(d, NULL);
	assert_int_equal(pread(fd, after, 512, target == UINT64_MAX ?
			       (off_t)0x40000 : (off_t)target), 512);
	/* Only the corrupt bit may differ, and that only in the header. */
	if (target)
		assert_memory_equal(before, after, 512);
	assert_int_equal(get_be(fd, 72) & QCOW2_INCOMPAT_CORRUPT,
			 QCOW2_INCOMPAT_CORRUPT);
	close(fd);
	assert_int_equal(tide_disk_open(path, &w, &d, &err), -EROFS);
	assert_non_null(strstr(err.text, "corrupt"));
}

static void writes_are_stopped(void **state)
{
	(void)state;
	stopped(0x10000, "refcount table");
	stopped(0x20000, "refcount block");
	stopped(0x30000, "L1 table");
	stopped(UINT64_MAX, "L2 table");
}

/* @want: what reading the entry's cluster says, and marks if that may be. */
static void read_with(uint64_t bits, bool writable, int want)
{
	struct tide_disk_options o = { .writable = writable };
	struct tide_error err;
	struct tide_disk *d;
	uint64_t at;
	char got;
	int fd;

	with_data(&at);
	fd = open(path, O_RDWR | O_CLOEXEC);
	put_be(fd, at, get_be(fd, at) | bits);
	assert_int_equal(tide_disk_open(path, &o, &d, &err), 0);
	assert_int_equal(tide_disk_read(d, 0, &got, 1, &err), want);
	if (want)
		assert_non_null(strstr(err.text, "guest offset 0 is"));
	else
		assert_int_equal(got, 'x');
	if (want && writable)
		assert_int_equal(tide_disk_write(d, 1 << 19, "y", 1, &err),
				 want);
	tide_disk_close(d, NULL);
	assert_int_equal(get_be(fd, 72) & QCOW2_INCOMPAT_CORRUPT,
			 want && writable ? QCOW2_INCOMPAT_CORRUPT : 0);
	close(fd);
}

/* Bits that mean nothing yet: another writer knew what they say, we do not. */
static void reserved_bits(void **state)
{
	int bits = 0;

	(void)state;
	for (int bit = 0; bit < 62; bit++) {
		if (!((0x3f000000000001feull >> bit) & 1))
			continue;
		read_with(1ull << bit, true, -EIO);
		read_with(1ull << bit, false, -EIO);
		bits++;
	}
	assert_int_equal(bits, 14);
	read_with(0, true, 0);
	read_with(0, false, 0);
}

/* Switched off for measurements, it lets the same write pass. */
static void without_the_guard(void **state)
{
	struct tide_disk_options w = { .writable = true, .no_guard = true };
	struct tide_disk *d;
	char got[7] = "";
	int fd;

	(void)state;
	poison(0x20000);
	assert_int_equal(tide_disk_open(path, &w, &d, NULL), 0);
	assert_int_equal(tide_disk_write(d, 1000, "attack", 6, NULL), 0);
	tide_disk_close(d, NULL);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, got, 6, 0x20000 + 1000), 6);
	assert_string_equal(got, "attack");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(detection_matrix),
		cmocka_unit_test(writes_are_stopped),
		cmocka_unit_test(reserved_bits),
		cmocka_unit_test(without_the_guard),
	};

	return cmocka_run_group_tests_name("qcow2_guard", tests, setup,
					   teardown);
}
