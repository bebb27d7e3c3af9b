/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guarded disk in one page: make an image, write it through a queue, see what
 * lies where, ask the map of its metadata, check it.
 *
 *	cc disk.c $(pkg-config --cflags --libs tidemark-disk)
 *	./a.out [FOLDER]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tidemark/disk.h>
#include <tidemark/qcow2.h>
#include <tidemark/queue.h>

#define DISK_BYTES (64ull << 20)
#define REQUESTS 32
#define PIECE 4096

static int fail(const char *what, const struct tide_error *err)
{
	fprintf(stderr, "disk: %s: %s\n", what, err->text);
	return 1;
}

static void on_done(struct tide_io *io)
{
	if (io->result)
		++*(int *)io->opaque;
}

/* Many writes in flight from one thread, each in two parts, each durable. */
static int write_many(struct tide_disk *disk, struct tide_error *err)
{
	static char head[512], body[PIECE - 512];
	const struct iovec parts[2] = { { head, sizeof(head) },
					{ body, sizeof(body) } };
	struct tide_io io[REQUESTS];
	struct tide_queue *queue;
	int failed = 0, ret = tide_queue_create(REQUESTS, &queue, err);

	if (ret)
		return ret;
	memset(head, 'h', sizeof(head));
	memset(body, 'b', sizeof(body));
	memset(io, 0, sizeof(io));
	for (int i = 0; i < REQUESTS; i++) {
		io[i].op = TIDE_IO_WRITE;
		io[i].flags = TIDE_FUA;
		io[i].offset_bytes = (uint64_t)i * (1 << 20);
		io[i].length_bytes = PIECE;
		io[i].iov = parts;
		io[i].iov_count = 2;
		io[i].done = on_done;
		io[i].opaque = &failed;
		tide_queue_submit(queue, disk, &io[i]);
	}
	while (tide_queue_pending(queue) && ret >= 0)
		ret = tide_queue_poll(queue, true);
	tide_queue_destroy(queue);
	if (ret >= 0 && !failed)
		return 0;
	return tide_error_set(err, -5, "example", TIDE_NO_OFFSET,
			      "%d requests failed", failed);
}

static int show(struct tide_disk *disk, struct tide_error *err)
{
	struct tide_disk_extent x;
	uint64_t data = 0;
	int ret;

	for (uint64_t at = 0; at < tide_disk_size(disk); at += x.length_bytes) {
		ret = tide_disk_status(disk, at, tide_disk_size(disk) - at, &x,
				       err);
		if (ret)
			return ret;
		if (!(x.flags & (TIDE_EXTENT_HOLE | TIDE_EXTENT_ZERO)))
			data += x.length_bytes;
	}
	printf("%" PRIu64 " of %" PRIu64 " bytes are in clusters\n", data,
	       tide_disk_size(disk));
	return 0;
}

static int use(const char *path, struct tide_error *err)
{
	const struct tide_disk_options options = {
		.size = sizeof(options), .format = "qcow2", .writable = true,
	};
	struct tide_disk *disk;
	int ret = tide_disk_open(path, &options, &disk, err), closed;

	if (ret)
		return ret;
	ret = write_many(disk, err);
	if (!ret)
		ret = tide_disk_zero(disk, 0, 1 << 20, TIDE_ZERO_MAY_UNMAP,
				     err);
	if (!ret)
		ret = tide_disk_discard(disk, 2 << 20, 1 << 20, err);
	if (!ret)
		ret = tide_disk_resize(disk, 2 * DISK_BYTES, err);
	if (!ret)
		ret = tide_disk_flush(disk, err);
	if (!ret)
		ret = show(disk, err);
	closed = tide_disk_close(disk, ret ? NULL : err);
	return ret ? ret : closed;
}

/* What a driver of one's own asks before it writes into the file. */
static int ask(const char *path, struct tide_error *err)
{
	struct tide_kinds_hit hit;
	struct tide_kinds *kinds;
	int ret = tide_qcow2_kinds(path, 0, &kinds, err);

	if (ret)
		return ret;
	if (tide_kinds_check(kinds, 0, 512, 0, &hit))
		printf("a write at 0 would hit the %s\n",
		       tide_kind_name(TIDE_KIND_HEADER));
	tide_kinds_destroy(kinds);
	return 0;
}

static void say(void *opaque, const struct tide_qcow2_problem *problem)
{
	(void)opaque;
	printf("%s\n", problem->text);
}

int main(int argc, char **argv)
{
	const struct tide_qcow2_create_options create = {
		.size = sizeof(create), .disk_bytes = DISK_BYTES,
	};
	struct tide_qcow2_verdict verdict = { .size = sizeof(verdict) };
	struct tide_error err;
	char path[4096];

	snprintf(path, sizeof(path), "%s/example-%ld.qcow2",
		 argc > 1 ? argv[1] : "/tmp", (long)getpid());
	if (tide_qcow2_create(path, &create, &err))
		return fail("create", &err);
	if (use(path, &err) || ask(path, &err) ||
	    tide_qcow2_repair(path, 0, NULL, NULL, &err) ||
	    tide_qcow2_check(path, 0, say, NULL, &verdict, &err)) {
		unlink(path);
		return fail(path, &err);
	}
	printf("%" PRIu64 " corruptions, %" PRIu64 " leaks, %" PRIu64
	       " clusters with data\n", verdict.corruptions,
	       verdict.found[TIDE_QCOW2_LEAK], verdict.data_clusters);
	unlink(path);
	return verdict.corruptions || verdict.found[TIDE_QCOW2_LEAK] ||
	       verdict.data_clusters != REQUESTS - 2;
}
