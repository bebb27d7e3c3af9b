/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk of one's own: memory, opened as "mem:BYTES". A queue's requests to it
 * are carried out by a thread of the driver, as those of a client library
 * would be; blocking calls do without.
 *
 *	cc driver.c $(pkg-config --cflags --libs tidemark-disk) -pthread
 *	./a.out
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tidemark/disk_driver.h>

struct memory {
	char *bytes;
	pthread_t thread;
	pthread_mutex_t lock;	/* first, end */
	pthread_cond_t came;
	struct tide_io *first;	/* parked, linked by scratch[0] */
	bool end;
};

static void copy(struct memory *m, bool out, uint64_t at,
		 const struct iovec *parts, uint32_t count)
{
	for (uint32_t i = 0; i < count; at += parts[i++].iov_len)
		if (out)
			memcpy(m->bytes + at, parts[i].iov_base,
			       parts[i].iov_len);
		else
			memcpy(parts[i].iov_base, m->bytes + at,
			       parts[i].iov_len);
}

static int mem_read(void *opaque, uint64_t at, const struct iovec *parts,
		    uint32_t count, struct tide_error *err)
{
	(void)err;
	copy(opaque, false, at, parts, count);
	return 0;
}

static int mem_write(void *opaque, uint64_t at, const struct iovec *parts,
		     uint32_t count, uint32_t flags, struct tide_error *err)
{
	(void)flags;
	(void)err;
	copy(opaque, true, at, parts, count);
	return 0;
}

/* On the queue's thread: for another one, and it is not touched again here. */
static bool mem_start(void *opaque, struct tide_io *io)
{
	struct memory *m = opaque;

	if ((io->op != TIDE_IO_READ && io->op != TIDE_IO_WRITE) ||
	    !tide_io_park(io))
		return false;	/* a worker calls what is above */
	pthread_mutex_lock(&m->lock);
	io->scratch[0] = (uint64_t)(uintptr_t)m->first;
	m->first = io;
	pthread_cond_signal(&m->came);
	pthread_mutex_unlock(&m->lock);
	return true;
}

static void *serve(void *opaque)
{
	struct memory *m = opaque;

	pthread_mutex_lock(&m->lock);
	while (m->first || !m->end) {
		struct tide_io *io = m->first;
		const struct iovec *parts;
		uint32_t count;

		if (!io) {
			pthread_cond_wait(&m->came, &m->lock);
			continue;
		}
		m->first = (struct tide_io *)(uintptr_t)io->scratch[0];
		pthread_mutex_unlock(&m->lock);
		parts = tide_io_parts(io, &count);
		copy(m, io->op == TIDE_IO_WRITE, io->offset_bytes, parts,
		     count);
		tide_io_unpark(io, 0);
		pthread_mutex_lock(&m->lock);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static int mem_close(void *opaque, struct tide_error *err)
{
	struct memory *m = opaque;

	(void)err;
	pthread_mutex_lock(&m->lock);
	m->end = true;
	pthread_cond_signal(&m->came);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	free(m->bytes);
	free(m);
	return 0;
}

static int mem_open(void *opaque, const char *path,
		    const struct tide_disk_options *options,
		    struct tide_disk **out, struct tide_error *err)
{
	static const struct tide_disk_calls calls = {
		.size = sizeof(calls), .name = "mem", .read = mem_read,
		.write = mem_write, .close = mem_close, .start = mem_start,
		.fua = true,
	};
	uint64_t size = strtoull(path + strlen("mem:"), NULL, 10);
	struct memory *m = calloc(1, sizeof(*m));
	int ret;

	(void)opaque;
	if (m)
		m->bytes = calloc(1, size);
	if (!m || !m->bytes) {
		free(m);
		return tide_error_set(err, -ENOMEM, "mem", TIDE_NO_OFFSET,
				      "%s: no memory", path);
	}
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->came, NULL);
	ret = -pthread_create(&m->thread, NULL, serve, m);
	if (ret) {
		free(m->bytes);
		free(m);
		return tide_error_set(err, ret, "mem", TIDE_NO_OFFSET,
				      "%s: no thread", path);
	}
	ret = tide_disk_create(&calls, m, path, size, options->writable, out,
			       err);
	if (ret)
		mem_close(m, NULL);
	return ret;
}

static void on_done(struct tide_io *io)
{
	*(int *)io->opaque = io->result ? io->result : 1;
}

/* What two parts wrote, one queued request reads. */
static int try_it(struct tide_disk *disk, struct tide_error *err)
{
	char text[] = "hello ", more[] = "disk", back[sizeof(text) +
							sizeof(more)] = "";
	const struct iovec parts[] = { { text, strlen(text) },
				       { more, sizeof(more) } };
	struct iovec whole = { back, strlen(text) + sizeof(more) };
	struct tide_queue *queue;
	int done = 0, ret;
	struct tide_io io = {
		.op = TIDE_IO_READ, .offset_bytes = 4096, .done = on_done,
		.length_bytes = whole.iov_len, .buf = back, .opaque = &done,
	};

	ret = tide_disk_writev(disk, 4096, parts, 2, TIDE_FUA, err);
	if (!ret)
		ret = tide_queue_create(4, &queue, err);
	if (ret)
		return ret;
	tide_queue_submit(queue, disk, &io);
	while (!done && ret >= 0)
		ret = tide_queue_poll(queue, true);
	printf("%s, by a queue %s io_uring\n", back,
	       tide_queue_uses_uring(queue) ? "on" : "without");
	tide_queue_destroy(queue);
	if (done != 1 || strcmp(back, "hello disk"))
		return -EIO;
	memset(back, 0, sizeof(back));
	ret = tide_disk_readv(disk, 4096, &whole, 1, err);
	return ret ? ret : strcmp(back, "hello disk") ? -EIO : 0;
}

int main(void)
{
	static const struct tide_disk_driver driver = {
		.size = sizeof(driver), .name = "mem", .scheme = "mem",
		.open = mem_open,
	};
	const struct tide_disk_options options = { .writable = true };
	struct tide_disk *disk;
	struct tide_error err = { .text = "" };
	int ret = tide_disk_register(&driver, &err);

	if (!ret)
		ret = tide_disk_open("mem:1048576", &options, &disk, &err);
	if (!ret) {
		ret = try_it(disk, &err);
		tide_disk_close(disk, NULL);
	}
	if (ret)
		fprintf(stderr, "driver: %s (%d)\n", err.text, ret);
	return ret ? 1 : 0;
}
