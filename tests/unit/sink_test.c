/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine with another sink than the wire: a plain file, page n at n times
 * 4096, written by several lanes while somebody writes to the memory, then read
 * back and compared. And sinks that fail, at every step.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/atomic.h"
#include "rounds/slot_space.h"

#define PAGES 1024u
#define BYTES (PAGES * (size_t)TIDE_PAGE_BYTES)
#define LANES 3u

enum step { NEVER, OPEN, CHANGE, BEGIN, DATA, ZEROS, END, COMMIT, STEPS };

struct file_sink {
	struct tide__sink sink;		/* first */
	int fd;
	uint64_t bytes;
	unsigned int begun, ended, committed, changes;
	enum step fail_at;
	unsigned int fail_after;	/* that many of them succeed */
};

static int maybe_fail(struct file_sink *f, enum step step,
		      struct tide_error *err)
{
	if (f->fail_at != step || __atomic_fetch_sub(&f->fail_after, 1,
						      __ATOMIC_SEQ_CST))
		return 0;
	return tide_error_set(err, -ENOSPC, "file", TIDE_NO_OFFSET,
			      "the disk is full");
}

static int sink_open(struct tide__sink *sink, const struct tide__layout *layout,
		     struct tide_error *err)
{
	assert_true(layout->count >= 2);
	return maybe_fail((struct file_sink *)sink, OPEN, err);
}

static int sink_change(struct tide__sink *sink,
		       const struct tide__layout *layout,
		       struct tide_error *err)
{
	((struct file_sink *)sink)->changes++;
	assert_int_equal(layout->count, 3);
	return maybe_fail((struct file_sink *)sink, CHANGE, err);
}

static int sink_begin(struct tide__sink *sink, unsigned int round,
		      enum tide_round_kind kind, struct tide_error *err)
{
	struct file_sink *f = (struct file_sink *)sink;

	assert_int_equal(round, f->committed);
	assert_int_equal(f->begun, f->committed);
	assert_true((round == 0) == (kind == TIDE_ROUND_BULK));
	f->begun++;
	f->ended = 0;
	return maybe_fail(f, BEGIN, err);
}

static int put(struct file_sink *f, uint64_t first, uint32_t pages,
	       const void *data)
{
	size_t len = pages * (size_t)TIDE_PAGE_BYTES;

	assert_int_equal(pwrite(f->fd, data, len,
				(off_t)(first * TIDE_PAGE_BYTES)), len);
	tide__add_relaxed(&f->bytes, len);
	return 0;
}

static int sink_data(struct tide__sink *sink, unsigned int lane, uint64_t first,
		     uint32_t pages, const void *data, struct tide_error *err)
{
	assert_true(lane < LANES && pages <= TIDE__PIECE_PAGES);
	put((struct file_sink *)sink, first, pages, data);
	return maybe_fail((struct file_sink *)sink, DATA, err);
}

static int sink_zeros(struct tide__sink *sink, unsigned int lane,
		      uint64_t first, uint32_t pages, struct tide_error *err)
{
	static const char zeros[TIDE__PIECE_BYTES];

	assert_true(lane < LANES && pages <= TIDE__PIECE_PAGES);
	put((struct file_sink *)sink, first, pages, zeros);
	return maybe_fail((struct file_sink *)sink, ZEROS, err);
}

static int sink_end(struct tide__sink *sink, unsigned int lane,
		    unsigned int round, struct tide_error *err)
{
	struct file_sink *f = (struct file_sink *)sink;

	assert_true(lane < LANES);
	assert_int_equal(round + 1, f->begun);
	__atomic_fetch_add(&f->ended, 1, __ATOMIC_SEQ_CST);
	return maybe_fail(f, END, err);
}

static int sink_commit(struct tide__sink *sink, unsigned int round,
		       struct tide_error *err)
{
	struct file_sink *f = (struct file_sink *)sink;

	assert_int_equal(f->ended, LANES);
	assert_int_equal(round, f->committed);
	f->committed++;
	return maybe_fail(f, COMMIT, err);
}

static uint64_t sink_bytes(const struct tide__sink *sink)
{
	return tide__load_relaxed(&((const struct file_sink *)sink)->bytes);
}

static const struct tide__sink_ops file_ops = {
	.open = sink_open,
	.change = sink_change,
	.begin = sink_begin,
	.data = sink_data,
	.zeros = sink_zeros,
	.end = sink_end,
	.commit = sink_commit,
	.bytes = sink_bytes,
};

struct world {
	unsigned char *memory;
	struct tide_slots *slots;
	struct tide_set *set;
	struct file_sink sink;
	struct tide__slot_space space;
	struct tide__engine engine;
	pthread_t writer;
	bool quit, plugged, late_write;
	unsigned int pauses;
};

static void write_page(struct world *w, uint64_t page, unsigned char byte)
{
	memset(w->memory + page * TIDE_PAGE_BYTES, byte, TIDE_PAGE_BYTES);
	tide_set_mark(w->set, page);
}

static void *writer_main(void *arg)
{
	struct world *w = arg;

	for (unsigned int i = 0; !tide__load_seqcst(&w->quit); i++) {
		const struct timespec nap = { 0, 20000 };

		write_page(w, (i * 37u) % (PAGES / 4), (unsigned char)(i % 5));
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static int harvest(void *o, struct tide_set *set, struct tide_error *err)
{
	struct world *w = o;
	struct tide_slot more = { 3, 0, BYTES / 4 * 3, BYTES / 8,
				  w->memory + BYTES / 4 * 3 };

	(void)set;
	(void)err;
	/* In the second round: nobody marks what is in it. */
	if (w->sink.committed == 1 && !w->plugged) {
		w->plugged = true;
		memset(more.host, 0x77, more.len_bytes);
		assert_int_equal(tide_slots_insert(w->slots, &more, NULL), 0);
	}
	return 0;
}

static int pause_it(void *o, struct tide_error *err)
{
	struct world *w = o;

	(void)err;
	tide__store_seqcst(&w->quit, true);
	if (!w->pauses++)
		pthread_join(w->writer, NULL);
	return 0;
}

static int resume(void *o, struct tide_error *err)
{
	(void)o;
	(void)err;
	return 0;
}

static const struct tide_precopy_ops guest_ops = {
	.harvest = harvest, .pause = pause_it, .resume = resume,
};

static void begin(struct world *w)
{
	struct tide_slot a = { 1, 0, 0, BYTES / 4, NULL }, b = a;
	char path[] = "/tmp/tidemark-sink-XXXXXX";

	memset(w, 0, sizeof(*w));
	w->memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	a.host = w->memory;
	b = (struct tide_slot){ 2, 0, BYTES / 2, BYTES / 4,
				w->memory + BYTES / 2 };
	assert_int_equal(tide_slots_create(&w->slots, NULL), 0);
	assert_int_equal(tide_slots_insert(w->slots, &a, NULL), 0);
	assert_int_equal(tide_slots_insert(w->slots, &b, NULL), 0);
	assert_int_equal(tide_set_create(&w->set, PAGES, NULL), 0);
	for (unsigned int p = 0; p < PAGES; p += 3)
		w->memory[p * (size_t)TIDE_PAGE_BYTES + p] = 1;
	w->sink.sink = (struct tide__sink){ &file_ops, LANES };
	w->sink.fd = mkstemp(path);
	assert_true(w->sink.fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(w->sink.fd, BYTES), 0);
	pthread_create(&w->writer, NULL, writer_main, w);
}

static int copy(struct world *w, struct tide_error *err)
{
	struct tide_precopy_options o;
	int ret;

	tide_precopy_defaults(&o);
	o.downtime_target_ns = 1;
	o.max_rounds = 4;
	o.auto_stop_over_target = true;
	tide_error_clear(err);
	tide__slot_space_init(&w->space, w->slots, &guest_ops, w);
	tide__engine_init(&w->engine, &w->space.space, &w->sink.sink, w->set,
			  &guest_ops, w, &o);
	ret = tide__engine_rounds(&w->engine, err);
	if (!ret)
		ret = tide__engine_stop(&w->engine, err);
	if (!ret && w->late_write)
		write_page(w, 5, 0x99);
	if (!ret)
		ret = tide__engine_check_still(&w->engine, err);
	if (ret)
		tide__engine_undo(&w->engine);
	tide__engine_resume(&w->engine);
	tide__engine_fini(&w->engine);
	return ret;
}

static void end(struct world *w)
{
	pause_it(w, NULL);
	close(w->sink.fd);
	tide_slots_destroy(w->slots);
	tide_set_destroy(w->set);
	munmap(w->memory, BYTES);
}

static void assert_copied(struct world *w)
{
	unsigned char *file = malloc(BYTES);
	struct tide_slot s;
	uint64_t from = 0;

	assert_int_equal(pread(w->sink.fd, file, BYTES, 0), BYTES);
	while (tide_slots_next(w->slots, from, &s)) {
		from = s.gpa_bytes + s.len_bytes;
		assert_memory_equal(file + s.gpa_bytes, s.host, s.len_bytes);
	}
	free(file);
}

static void a_plain_file(void **state)
{
	struct tide_error err;
	struct world w;

	(void)state;
	begin(&w);
	if (copy(&w, &err))
		fail_msg("%s: %s", err.origin, err.text);
	assert_true(w.plugged);
	assert_int_equal(w.sink.changes, 1);
	assert_true(w.sink.committed >= 3);
	assert_copied(&w);
	assert_int_equal(tide_set_count(w.set), 0);
	end(&w);
}

/* Whatever fails, its words come back and all of the slots is dirty. */
static void sinks_that_fail(void **state)
{
	(void)state;
	for (unsigned int step = OPEN; step < STEPS; step++)
		for (unsigned int after = 0; after < 3; after += 2) {
			struct tide_error err;
			struct world w;
			int ret;

			begin(&w);
			w.sink.fail_at = (enum step)step;
			w.sink.fail_after = after;
			ret = copy(&w, &err);
			/*
			 * Opened and changed once only: then it did not fail.
			 */
			if (!ret && after && step <= CHANGE) {
				assert_copied(&w);
				end(&w);
				continue;
			}
			pause_it(&w, NULL);
			assert_int_equal(ret, -ENOSPC);
			assert_string_equal(err.text, "the disk is full");
			assert_int_equal(tide_set_count(w.set),
					 PAGES / (w.plugged ? 8 : 2) *
					 (w.plugged ? 5 : 1));
			end(&w);
		}
}

static void a_late_write(void **state)
{
	struct tide_error err;
	struct world w;

	(void)state;
	begin(&w);
	w.late_write = true;
	assert_int_equal(copy(&w, &err), -ESTALE);
	assert_non_null(strstr(err.text, "page 0x5000"));
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_file),
		cmocka_unit_test(sinks_that_fail),
		cmocka_unit_test(a_late_write),
	};

	return cmocka_run_group_tests_name("sink", tests, NULL, NULL);
}
