/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots against a model of bytes: random rounds, deltas, folds and prunes;
 * every page of every snapshot is what the model says. And what is damaged or
 * does not belong together is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "folder.h"
#include "seed.h"
#include "snapshot/chain.h"
#include "snapshot/folder.h"
#include "snapshot/write.h"

#define PAGES 300
#define BYTES (PAGES * SNAP_PAGE)
#define MAX 12

static struct tide_error err;
static char folder[FOLDER_BYTES];
static unsigned char now[BYTES], was[MAX][BYTES], got[BYTES];

static void scribble(unsigned char *page, uint64_t *seed)
{
	switch (seed_below(seed, 4)) {
	case 0:
		memset(page, 0, SNAP_PAGE);
		break;
	case 1:
		memset(page, (int)seed_below(seed, 256), SNAP_PAGE);
		break;
	default:
		for (size_t i = 0; i < SNAP_PAGE; i += 8) {
			uint64_t word = seed_next(seed);

			memcpy(page + i, &word, 8);
		}
	}
}

/* A round of random runs in order; with @all: every page. */
static void one_round(struct snap_writer *w, bool all, uint64_t *seed)
{
	for (uint64_t page = 0; page < PAGES;) {
		uint64_t n = 1 + seed_below(seed, 40);

		if (n > PAGES - page)
			n = PAGES - page;
		if (all || seed_below(seed, 3) == 0) {
			for (uint64_t i = 0; i < n; i++)
				if (!all || seed_below(seed, 2))
					scribble(now + (page + i) * SNAP_PAGE,
						 seed);
			assert_int_equal(snap_writer_pages(
			    w, page, n, now + page * SNAP_PAGE, &err), 0);
		}
		page += n;
	}
	assert_int_equal(snap_writer_round(w, &err), 0);
}

/* Where a sync costs little: crashes of the machine are not tried here. */
static const char *where(void)
{
	return access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
}

static const struct snap_area areas[2] = {
	{ .pages = 100, .address = 0x1000, .name = "low" },
	{ .first_page = 100, .pages = PAGES - 100, .address = 0x900000 },
};

static struct snap_header head(int n, bool base)
{
	struct snap_header h = { .pages = PAGES, .areas = 2,
				 .sequence = (uint64_t)n + 1,
				 .created_ns = 5, .program = "model" };

	h.id.byte[0] = (unsigned char)(n + 1);
	h.id.byte[1] = 7;
	if (!base) {
		h.parent.byte[0] = (unsigned char)n;
		h.parent.byte[1] = 7;
	}
	return h;
}

static void make(int n, bool base, uint64_t *seed)
{
	struct snap_header h = head(n, base);
	struct snap_writer w;
	char name[16];

	snprintf(name, sizeof(name), "s%d", n);
	if (snap_writer_open(&w, folder, name, false, &h, areas, &err))
		fail_msg("%s", err.text);
	one_round(&w, base, seed);
	for (uint64_t r = seed_below(seed, 3); r; r--)
		one_round(&w, false, seed);
	assert_int_equal(snap_writer_devices(&w, name, strlen(name), &err), 0);
	if (snap_writer_commit(&w, false, &err))
		fail_msg("%s", err.text);
	memcpy(was[n], now, BYTES);
}

static void check(int n)
{
	struct snap_chain c;
	void *devices;
	char name[16];
	size_t bytes;

	snprintf(name, sizeof(name), "s%d", n);
	if (snap_chain_open(&c, folder, name, &err))
		fail_msg("%s: %s", name, err.text);
	if (snap_chain_read(&c, 0, PAGES, got, &err))
		fail_msg("%s: %s", name, err.text);
	assert_memory_equal(got, was[n], BYTES);
	for (uint64_t page = 3; page < PAGES - 40; page += 17) {
		assert_int_equal(snap_chain_read(&c, page, 31, got, &err), 0);
		assert_memory_equal(got, was[n] + page * SNAP_PAGE,
				    31 * SNAP_PAGE);
	}
	assert_int_equal(snap_chain_verify(&c, &err), 0);
	assert_int_equal(snap_chain_devices(&c, &devices, &bytes, &err), 0);
	assert_int_equal(bytes, strlen(name));
	assert_memory_equal(devices, name, bytes);
	free(devices);
	snap_chain_close(&c);
}

static void chains_are_the_model(void **state)
{
	uint64_t seed = seed_of("chains_are_the_model", 5), removed;

	(void)state;
	for (int turn = 0; turn < 10; turn++) {
		uint64_t keep = 1 + seed_below(&seed, MAX);

		assert_int_equal(folder_make(folder, where()), 0);
		memset(now, 0, sizeof(now));
		for (int n = 0; n < MAX; n++)
			make(n, n == 0 || seed_below(&seed, 8) == 0, &seed);
		for (int n = 0; n < MAX; n++)
			check(n);
		assert_int_equal(snap_folder_fold(folder, "s6", &err), 0);
		for (int n = 0; n < MAX; n++)
			check(n);
		if (snap_folder_prune(folder, keep, &removed, &err))
			fail_msg("prune: %s", err.text);
		assert_int_equal(removed, MAX - keep);
		for (int n = MAX - (int)keep; n < MAX; n++)
			check(n);
		folder_remove(folder);
	}
}

static void refused(const char *name, int code, const char *why)
{
	struct snap_chain c;
	int ret = snap_chain_open(&c, folder, name, &err);

	if (!ret)
		snap_chain_close(&c);
	if (ret != code || !strstr(err.text, why))
		fail_msg("%s: %d, %s (wanted: %d, %s)", name, ret, err.text,
			 code, why);
}

static void what_does_not_fit(void **state)
{
	uint64_t seed = 3;
	struct snap_writer w;
	struct snap_header h;
	char path[128];

	(void)state;
	assert_int_equal(folder_make(folder, where()), 0);
	make(0, true, &seed);
	make(1, false, &seed);
	make(2, false, &seed);
	/* A name is never taken from another. */
	h = head(2, false);
	assert_int_equal(snap_writer_open(&w, folder, "s2", false, &h, areas,
					  &err), -EEXIST);
	refused("none", -ENOENT, "none.tides");
	refused("../x", -EINVAL, "no name");
	/* A base that lacks a page, and areas that do not add up. */
	h = head(8, true);
	assert_int_equal(snap_writer_open(&w, folder, "s8", false, &h, areas,
					  &err), 0);
	assert_int_equal(snap_writer_pages(&w, 0, PAGES - 1, now, &err), 0);
	assert_int_equal(snap_writer_round(&w, &err), 0);
	assert_int_equal(snap_writer_commit(&w, false, &err), 0);
	refused("s8", -EBADMSG, "lacks pages");
	h = head(9, true);
	h.pages++;
	assert_int_equal(snap_writer_open(&w, folder, "s9", false, &h, areas,
					  &err), 0);
	assert_int_equal(snap_writer_pages(&w, 0, PAGES, now, &err), 0);
	assert_int_equal(snap_writer_round(&w, &err), 0);
	assert_int_equal(snap_writer_commit(&w, false, &err), 0);
	refused("s9", -EBADMSG, "size is damaged");
	/* A parent that is gone. */
	snprintf(path, sizeof(path), "%s/s1" SNAP_SUFFIX, folder);
	assert_int_equal(unlink(path), 0);
	refused("s2", -EBADMSG, "parent is missing");
	check(0);
	/* What a dead writer left is no snapshot, and in nobody's way. */
	h = head(1, false);
	assert_int_equal(snap_writer_open(&w, folder, "s1", false, &h, areas,
					  &err), 0);
	refused("s1", -ENOENT, "s1.tides");
	snap_writer_drop(&w);
	folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_are_the_model),
		cmocka_unit_test(what_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
