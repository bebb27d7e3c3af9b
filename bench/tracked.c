/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench tracked: what tracking adds to a write. 4 KiB at scattered places of a
 * raw file in the page cache, through a queue as the server drives it, without
 * and with a tracker that survives a killed process. The figure is CPU time: a
 * wait for the disk, or for a processor, would hide what is looked for. Made
 * for the occasion in TMPDIR, or /tmp.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "benches.h"
#include "cbt/filter.h"
#include "disk/queue.h"
#include "measure.h"

#define DEPTH 32u
#define BYTES 4096u
#define FILE_BYTES (UINT64_C(256) << 20)
#define STEP_BYTES (UINT64_C(50021) * BYTES) /* a prime: visits every page */

struct world {
	char folder[256], path[300], store[300];
	uint8_t buf[BYTES];
	struct tide_disk *disk;
	struct tide_queue *queue;
	uint64_t at, left, count;
	bool failed;
};

static void next(struct world *w, struct tide_io *io)
{
	io->offset_bytes = w->at;
	w->at = (w->at + STEP_BYTES) % FILE_BYTES;
	w->left--;
	tide_queue_submit(w->queue, w->disk, io);
}

static void on_done(struct tide_io *io)
{
	struct world *w = io->opaque;

	w->failed |= io->result != 0;
	if (w->left && !w->failed)
		next(w, io);
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double drive(struct world *w)
{
	struct tide_io ios[DEPTH];
	double start = cpu_ns();

	w->at = 0;
	w->left = w->count;
	/* In place: done, and followed up, before submit ends. */
	for (uint32_t i = 0; i < DEPTH && w->left; i++) {
		ios[i] = (struct tide_io){ .op = TIDE_IO_WRITE,
					   .length_bytes = BYTES,
					   .buf = w->buf, .done = on_done,
					   .opaque = w };
		next(w, &ios[i]);
	}
	while (tide_queue_pending(w->queue))
		w->failed |= tide_queue_poll(w->queue, true) < 0;
	return cpu_ns() - start;
}

static int track(struct world *w, struct tide_error *err)
{
	struct cbt_options o = { .store_path = w->store,
				 .live_folder = w->folder };
	struct tide_disk *filter;
	struct cbt *c;
	int ret = cbt_open(w->disk, &o, &c, err);

	if (!ret)
		ret = cbt_filter_create(w->disk, c, &filter, err);
	if (!ret)
		w->disk = filter;
	return ret;
}

static struct bench_found run(struct world *w, bool tracked)
{
	const struct tide_disk_options o = { .format = "raw",
					     .writable = true };
	struct bench_found found = { 0 };
	struct tide_error err;
	int ret = tide_disk_open(w->path, &o, &w->disk, &err);

	if (!ret && tracked)
		ret = track(w, &err);
	if (!ret)
		ret = tide_queue_create(DEPTH, &w->queue, &err);
	if (ret) {
		fprintf(stderr, "tidemark bench: %s\n", err.text);
		w->failed = true;
		return found;
	}
	tide__queue_in_place(w->queue, true);
	found.own_ns = drive(w);
	tide_queue_destroy(w->queue);
	w->failed |= tide_disk_close(w->disk, NULL) != 0;
	found.pages = w->failed ? 0 : w->count;
	return found;
}

static struct bench_found run_tracked(void *world)
{
	return run(world, true);
}

static struct bench_found run_plain(void *world)
{
	return run(world, false);
}

/* Written, so that no write has to find a place for its block. */
static bool make_file(struct world *w)
{
	FILE *f = fopen(w->path, "w");

	for (uint64_t at = 0; f && at < FILE_BYTES; at += BYTES)
		w->failed |= fwrite(w->buf, BYTES, 1, f) != 1;
	return f && !fclose(f) && !w->failed;
}

int bench_tracked(const struct bench_options *o)
{
	struct bench_entry entries[] = {
		{ .name = "tracked", .run = run_tracked },
		{ .name = "not tracked", .run = run_plain },
	};
	const char *base = getenv("TMPDIR");
	struct world w = { .count = o->quick ? 50000 : 200000 };

	memset(w.buf, 7, sizeof(w.buf));
	snprintf(w.folder, sizeof(w.folder), "%.200s/bench-tracked.XXXXXX",
		 base ? base : "/tmp");
	if (!mkdtemp(w.folder)) {
		perror(w.folder);
		return 1;
	}
	snprintf(w.path, sizeof(w.path), "%s/disk", w.folder);
	snprintf(w.store, sizeof(w.store), "%s/store", w.folder);
	if (make_file(&w)) {
		bench_run(o, entries, 2, &w);
		bench_print(o, "tracked", "raw 4K write", entries, 2, 0,
			    (double)w.count * 1e3, "us/req");
	}
	unlink(w.path);
	unlink(w.store);
	rmdir(w.folder);
	return w.failed;
}
