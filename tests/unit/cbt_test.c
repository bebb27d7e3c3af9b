/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tracker against an oracle that knows of every 512 bytes what each point
 * must say, through random scripts of writes, verbs, resizes, clean closes and
 * kills (SEED=n to repeat one); power cuts at every write to the store, with
 * what was not synced dropped, torn and reordered; writers and cuts at once;
 * a store that fails; memory that a damaged store asks for.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "cbt/filter.h"
#include "cbt/tracker.h"
#include "disk/disk.h"
#include "disk/queue.h"
#include "seed.h"

#define MOST_BYTES (24u << 20)
#define UNITS (MOST_BYTES / 512)
#define SLACK (1u << 20) /* the coarsest granularity of the scripts */
#define POINTS 12

static char folder[] = "cbt_test.XXXXXX";
static uint64_t rng;

static uint32_t below(uint32_t n)
{
	return (uint32_t)seed_below(&rng, n);
}

/* --- what reaches the store: kept for power cuts ----------------------- */

struct record {
	uint64_t offset;
	uint8_t *bytes; /* NULL: a sync of all before */
	size_t length;
	bool durable; /* by itself */
};

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static struct record *records;
static size_t record_count, record_room;
static bool recording;
static int fail_with; /* atomic: every write and sync of a store */

static void record(const struct record *r)
{
	pthread_mutex_lock(&log_lock);
	if (record_count == record_room) {
		record_room = record_room * 2 + 256;
		records = realloc(records, record_room * sizeof(*records));
	}
	records[record_count++] = *r;
	pthread_mutex_unlock(&log_lock);
}

static size_t position(void)
{
	size_t n;

	pthread_mutex_lock(&log_lock);
	n = record_count;
	pthread_mutex_unlock(&log_lock);
	return n;
}

static void record_write(const void *from, size_t length, off_t offset,
			 bool durable)
{
	struct record r = { .offset = (uint64_t)offset, .length = length,
			    .durable = durable };

	if (!recording)
		return;
	r.bytes = malloc(length);
	memcpy(r.bytes, from, length);
	record(&r);
}

static bool refused(void)
{
	int code = tide__load_seqcst(&fail_with);

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
	if (recording)
		record(&r);
	return 0;
}

static void forget_records(void)
{
	for (size_t i = 0; i < record_count; i++)
		free(records[i].bytes);
	record_count = 0;
}

/* --- memory that runs out ---------------------------------------------- */

static int allocations_left = -1; /* atomic; negative: no limit */
static bool ran_out;

static bool no_memory(void)
{
	int left = tide__load_seqcst(&allocations_left);

	if (left < 0)
		return false;
	if (left == 0) {
		ran_out = true;
		return true;
	}
	tide__store_seqcst(&allocations_left, left - 1);
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

struct event {
	size_t position; /* in the records */
	uint64_t start, end; /* units of 512 bytes; or a point: */
	int point; /* -1: a write */
	bool created;
};

struct spy {
	struct tide_disk disk;
	pthread_mutex_t lock;
	struct event *events;
	size_t count, room;
	bool keep;
};

static void add_event(struct spy *s, const struct event *e)
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
		add_event(s, &e);
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

struct expected {
	bool there, records;
	int shift;
	char name[24];
	uint8_t *dirty; /* a byte for 512 */
	uint8_t *may; /* the same, also of what a shrink cut off */
};

struct world {
	struct spy spy;
	struct tide_disk *d;
	struct cbt *c;
	struct cbt_options o;
	char path[64], live[64], store[80];
	uint8_t boot[16];
	struct expected points[POINTS];
	uint32_t names;
};

static void world_init(struct world *w, uint64_t size)
{
	int fd;

	memset(w, 0, sizeof(*w));
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(w->path, sizeof(w->path), "%s/disk", folder);
	snprintf(w->store, sizeof(w->store), "%s/disk.tidemark", folder);
	snprintf(w->live, sizeof(w->live), "%s/live", folder);
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

static void world_open(struct world *w)
{
	struct tide_error err = { 0 };
	int ret = cbt_open(&w->spy.disk, &w->o, &w->c, &err);

	if (ret)
		print_message("# %s\n", err.text);
	assert_int_equal(ret, 0);
	assert_int_equal(cbt_filter_create(&w->spy.disk, w->c, &w->d, NULL),
			 0);
}

/* As kill -9 does it: the memory that is shared with a file is all there is. */
static void world_kill(struct world *w)
{
	cbt_discard(w->c, false);
	free(w->d->path);
	free(w->d);
}

static void world_fini(struct world *w)
{
	char command[80];

	for (int i = 0; i < POINTS; i++)
		free(w->points[i].dirty);
	free(w->spy.events);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

static void expect_dirty(struct world *w, uint64_t offset, uint64_t length)
{
	uint64_t first = offset / 512, end = (offset + length + 511) / 512;

	for (int i = 0; i < POINTS; i++) {
		if (!w->points[i].there || !w->points[i].records)
			continue;
		memset(w->points[i].dirty + first, 1, end - first);
		memset(w->points[i].may + first, 1, end - first);
	}
}

struct answer {
	uint8_t *dirty;
	uint64_t at;
};

static bool take_run(void *opaque, uint64_t length, bool dirty)
{
	struct answer *a = opaque;

	assert_true(length > 0);
	if (dirty)
		memset(a->dirty + a->at / 512, 1,
		       (a->at + length + 511) / 512 - a->at / 512);
	a->at += length;
	return true;
}

static void ask(struct world *w, const char *name, uint8_t *dirty)
{
	struct answer a = { dirty, 0 };
	uint64_t size = tide_disk_size(w->d);
	struct tide_error err = { 0 };
	int ret;

	memset(dirty, 0, UNITS);
	ret = cbt_changes(w->c, name, NULL, 0, size, take_run, &a, &err);
	if (ret)
		print_message("# %s: %s\n", name, err.text);
	assert_int_equal(ret, 0);
	assert_true(a.at == size);
}

static bool any(const uint8_t *dirty, uint64_t from, uint64_t to)
{
	return memchr(dirty + from, 1, to - from);
}

/* Nothing is missing; what is too much lies beside what is dirty. */
static void check_point(struct world *w, const struct expected *e)
{
	static uint8_t got[UNITS];
	uint64_t units = (tide_disk_size(w->d) + 511) / 512;
	uint64_t coarse = SLACK / 512;

	ask(w, e->name, got);
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

static void check_all(struct world *w)
{
	for (int i = 0; i < POINTS; i++)
		if (w->points[i].there)
			check_point(w, &w->points[i]);
}

/* --- the script --------------------------------------------------------- */

static struct expected *pick(struct world *w, bool there)
{
	for (int tries = 0; tries < 30; tries++) {
		struct expected *e = &w->points[below(POINTS)];

		if (e->there == there)
			return e;
	}
	return NULL;
}

static void do_write(struct world *w)
{
	static uint8_t buf[1u << 20];
	uint64_t size = tide_disk_size(w->d);
	uint64_t length = 1 + below(below(8) ? 8192 : sizeof(buf));
	uint64_t offset;

	if (length > size)
		length = size;
	offset = below((uint32_t)(size - length + 1));
	switch (below(4)) {
	case 0:
		assert_int_equal(tide_disk_zero(w->d, offset, length, 0, NULL),
				 0);
		break;
	case 1:
		assert_int_equal(tide_disk_discard(w->d, offset, length, NULL),
				 0);
		break;
	default:
		assert_int_equal(tide_disk_write(w->d, offset, buf, length,
						 NULL), 0);
	}
	expect_dirty(w, offset, length);
}

static void do_create(struct world *w, bool bitmap)
{
	struct expected *e = pick(w, false);

	if (!e)
		return;
	snprintf(e->name, sizeof(e->name), "%s%u", bitmap ? "b" : "k",
		 w->names++);
	e->shift = 9 + (int)below(12);
	e->records = !bitmap || below(3);
	if (bitmap)
		assert_int_equal(cbt_bitmap_add(w->c, e->name,
						UINT64_C(1) << e->shift,
						e->records, NULL), 0);
	else
		assert_int_equal(cbt_checkpoint_create(&w->c, 1, e->name,
						       below(2), NULL), 0);
	e->there = true;
	memset(e->dirty, 0, 2 * UNITS);
}

static void do_remove(struct world *w)
{
	struct expected *e = pick(w, true);

	if (!e)
		return;
	if (*e->name == 'b')
		assert_int_equal(cbt_bitmap_remove(w->c, e->name, NULL), 0);
	else
		assert_int_equal(cbt_checkpoint_delete(w->c, e->name, NULL),
				 0);
	e->there = false;
}

static void do_bitmap(struct world *w)
{
	struct expected *e = pick(w, true), *from = pick(w, true);
	char name[24];

	if (!e || !from || *e->name != 'b')
		return;
	switch (below(4)) {
	case 0:
		assert_int_equal(cbt_bitmap_clear(w->c, e->name, NULL), 0);
		memset(e->dirty, 0, 2 * UNITS);
		break;
	case 1:
		e->records = !e->records;
		assert_int_equal(cbt_bitmap_enable(w->c, e->name, e->records,
						   NULL), 0);
		break;
	case 2:
		assert_int_equal(cbt_bitmap_merge(w->c, e->name, w->c,
						  from->name, NULL), 0);
		for (uint32_t i = 0; i < 2 * UNITS; i++)
			e->dirty[i] |= from->dirty[i];
		break;
	default:
		snprintf(name, sizeof(name), "b%u", w->names++);
		assert_int_equal(cbt_rename(w->c, e->name, name, NULL), 0);
		strcpy(e->name, name);
	}
}

static void do_resize(struct world *w)
{
	uint64_t size = tide_disk_size(w->d);
	uint64_t to = 512 * (uint64_t)(1 + below(UNITS));

	assert_int_equal(tide_disk_resize(w->d, to, NULL), 0);
	if (to > size)
		expect_dirty(w, size, to - size);
	for (int i = 0; i < POINTS; i++)
		memset(w->points[i].dirty + to / 512, 0, UNITS - to / 512);
}

static void do_reopen(struct world *w, bool kill)
{
	if (kill)
		world_kill(w);
	else
		assert_int_equal(tide_disk_close(w->d, NULL), 0);
	world_open(w);
	assert_string_equal(cbt_note(w->c), "");
}

static void step(struct world *w)
{
	uint32_t what = below(100);

	if (what < 70)
		do_write(w);
	else if (what < 76)
		do_create(w, below(2));
	else if (what < 80)
		do_remove(w);
	else if (what < 90)
		do_bitmap(w);
	else if (what < 92)
		do_resize(w);
	else if (what < 95)
		do_reopen(w, below(2));
	else
		check_all(w);
}

static void run_script(uint64_t seed, enum cbt_durability durability)
{
	struct world w;

	rng = seed;
	world_init(&w, 512 * (uint64_t)(1 + below(UNITS)));
	w.o.durability = durability;
	w.o.region_shift = 16 + below(5);
	w.o.bound_bytes = UINT64_C(8) << w.o.region_shift;
	w.o.shift = 9 + below(12);
	world_open(&w);
	for (int i = 0; i < 400; i++)
		step(&w);
	check_all(&w);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

static uint32_t campaign(uint32_t usual, uint32_t many)
{
	return getenv("CAMPAIGN") ? many : usual;
}

static void test_random(void **state)
{
	uint64_t seed = seed_of("cbt", 11);

	(void)state;
	for (uint32_t i = 0; i < campaign(8, 60); i++)
		run_script(seed + i, i % 2 ? CBT_POWER : CBT_PROCESS);
}

/* --- power cuts ---------------------------------------------------------- */

/* What the store's file may be if power goes after @prefix records. */
static void make_cut(const struct world *w, size_t prefix)
{
	size_t synced = 0;
	int fd = open(w->store, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	for (size_t i = 0; i < prefix; i++)
		if (!records[i].bytes)
			synced = i;
	for (size_t i = 0; i < prefix; i++) {
		const struct record *r = &records[i];
		size_t from = 0, length = r->length;

		if (!r->bytes)
			continue;
		if (i > synced && !r->durable) {
			/* Dropped, or torn at a sector: front or back. */
			if (below(3) == 0)
				continue;
			if (below(3) == 0 && length > 512) {
				size_t at = 512 * below((uint32_t)length / 512);

				from = below(2) ? at : 0;
				length = from ? length - at : at;
			}
		}
		assert_int_equal(__real_pwrite64(fd, r->bytes + from, length,
					       (off_t)(r->offset + from)),
				 (ssize_t)length);
	}
	close(fd);
}

/* What must be dirty after it, for a point that was there. */
static bool expect_after(const struct world *w, size_t prefix, int point,
			 uint8_t *dirty)
{
	bool there = false;

	memset(dirty, 0, UNITS);
	for (size_t i = 0; i < w->spy.count; i++) {
		const struct event *e = &w->spy.events[i];

		if (e->position > prefix)
			continue;
		if (e->point == point) {
			there = e->created;
			memset(dirty, 0, UNITS);
		} else if (e->point < 0 && there) {
			memset(dirty + e->start, 1, e->end - e->start);
		}
	}
	return there;
}

static void judge_cut(struct world *w, size_t prefix)
{
	static uint8_t must[UNITS], got[UNITS];
	uint64_t units = tide_disk_size(&w->spy.disk) / 512;
	struct tide_error err = { 0 };

	for (int k = 0; k < POINTS; k++) {
		char name[8];
		struct answer a = { got, 0 };

		if (!expect_after(w, prefix, k, must))
			continue;
		snprintf(name, sizeof(name), "k%d", k);
		memset(got, 0, UNITS);
		if (cbt_changes(w->c, name, NULL, 0, units * 512, take_run, &a,
				&err))
			fail_msg("prefix %zu: %s", prefix, err.text);
		for (uint64_t i = 0; i < units; i++)
			if (must[i] && !got[i])
				fail_msg("prefix %zu of %zu: %s lost block "
					 "%llu", prefix, record_count, name,
					 (unsigned long long)i);
	}
}

/* Writes and checkpoints in power mode, all that reaches the store kept. */
static size_t play(struct world *w, uint32_t steps)
{
	static uint8_t buf[65536];
	bool there[POINTS] = { 0 };
	size_t first;

	recording = true;
	world_open(w);
	first = record_count;
	w->spy.keep = true;
	for (uint32_t i = 0; i < steps; i++) {
		int k = (int)below(POINTS);
		struct event e = { .point = k, .created = !there[k] };
		char name[8];

		if (below(12)) {
			uint64_t length = 512 * (1 + (uint64_t)below(128));
			uint64_t at = 512 * (uint64_t)below(UNITS - 128);

			assert_int_equal(tide_disk_write(w->d, at, buf, length,
							 NULL), 0);
			continue;
		}
		snprintf(name, sizeof(name), "k%d", k);
		if (there[k])
			add_event(&w->spy, &e); /* from here it may be gone */
		if (there[k])
			assert_int_equal(cbt_checkpoint_delete(w->c, name,
							       NULL), 0);
		else
			assert_int_equal(cbt_checkpoint_create(&w->c, 1, name,
							       false, NULL),
					 0);
		if (!there[k])
			add_event(&w->spy, &e); /* from here it must be there */
		there[k] = !there[k];
	}
	w->spy.keep = false;
	recording = false;
	return first;
}

static void cut_everywhere(uint64_t seed, uint32_t each)
{
	struct world w;
	size_t first, count;

	rng = seed;
	world_init(&w, MOST_BYTES);
	w.o.durability = CBT_POWER;
	w.o.region_shift = 16 + below(4);
	w.o.shift = 12 + below(5);
	w.o.bound_bytes = UINT64_C(6) << w.o.region_shift;
	first = play(&w, 150);
	world_kill(&w);
	count = record_count;
	for (size_t prefix = first; prefix <= count; prefix += each) {
		make_cut(&w, prefix);
		memset(w.boot, 8 + (int)(prefix & 1), 16);
		world_open(&w);
		judge_cut(&w, prefix);
		world_kill(&w);
	}
	forget_records();
	world_fini(&w);
}

static void test_power_cuts(void **state)
{
	uint64_t seed = seed_of("cbt", 11);

	(void)state;
	for (uint32_t i = 0; i < campaign(4, 20); i++)
		cut_everywhere(seed + i, campaign(3, 1));
}

/* In process mode a power cut is said, and nothing is believed. */
static void test_power_in_process_mode(void **state)
{
	static uint8_t byte[512];
	struct cbt_info info;
	struct world w;

	(void)state;
	world_init(&w, 1 << 20);
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	assert_int_equal(cbt_bitmap_add(w.c, "b", 65536, false, NULL), 0);
	assert_int_equal(tide_disk_write(w.d, 0, byte, 512, NULL), 0);
	world_kill(&w);
	memset(w.boot, 99, 16);
	world_open(&w);
	assert_non_null(strstr(cbt_note(w.c), "process durability"));
	assert_int_equal(cbt_info(w.c, "k", &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_INCONSISTENT);
	assert_non_null(strstr(info.reason, "process durability"));
	assert_int_equal(cbt_info(w.c, "b", &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_DISABLED);
	assert_int_equal(cbt_checkpoint_delete(w.c, "k", NULL), 0);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* --- who wrote while nobody tracked -------------------------------------- */

static void expect_doubt(struct world *w, const char *why)
{
	struct cbt_info info;

	world_open(w);
	assert_int_equal(cbt_info(w->c, "k", &info, NULL), 0);
	if (why) {
		assert_int_equal(info.word, CBT_SAYS_INCONSISTENT);
		assert_non_null(strstr(info.reason, why));
		assert_int_equal(cbt_checkpoint_delete(w->c, "k", NULL), 0);
		assert_int_equal(cbt_checkpoint_create(&w->c, 1, "k", false,
						       NULL), 0);
	} else {
		assert_int_equal(info.word, CBT_SAYS_RECORDING);
	}
	assert_int_equal(tide_disk_close(w->d, NULL), 0);
}

static void test_foreign_writes(void **state)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
				     { .tv_sec = 1000 } };
	char live[128], command[400];
	struct world w;

	(void)state;
	world_init(&w, 1 << 20);
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	expect_doubt(&w, NULL);
	utimensat(AT_FDCWD, w.path, times, 0);
	expect_doubt(&w, "modified after it was closed");
	expect_doubt(&w, NULL);
	w.spy.disk.size_bytes = 2 << 20;
	expect_doubt(&w, "size");
	snprintf(command, sizeof(command), "cp %s %s.2 && mv %s.2 %s", w.path,
		 w.path, w.path, w.path);
	assert_int_equal(system(command), 0);
	expect_doubt(&w, "another file");
	/* The live file of a killed server is gone; and again, half way. */
	world_open(&w);
	world_kill(&w);
	snprintf(live, sizeof(live), "rm %s/*.live", w.live);
	assert_int_equal(system(live), 0);
	world_open(&w);
	world_kill(&w);
	expect_doubt(&w, "live file is gone");
	world_fini(&w);
}

/* --- at once --------------------------------------------------------------- */

struct writer {
	pthread_t thread;
	struct world *w;
	uint32_t number;
	bool stop; /* atomic */
	uint64_t writes;
	uint64_t *latest; /* a count a block; atomic */
};

#define BLOCK 4096u
#define BLOCKS (MOST_BYTES / BLOCK)

/* Each writes its own blocks, and counts before. */
static void *write_on(void *arg)
{
	static const uint8_t buf[BLOCK];
	struct writer *r = arg;
	uint64_t x = r->number + 1;

	while (!tide__load_seqcst(&r->stop)) {
		uint64_t block;

		x = x * 6364136223846793005u + 1442695040888963407u;
		block = (x >> 33) % (BLOCKS / 4) * 4 + r->number;
		tide__add_seqcst(&r->latest[block], 1);
		if (tide_disk_write(r->w->d, block * BLOCK, buf, BLOCK, NULL))
			return "a write failed";
		r->writes++;
	}
	return NULL;
}

/*
 * Four writers, and cuts: what was written after a checkpoint returned is since
 * it, and what ended before it began is not, in the union of them all.
 */
static void writers_and_cuts(enum cbt_durability durability)
{
	static uint64_t latest[BLOCKS], before[BLOCKS];
	struct writer r[4] = { 0 };
	uint8_t *got = calloc(1, UNITS);
	struct world w;

	memset(latest, 0, sizeof(latest));
	world_init(&w, MOST_BYTES);
	w.o.durability = durability;
	w.o.shift = 12;
	w.o.region_shift = 18;
	world_open(&w);
	for (uint32_t i = 0; i < 4; i++) {
		r[i] = (struct writer){ .w = &w, .number = i,
					.latest = latest };
		pthread_create(&r[i].thread, NULL, write_on, &r[i]);
	}
	for (uint32_t i = 0; i < 60; i++) {
		char name[16];

		snprintf(name, sizeof(name), "k%u", i);
		assert_int_equal(cbt_checkpoint_create(&w.c, 1, name, false,
						       NULL), 0);
		for (uint32_t b = 0; b < BLOCKS; b++)
			before[b] = tide__load_seqcst(&latest[b]);
		usleep(3000);
		ask(&w, name, got);
		if (i % 3 == 2) {
			snprintf(name, sizeof(name), "k%u", i - 1);
			assert_int_equal(cbt_checkpoint_delete(w.c, name,
							       NULL), 0);
		}
	}
	for (uint32_t i = 0; i < 4; i++) {
		void *wrong;

		tide__store_seqcst(&r[i].stop, true);
		pthread_join(r[i].thread, &wrong);
		assert_null(wrong);
		assert_true(r[i].writes > 0);
	}
	ask(&w, "k59", got);
	/* Counted after the last cut, so written after it. */
	for (uint32_t b = 0; b < BLOCKS; b++)
		assert_true(latest[b] == before[b] || got[b * 8]);
	ask(&w, "k0", got);
	for (uint32_t b = 0; b < BLOCKS; b++)
		assert_true(latest[b] == 0 || got[b * 8] || latest[b] == 1);
	world_kill(&w);
	world_open(&w);
	ask(&w, "k59", got);
	for (uint32_t b = 0; b < BLOCKS; b++)
		assert_true(latest[b] == before[b] || got[b * 8]);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	free(got);
	world_fini(&w);
}

static void test_writers_and_cuts(void **state)
{
	(void)state;
	writers_and_cuts(CBT_PROCESS);
	writers_and_cuts(CBT_POWER);
}

/* A queue's requests are parked while a cut holds the gate, and come back. */
struct request {
	struct tide_io io;
	uint32_t *left;
};

static void again(struct tide_io *io)
{
	struct request *q = io->opaque;

	assert_int_equal(io->result, 0);
	if (*q->left) {
		--*q->left;
		io->offset_bytes = (uint64_t)below(UNITS - 8) * 512;
		tide_queue_submit(io->queue, io->disk, io);
	}
}

static void *cut_often(void *arg)
{
	struct writer *r = arg;

	for (uint32_t i = 0; !tide__load_seqcst(&r->stop); i++) {
		char name[16];

		snprintf(name, sizeof(name), "q%u", i);
		if (cbt_checkpoint_create(&r->w->c, 1, name, false, NULL) ||
		    cbt_checkpoint_delete(r->w->c, name, NULL))
			return "a cut failed";
		r->writes++;
	}
	return NULL;
}

static void test_queue(void **state)
{
	static uint8_t buf[4096];
	struct tide_queue *q;
	struct writer r = { 0 };
	struct world w;
	void *wrong;

	(void)state;
	for (int mode = CBT_PROCESS; mode <= CBT_POWER; mode++) {
		struct request ios[64];
		uint32_t left = 20000;

		world_init(&w, MOST_BYTES);
		w.o.durability = (enum cbt_durability)mode;
		w.o.region_shift = 18;
		w.o.bound_bytes = 16 << 18;
		world_open(&w);
		r = (struct writer){ .w = &w };
		assert_int_equal(tide_queue_create(64, &q, NULL), 0);
		pthread_create(&r.thread, NULL, cut_often, &r);
		for (int i = 0; i < 64; i++) {
			ios[i] = (struct request){
				.io = { .op = TIDE_IO_WRITE, .buf = buf,
					.length_bytes = 4096, .done = again,
					.offset_bytes = (uint64_t)i * 4096,
					.opaque = &ios[i] },
				.left = &left,
			};
			tide_queue_submit(q, w.d, &ios[i].io);
		}
		while (tide_queue_pending(q))
			assert_true(tide_queue_poll(q, true) >= 0);
		tide__store_seqcst(&r.stop, true);
		pthread_join(r.thread, &wrong);
		assert_null(wrong);
		assert_true(r.writes > 0);
		tide_queue_destroy(q);
		assert_int_equal(tide_disk_close(w.d, NULL), 0);
		world_fini(&w);
	}
}

static void count_one(struct tide_io *io)
{
	assert_int_equal(io->result, 0);
	++*(uint32_t *)io->opaque;
}

/* First writes that come together share a durable block: 64 and more. */
static void test_burst(void **state)
{
	static uint8_t buf[512];
	struct cbt_status before, after;
	struct tide_io ios[192];
	struct tide_queue *q;
	struct world w;
	uint32_t done = 0;

	(void)state;
	world_init(&w, MOST_BYTES);
	w.o.durability = CBT_POWER;
	w.o.shift = 12;
	w.o.region_shift = 16;
	w.o.bound_bytes = 384 << 16;
	world_open(&w);
	cbt_status(w.c, &before);
	assert_int_equal(tide_queue_create(192, &q, NULL), 0);
	/* Nobody may enter yet: so that they come at once. */
	assert_int_equal(cbt_gate_hold(&w.c->gate, 1000000000), 0);
	for (uint64_t i = 0; i < 192; i++) {
		ios[i] = (struct tide_io){
			.op = TIDE_IO_WRITE, .buf = buf, .length_bytes = 512,
			.offset_bytes = (i * 2) << 16, .done = count_one,
			.opaque = &done };
		tide_queue_submit(q, w.d, &ios[i]);
	}
	cbt_gate_release(&w.c->gate);
	while (tide_queue_pending(q))
		assert_true(tide_queue_poll(q, true) >= 0);
	cbt_status(w.c, &after);
	assert_int_equal(done, 192);
	assert_int_equal(after.first_writes - before.first_writes, 192);
	print_message("# 192 first writes, %d blocks\n",
		      (int)(after.intents - before.intents));
	assert_true(after.intents - before.intents <= 3);
	tide_queue_destroy(q);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* --- a store that fails ------------------------------------------------------ */

static void test_store_fails(void **state)
{
	static uint8_t buf[4096];
	struct cbt_status status;
	struct tide_error err;
	struct cbt_info info;
	struct world w;

	(void)state;
	world_init(&w, MOST_BYTES);
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	tide__store_seqcst(&fail_with, ENOSPC);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tide_disk_write(w.d, i * 1048576, buf, 4096,
						 NULL), 0);
		assert_int_equal(cbt_checkpoint_create(&w.c, 1, "x", false,
						       &err), -ENOSPC);
		assert_non_null(strstr(err.text, "disk.tidemark"));
		assert_int_equal(cbt_bitmap_add(w.c, "y", 65536, true, &err),
				 -ENOSPC);
		assert_int_equal(cbt_checkpoint_delete(w.c, "k", &err),
				 -ENOSPC);
	}
	cbt_status(w.c, &status);
	assert_non_null(strstr(status.trouble, "No space"));
	assert_int_equal(cbt_info(w.c, "x", &info, NULL), -ENOENT);
	/* Killed like this: nothing is lost. */
	world_kill(&w);
	tide__store_seqcst(&fail_with, 0);
	world_open(&w);
	assert_string_equal(cbt_note(w.c), "");
	assert_int_equal(cbt_info(w.c, "k", &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_RECORDING);
	assert_int_equal(info.dirty_bytes, 3 * 65536);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* In power mode writes go on, and it is said that power may lose marks. */
static void test_intents_fail(void **state)
{
	static uint8_t buf[4096];
	struct cbt_status status;
	struct cbt_info info;
	struct world w;

	(void)state;
	world_init(&w, MOST_BYTES);
	w.o.durability = CBT_POWER;
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	tide__store_seqcst(&fail_with, EIO);
	assert_int_equal(tide_disk_write(w.d, 0, buf, 4096, NULL), 0);
	cbt_status(w.c, &status);
	assert_true(status.lost);
	assert_non_null(strstr(status.trouble, "power cut"));
	tide__store_seqcst(&fail_with, 0);
	assert_int_equal(tide_disk_close(w.d, NULL), -EIO);
	/* The live file says more than the store. */
	world_open(&w);
	assert_int_equal(cbt_info(w.c, "k", &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_RECORDING);
	assert_int_equal(info.dirty_bytes, 65536);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* What is not done for want of memory is not half done; no mark is lost. */
static void verbs_without_memory(struct world *w, int left)
{
	static uint8_t buf[4096];
	struct expected *k = &w->points[0], *b = &w->points[1];
	int ret[6];

	tide__store_seqcst(&allocations_left, left);
	ret[0] = cbt_checkpoint_create(&w->c, 1, "new", false, NULL);
	ret[1] = cbt_bitmap_add(w->c, "fine", 512, true, NULL);
	tide_disk_write(w->d, 3 << 20, buf, 4096, NULL);
	ret[2] = cbt_bitmap_merge(w->c, b->name, w->c, k->name, NULL);
	ret[3] = cbt_bitmap_enable(w->c, b->name, false, NULL);
	ret[4] = cbt_rename(w->c, "new", "other", NULL);
	ret[5] = tide_disk_resize(w->d, MOST_BYTES / 2 + left * 4096, NULL);
	tide__store_seqcst(&allocations_left, -1);
	for (int i = 0; i < 6; i++)
		assert_true(ret[i] == 0 || ret[i] == -ENOMEM ||
			    (i == 4 && ret[0] && ret[i] == -ENOENT));
	expect_dirty(w, 3 << 20, 4096);
	if (!ret[2])
		memset(b->dirty, 1, 8);
}

static void test_no_memory(void **state)
{
	static uint8_t buf[4096];
	struct world w;

	(void)state;
	ran_out = true;
	for (int left = 0; ran_out; left++) {
		world_init(&w, MOST_BYTES / 2);
		world_open(&w);
		strcpy(w.points[0].name, "k");
		strcpy(w.points[1].name, "b");
		assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false,
						       NULL), 0);
		assert_int_equal(cbt_bitmap_add(w.c, "b", 4096, true, NULL),
				 0);
		w.points[0].there = w.points[0].records = true;
		w.points[1].there = w.points[1].records = true;
		assert_int_equal(tide_disk_write(w.d, 0, buf, 4096, NULL), 0);
		expect_dirty(&w, 0, 4096);
		ran_out = false;
		verbs_without_memory(&w, left);
		for (int i = 0; i < 2; i++)
			memset(w.points[i].may, 1, UNITS);
		check_all(&w);
		do_reopen(&w, left % 2);
		check_all(&w);
		assert_int_equal(tide_disk_close(w.d, NULL), 0);
		world_fini(&w);
		assert_true(left < 5000);
	}
}

/* --- a store from elsewhere -------------------------------------------------- */

static void test_damaged_store(void **state)
{
	static uint8_t whole[4 << 20], buf[4096];
	struct tide_error err;
	struct world w;
	ssize_t length;
	int fd, refusals = 0;

	(void)state;
	rng = seed_of("cbt", 11) + 5;
	world_init(&w, MOST_BYTES);
	world_open(&w);
	for (int i = 0; i < 4; i++) {
		char name[4] = { 'k', (char)('0' + i) };

		assert_int_equal(cbt_checkpoint_create(&w.c, 1, name, false,
						       NULL), 0);
		assert_int_equal(tide_disk_write(w.d, i * 2097152, buf, 4096,
						 NULL), 0);
	}
	assert_int_equal(cbt_bitmap_add(w.c, "b", 4096, true, NULL), 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	fd = open(w.store, O_RDWR);
	length = pread(fd, whole, sizeof(whole), 0);
	assert_true(length > 8192 && length < (ssize_t)sizeof(whole));
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t at = below(40 * 4096); /* behind it are zeroes */
		uint8_t byte = (uint8_t)(whole[at] ^ 1u << below(8));

		assert_int_equal(__real_pwrite64(fd, &byte, 1, at), 1);
		if (cbt_open(&w.spy.disk, &w.o, &w.c, &err)) {
			assert_non_null(strstr(err.text, "disk.tidemark"));
			refusals++;
		} else {
			cbt_discard(w.c, true);
		}
		assert_int_equal(__real_pwrite64(fd, whole, 64 * 4096, 0),
				 64 * 4096);
		assert_int_equal(ftruncate(fd, length), 0);
	}
	assert_true(refusals > 0);
	assert_int_equal(ftruncate(fd, 5000), 0);
	assert_int_equal(cbt_open(&w.spy.disk, &w.o, &w.c, &err), -EINVAL);
	close(fd);
	world_fini(&w);
}

static void set_making(struct world *w, bool making)
{
	pthread_mutex_lock(&w->c->lock);
	cbt_catalog_find(&w->c->catalog, "g")->making = making;
	assert_int_equal(cbt_commit(w->c, NULL), 0);
	pthread_mutex_unlock(&w->c->lock);
}

/* Killed while the stores heard of one checkpoint: on both, or on none. */
static void settle_both(struct world *w, struct world *v, bool one_made)
{
	struct cbt *both[2] = { w->c, v->c };
	struct cbt_info info;

	assert_int_equal(cbt_checkpoint_create(both, 2, "g", false, NULL), 0);
	set_making(w, true);
	set_making(v, !one_made);
	world_kill(w);
	world_kill(v);
	world_open(w);
	world_open(v);
	both[0] = w->c;
	both[1] = v->c;
	cbt_settle_groups(both, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(cbt_info(both[i], "g", &info, NULL),
				 one_made ? 0 : -ENOENT);
		if (one_made)
			assert_int_equal(info.word, CBT_SAYS_RECORDING);
	}
}

/* One instant for several disks; names; who already tracks. */
static void test_several(void **state)
{
	struct world w, v;
	struct cbt *both[2], *third;
	struct cbt_info info, other;
	struct tide_error err;
	char kept[sizeof(folder)];

	(void)state;
	world_init(&w, MOST_BYTES);
	memcpy(kept, folder, sizeof(folder));
	world_init(&v, MOST_BYTES);
	world_open(&w);
	world_open(&v);
	both[0] = w.c;
	both[1] = v.c;
	assert_int_equal(cbt_checkpoint_create(both, 2, "k", false, NULL), 0);
	assert_int_equal(cbt_checkpoint_create(&v.c, 1, "only", false, NULL),
			 0);
	assert_int_equal(cbt_checkpoint_create(both, 2, "only", false, &err),
			 -EEXIST);
	assert_int_equal(cbt_info(w.c, "only", &info, NULL), -ENOENT);
	assert_int_equal(cbt_checkpoint_create(both, 2, "", false, &err),
			 -EINVAL);
	assert_int_equal(cbt_open(&w.spy.disk, &w.o, &third, &err), -EBUSY);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "p", true, NULL), 0);
	assert_int_equal(cbt_info(w.c, "p", &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_BUSY);
	assert_int_equal(cbt_info(w.c, "k", &other, NULL), 0);
	assert_memory_equal(info.parent, other.uuid, 16);
	world_kill(&w);
	world_open(&w);
	assert_int_equal(cbt_info(w.c, "p", &info, NULL), 0);
	assert_true(info.pending);
	assert_int_equal(cbt_checkpoint_settle(w.c, "p", true, NULL), 0);
	assert_int_equal(cbt_checkpoint_settle(w.c, "p", true, NULL), 0);
	assert_int_equal(cbt_checkpoint_settle(w.c, "p", false, &err),
			 -EINVAL);
	assert_int_equal(cbt_checkpoint_settle(w.c, "q", false, NULL), 0);
	assert_int_equal(cbt_bitmap_add(w.c, "b", 1000, true, &err), -EINVAL);
	assert_int_equal(cbt_bitmap_clear(w.c, "k", &err), -EINVAL);
	settle_both(&w, &v, false);
	settle_both(&w, &v, true);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	assert_int_equal(tide_disk_close(v.d, NULL), 0);
	world_fini(&v);
	memcpy(folder, kept, sizeof(folder));
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_power_cuts),
		cmocka_unit_test(test_power_in_process_mode),
		cmocka_unit_test(test_foreign_writes),
		cmocka_unit_test(test_writers_and_cuts),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_store_fails),
		cmocka_unit_test(test_intents_fail),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_damaged_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
