/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench disk: 4 KiB at scattered places and 1 MiB in order, read and written
 * at depth 32 through the disk interface, against `qemu-img bench` on the same
 * file in the same run. Both visit the same places in the same order, and both
 * report the time from the first request to the last answer: opening, closing
 * and the flush at the end are outside. The image (one of the user's, or a raw
 * and a qcow2 one made here and filled) is in the page cache as far as it
 * fits, unless --direct is given.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "benches.h"
#include "disk/disk.h"
#include "disk/queue.h"

#define DEPTH 32u
#define MEBIBYTE (UINT64_C(1) << 20)
#define STEP_PAGES UINT64_C(50021) /* a prime: visits every page */

struct work {
	const char *name;
	enum tide_io_op op;
	uint64_t bytes, step, count;
};

struct world {
	const char *path, *format;
	const struct work *work;
	uint64_t size;
	bool direct;
	void *memory; /* one for all requests, as the rival has it */
	struct tide_disk *disk;
	struct tide_queue *queue;
	uint64_t at, left;
	int error;
};

static void next(struct world *w, struct tide_io *io)
{
	io->offset_bytes = w->at;
	w->at = (w->at + w->work->step) % w->size;
	w->left--;
	tide_queue_submit(w->queue, w->disk, io);
}

static void on_done(struct tide_io *io)
{
	struct world *w = io->opaque;

	if (io->result)
		w->error = io->result;
	if (w->left && !w->error)
		next(w, io);
}

enum how { USUAL, THREADS, NO_GUARD };

static int open_ours(struct world *w, enum how how)
{
	struct tide_disk_options o = {
		.format = w->format, .direct = w->direct,
		.no_guard = how == NO_GUARD,
		.writable = w->work->op == TIDE_IO_WRITE,
	};
	struct tide_error err;

	setenv("TIDEMARK_IO", how == THREADS ? "threads" : "", 1);
	if (!tide_disk_open(w->path, &o, &w->disk, &err) &&
	    !tide_queue_create(DEPTH, &w->queue, &err))
		return 0;
	fprintf(stderr, "tidemark bench: %s\n", err.text);
	return -1;
}

static void close_ours(struct world *w)
{
	tide_queue_destroy(w->queue);
	if (tide_disk_close(w->disk, NULL))
		w->error = -EIO;
	w->queue = NULL;
	w->disk = NULL;
}

static double drive(struct world *w)
{
	struct tide_io ios[DEPTH];
	uint64_t start = tide__now_ns();

	w->at = 0;
	w->left = w->work->count;
	for (unsigned int i = 0; i < DEPTH && w->left; i++) {
		ios[i] = (struct tide_io){
			.op = w->work->op, .length_bytes = w->work->bytes,
			.buf = w->memory,
			.done = on_done, .opaque = w,
		};
		next(w, &ios[i]);
	}
	while (tide_queue_pending(w->queue))
		if (tide_queue_poll(w->queue, true) < 0)
			w->error = -EIO;
	return (double)(tide__now_ns() - start);
}

static struct bench_found run_ours(struct world *w, enum how how)
{
	struct bench_found found = { 0 };

	if (open_ours(w, how) == 0)
		found.own_ns = drive(w);
	else
		w->error = -EIO;
	close_ours(w);
	found.pages = w->error ? 0 : w->work->count;
	return found;
}

static struct bench_found run_tidemark(void *w)
{
	return run_ours(w, USUAL);
}

static struct bench_found run_threads(void *w)
{
	return run_ours(w, THREADS);
}

static struct bench_found run_no_guard(void *w)
{
	return run_ours(w, NO_GUARD);
}

/* Start qemu-img bench; returns the end of the pipe of what it prints. */
static FILE *start_qemu(const struct world *w, const char *engine, pid_t *pid)
{
	char count[24], size[24], step[24];
	const char *argv[24] = { "qemu-img", "bench", "-c", count, "-d", "32",
				 "-s", size, "-S", step, "-f", w->format,
				 "-t", w->direct ? "none" : "writeback",
				 "-i", engine };
	int ends[2], n = 16;

	snprintf(count, sizeof(count), "%" PRIu64, w->work->count);
	snprintf(size, sizeof(size), "%" PRIu64, w->work->bytes);
	snprintf(step, sizeof(step), "%" PRIu64, w->work->step);
	if (w->work->op == TIDE_IO_WRITE)
		argv[n++] = "-w";
	argv[n] = w->path;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return NULL;
	*pid = fork();
	if (*pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(ends[1]);
	return fdopen(ends[0], "r");
}

static struct bench_found run_qemu(struct world *w, const char *engine)
{
	struct bench_found found = { 0 };
	double seconds = 0;
	char line[200];
	int status;
	pid_t pid;
	FILE *out = start_qemu(w, engine, &pid);

	if (!out || pid < 0)
		return found;
	while (fgets(line, sizeof(line), out))
		if (sscanf(line, "Run completed in %lf seconds", &seconds) == 1)
			found.own_ns = seconds * 1e9;
	fclose(out);
	if (waitpid(pid, &status, 0) == pid && !status && found.own_ns > 0)
		found.pages = w->work->count;
	return found;
}

static struct bench_found run_qemu_threads(void *w)
{
	return run_qemu(w, "threads");
}

static struct bench_found run_qemu_native(void *w)
{
	return run_qemu(w, "native");
}

static struct bench_found run_qemu_uring(void *w)
{
	return run_qemu(w, "io_uring");
}

static void measure(const struct bench_options *o, struct world *w)
{
	struct bench_entry entries[] = {
		{ .name = "tidemark", .run = run_tidemark },
		{ .name = "tidemark, threads", .run = run_threads },
		{ .name = "qemu-img, io_uring", .run = run_qemu_uring },
		{ .name = w->direct ? "qemu-img, native" : "qemu-img, threads",
		  .run = w->direct ? run_qemu_native : run_qemu_threads },
	};
	char row[32];

	snprintf(row, sizeof(row), "%s %s", w->format, w->work->name);
	bench_run(o, entries, 4, w);
	bench_print(o, "disk", row, entries, 4, 0, (double)w->work->count * 1e3,
		    "us/req");
}

/* The guard's price is small: only the two, in turn, and more often. */
static void measure_guard(const struct bench_options *o, struct world *w)
{
	struct bench_options often = *o;
	struct bench_entry entries[] = {
		{ .name = "tidemark", .run = run_tidemark },
		{ .name = "tidemark, no guard", .run = run_no_guard },
	};

	if (o->reps > 1 && 5 * o->reps <= BENCH_MAX_REPS)
		often.reps = 5 * o->reps;
	bench_run(&often, entries, 2, w);
	bench_print(o, "disk", "guard 4K write", entries, 2, 0,
		    (double)w->work->count * 1e3, "us/req");
}

static int measure_image(const struct bench_options *o, const char *path,
			 const char *format)
{
	uint64_t small = o->quick ? 10000 : 200000;
	uint64_t large = o->quick ? 200 : 4000;
	const struct work works[] = {
		{ "4K read", TIDE_IO_READ, 4096, STEP_PAGES * 4096, small },
		{ "4K write", TIDE_IO_WRITE, 4096, STEP_PAGES * 4096, small },
		{ "1M read", TIDE_IO_READ, MEBIBYTE, MEBIBYTE, large },
		{ "1M write", TIDE_IO_WRITE, MEBIBYTE, MEBIBYTE, large },
	};
	struct world w = { .path = path, .format = format,
			   .direct = o->direct };
	struct tide_disk_options options = { .format = format };
	struct tide_error err;
	int ret = tide_disk_open(path, &options, &w.disk, &err);

	if (ret) {
		fprintf(stderr, "tidemark bench: %s\n", err.text);
		return ret != -ENOTSUP;
	}
	w.size = tide_disk_size(w.disk) / MEBIBYTE * MEBIBYTE;
	tide_disk_close(w.disk, NULL);
	if (!w.size) {
		fprintf(stderr, "tidemark bench: %s is too small\n", path);
		return 1;
	}
	w.memory = bench_memory(MEBIBYTE, false);
	memset(w.memory, 0xa5, MEBIBYTE);
	for (unsigned int i = 0; i < 4 && !w.error; i++) {
		w.work = &works[i];
		measure(o, &w);
		if (i == 1 && !strcmp(format, "qcow2"))
			measure_guard(o, &w);
	}
	bench_free(w.memory, MEBIBYTE);
	return w.error != 0;
}

/* Run a command of up to 7 words; 0 if it succeeded. */
static int command(const char *const argv[])
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		dup2(null, STDOUT_FILENO);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return status;
}

/* An image of @size that holds data everywhere, made by the rival. */
static int make_image(const char *path, const char *format, const char *size,
		      const char *fill)
{
	const char *create[] = { "qemu-img", "create", "-f", format, path,
				 size, NULL };
	const char *write[] = { "qemu-img", "bench", "-w", "-s", "1M", "-c",
				fill, "-f", format, path, NULL };

	return command(create) || command(write);
}

static int measure_made(const struct bench_options *o, const char *format)
{
	const char *dir = getenv("TMPDIR");
	char path[4096];
	int ret;

	snprintf(path, sizeof(path), "%s/tidemark-bench.%d.%s",
		 dir ? dir : "/var/tmp", (int)getpid(), format);
	ret = make_image(path, format, o->quick ? "128M" : "1G",
			 o->quick ? "128" : "1024");
	if (ret)
		fprintf(stderr, "tidemark bench: disk: qemu-img could not make "
			"%s\n", path);
	else
		ret = measure_image(o, path, format);
	unlink(path);
	return ret;
}

int bench_disk(const struct bench_options *options)
{
	static const char *const rival[] = { "qemu-img", "--version", NULL };
	/* The work is done by threads and by other programs. */
	struct bench_options by_clock = *options;
	const struct bench_options *o = &by_clock;
	int ret;

	by_clock.cpu = false;
	if (command(rival)) {
		fprintf(stderr, "tidemark bench: disk: no qemu-img, no "
			"comparison\n");
		return 0;
	}
	if (o->image)
		return measure_image(o, o->image,
				     o->format ? o->format : "raw");
	ret = measure_made(o, "raw");
	return measure_made(o, "qcow2") || ret;
}
