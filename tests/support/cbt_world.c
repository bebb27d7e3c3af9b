/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt_world.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/seed.h"
#include "base/atomic.h"

uint64_t world_rng;

uint32_t below(uint32_t n)
{
	return (uint32_t)seed_below(&world_rng, n);
}

uint32_t campaign(uint32_t usual, uint32_t many)
{
	return getenv("CAMPAIGN") ? many : usual;
}

/* --- what reaches the store: kept for power cuts ----------------------- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
struct record *world_records;
size_t world_record_count;
static size_t record_room;
bool world_recording, world_hold_durable;
int world_fail_with;

static void record(const struct record *r)
{
	pthread_mutex_lock(&log_lock);
	if (world_record_count == record_room) {
		record_room = record_room * 2 + 256;
		world_records = realloc(world_records,
					record_room * sizeof(struct record));
	}
	world_records[world_record_count++] = *r;
	pthread_mutex_unlock(&log_lock);
}

static size_t position(void)
{
	size_t n;

	pthread_mutex_lock(&log_lock);
	n = world_record_count;
	pthread_mutex_unlock(&log_lock);
	return n;
}

static void record_write(const void *from, size_t length, off_t offset,
			 bool durable)
{
	struct record r = { .offset = (uint64_t)offset, .length = length,
			    .durable = durable };

	if (!world_recording)
		return;
	r.bytes = malloc(length);
	memcpy(r.bytes, from, length);
	record(&r);
}

static bool refused(void)
{
	int code = tide__load_seqcst(&world_fail_with);

	if (code)
		errno = code;
	return code;
}

ssize_t __real_pwrite64(int fd, const void *from, size_t length, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *from, size_t length, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *from, size_t length, off_t offset)
{
	ssize_t n;

	if (refused())
		return -1;
	n = __real_pwrite64(fd, from, length, offset);
	if (n > 0)
		record_write(from, (size_t)n, offset, false);
	return n;
}

ssize_t __real_pwritev64v2(int fd, const struct iovec *v, int count,
			off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *v, int count,
			off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *v, int count,
			off_t offset, int flags)
{
	ssize_t n;

	if (refused())
		return -1;
	while (flags & RWF_DSYNC && tide__load_seqcst(&world_hold_durable))
		usleep(1000);
	/* Without the wait: the record is what counts here. */
	n = __real_pwritev64v2(fd, v, count, offset, 0);
	if (n > 0)
		record_write(v[0].iov_base, (size_t)n, offset,
			     flags & RWF_DSYNC);
	return n;
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	struct record r = { 0 };

	(void)fd;
	if (refused())
		return -1;
	if (world_recording)
		record(&r);
	return 0;
}

void world_forget_records(void)
{
	for (size_t i = 0; i < world_record_count; i++)
		free(world_records[i].bytes);
	world_record_count = 0;
}

void world_put(int fd, const void *from, size_t length, uint64_t offset)
{
	assert_int_equal(__real_pwrite64(fd, from, length, (off_t)offset),
			 (ssize_t)length);
}

/* --- memory that runs out ---------------------------------------------- */

int world_allocations_left = -1;
bool world_ran_out;

static bool no_memory(void)
{
	int left = tide__load_seqcst(&world_allocations_left);

	if (left < 0)
		return false;
	if (left == 0) {
		world_ran_out = true;
		return true;
	}
	tide__store_seqcst(&world_allocations_left, left - 1);
	return false;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
	return no_memory() ? NULL : __real_malloc(bytes);
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
	return no_memory() ? NULL : __real_calloc(count, bytes);
}

void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes)
{
	return no_memory() ? NULL : __real_realloc(old, bytes);
}

/* --- a disk without content, that says what reached it ------------------ */

void world_add_event(struct spy *s, const struct event *e)
{
	pthread_mutex_lock(&s->lock);
	if (s->count == s->room) {
		s->room = s->room * 2 + 64;
		s->events = realloc(s->events, s->room * sizeof(*e));
	}
	s->events[s->count] = *e;
	s->events[s->count++].position = position();
	pthread_mutex_unlock(&s->lock);
}

static int spy_change(struct tide_disk *d, uint64_t offset, uint64_t length)
{
	struct spy *s = (struct spy *)d;
	struct event e = { .start = offset / 512,
			   .end = (offset + length + 511) / 512, .point = -1 };

	if (s->keep)
		world_add_event(s, &e);
	return 0;
}

static int spy_write(struct tide_disk *d, uint64_t offset, const void *buf,
		     uint64_t length, struct tide_error *err)
{
	(void)buf, (void)err;
	return spy_change(d, offset, length);
}

static int spy_zero(struct tide_disk *d, uint64_t offset, uint64_t length,
		    uint32_t flags, struct tide_error *err)
{
	(void)flags, (void)err;
	return spy_change(d, offset, length);
}

static int spy_discard(struct tide_disk *d, uint64_t offset, uint64_t length,
		       struct tide_error *err)
{
	(void)err;
	return spy_change(d, offset, length);
}

static int spy_read(struct tide_disk *d, uint64_t offset, void *buf,
		    uint64_t length, struct tide_error *err)
{
	(void)d, (void)offset, (void)err;
	memset(buf, 0, length);
	return 0;
}

static int spy_flush(struct tide_disk *d, struct tide_error *err)
{
	(void)d, (void)err;
	return 0;
}

static int spy_resize(struct tide_disk *d, uint64_t size,
		      struct tide_error *err)
{
	(void)err;
	tide__store_release(&d->size_bytes, size);
	return 0;
}

static int spy_close(struct tide_disk *d, struct tide_error *err)
{
	(void)d, (void)err;
	return 0;
}

static const struct tide_disk_ops spy_ops = {
	.name = "spy", .read = spy_read, .write = spy_write,
	.zero = spy_zero, .discard = spy_discard, .flush = spy_flush,
	.resize = spy_resize, .close = spy_close,
};

/* --- the world ---------------------------------------------------------- */

void world_init(struct world *w, uint64_t size)
{
	int fd;

	memset(w, 0, sizeof(*w));
	strcpy(w->folder, "cbt_test.XXXXXX");
	assert_non_null(mkdtemp(w->folder));
	snprintf(w->path, sizeof(w->path), "%s/disk", w->folder);
	snprintf(w->store, sizeof(w->store), "%s/disk.tidemark", w->folder);
	snprintf(w->live, sizeof(w->live), "%s/live", w->folder);
	mkdir(w->live, 0700);
	fd = open(w->path, O_CREAT | O_RDWR, 0600);
	assert_true(fd >= 0);
	close(fd);
	w->spy.disk = (struct tide_disk){ .ops = &spy_ops, .size_bytes = size,
					  .writable = true, .path = w->path,
					  .alignment_bytes = 1 };
	pthread_mutex_init(&w->spy.lock, NULL);
	w->o = (struct cbt_options){ .live_folder = w->live, .boot = w->boot };
	memset(w->boot, 7, 16);
	for (int i = 0; i < POINTS; i++)
		w->points[i].dirty = calloc(2, UNITS);
	for (int i = 0; i < POINTS; i++)
		w->points[i].may = w->points[i].dirty + UNITS;
}

void world_open(struct world *w)
{
	struct tide_error err = { 0 };
	int ret = cbt_open(&w->spy.disk, &w->o, &w->c, &err);

	if (ret)
		print_message("# %s\n", err.text);
	assert_int_equal(ret, 0);
	assert_int_equal(cbt_filter_create(&w->spy.disk, w->c, &w->d, NULL),
			 0);
}

void world_kill(struct world *w)
{
	cbt_discard(w->c, false);
	free(w->d->path);
	free(w->d);
}

void world_reopen(struct world *w, bool kill)
{
	if (kill)
		world_kill(w);
	else
		assert_int_equal(tide_disk_close(w->d, NULL), 0);
	world_open(w);
	assert_string_equal(cbt_note(w->c), "");
}

void world_fini(struct world *w)
{
	char command[80];

	for (int i = 0; i < POINTS; i++)
		free(w->points[i].dirty);
	free(w->spy.events);
	snprintf(command, sizeof(command), "rm -rf %s", w->folder);
	assert_int_equal(system(command), 0);
}

void world_expect_dirty(struct world *w, uint64_t offset, uint64_t length)
{
	uint64_t first = offset / 512, end = (offset + length + 511) / 512;

	for (int i = 0; i < POINTS; i++) {
		if (!w->points[i].there || !w->points[i].records)
			continue;
		memset(w->points[i].dirty + first, 1, end - first);
		memset(w->points[i].may + first, 1, end - first);
	}
}

bool world_take_run(void *opaque, uint64_t length, bool dirty)
{
	struct answer *a = opaque;

	assert_true(length > 0);
	if (dirty)
		memset(a->dirty + a->at / 512, 1,
		       (a->at + length + 511) / 512 - a->at / 512);
	a->at += length;
	return true;
}

void world_ask(struct world *w, const char *name, uint8_t *dirty)
{
	struct answer a = { dirty, 0 };
	uint64_t size = tide_disk_size(w->d);
	struct tide_error err = { 0 };
	int ret;

	memset(dirty, 0, UNITS);
	ret = cbt_changes(w->c, name, NULL, 0, size, world_take_run, &a, &err);
	if (ret)
		print_message("# %s: %s\n", name, err.text);
	assert_int_equal(ret, 0);
	assert_true(a.at == size);
}

static bool any(const uint8_t *dirty, uint64_t from, uint64_t to)
{
	return memchr(dirty + from, 1, to - from);
}

static void check_point(struct world *w, const struct expected *e)
{
	static uint8_t got[UNITS];
	uint64_t units = (tide_disk_size(w->d) + 511) / 512;
	uint64_t coarse = SLACK / 512;

	world_ask(w, e->name, got);
	for (uint64_t i = 0; i < units; i++) {
		if (e->dirty[i] && !got[i])
			print_message("# %s lost block %llu\n", e->name,
				      (unsigned long long)i);
		assert_true(got[i] || !e->dirty[i]);
		if (got[i] && !e->dirty[i])
			assert_true(any(e->may, i / coarse * coarse,
					(i / coarse + 1) * coarse));
	}
}

void world_check_all(struct world *w)
{
	for (int i = 0; i < POINTS; i++)
		if (w->points[i].there)
			check_point(w, &w->points[i]);
}
