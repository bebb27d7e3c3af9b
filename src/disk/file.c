/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file driver: raw images in regular files, and block devices.
 *
 * Caching is left to the kernel, unless O_DIRECT is requested. A write is
 * durable after fdatasync. The file is locked against a second writer
 * (file_lock.c); reading and writing are in file_rw.c, zeroes and holes in
 * file_space.c.
 */
#include "disk/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "disk/disk_internal.h"

#define MAX_ALIGNMENT 4096u

int file__fail(const struct file *f, int code, const char *what,
	       uint64_t offset_bytes, struct tide_error *err)
{
	return tide_error_set(err, code, "file", offset_bytes, "%s: %s: %s",
			      f->disk.path, what, strerror(-code));
}

int file__sync(const struct file *f)
{
	int ret;

	do
		ret = fdatasync(f->fd);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

static int file_flush(struct tide_disk *d, struct tide_error *err)
{
	const struct file *f = file_of(d);
	int ret = file__sync(f);

	return ret ? file__fail(f, ret, "flushing", TIDE_NO_OFFSET, err) : 0;
}

static int file_real_size(struct tide_disk *d, uint64_t *size_bytes,
			  struct tide_error *err)
{
	struct file *f = file_of(d);
	uint64_t bytes;
	struct stat st;

	if (f->device ? ioctl(f->fd, BLKGETSIZE64, &bytes) < 0
		      : fstat(f->fd, &st) < 0)
		return file__fail(f, -errno, "learning its size",
				  TIDE_NO_OFFSET, err);
	*size_bytes = f->device ? bytes : (uint64_t)st.st_size;
	return 0;
}

/* Under the lock: to the size that it has already, or to another. */
static int change_size(struct file *f, uint64_t size_bytes,
		       struct tide_error *err)
{
	uint64_t real;
	int ret = file_real_size(&f->disk, &real, err);

	if (ret || real == size_bytes)
		return ret;
	if (f->device)
		return tide_error_set(err, -ENOTSUP, "file", size_bytes,
				      "%s is a block device of %" PRIu64
				      " bytes: its size is not ours to change",
				      f->disk.path, real);
	if (ftruncate(f->fd, (off_t)size_bytes) < 0)
		return file__fail(f, -errno, "resizing", size_bytes, err);
	return 0;
}

static int file_resize(struct tide_disk *d, uint64_t size_bytes,
		       struct tide_error *err)
{
	struct file *f = file_of(d);
	int ret;

	pthread_mutex_lock(&f->resize_lock);
	ret = change_size(f, size_bytes, err);
	if (!ret) /* Pairs with the acquire in tide_disk_size. */
		tide__store_release(&d->size_bytes, size_bytes);
	pthread_mutex_unlock(&f->resize_lock);
	return ret;
}

static void file_free(struct file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	pthread_cond_destroy(&f->blocks_free);
	pthread_mutex_destroy(&f->blocks_lock);
	pthread_mutex_destroy(&f->resize_lock);
	free(f->disk.path);
	free(f);
}

static int file_close(struct tide_disk *d, struct tide_error *err)
{
	int ret = tide_disk_flush(d, err);

	file_free(file_of(d));
	return ret;
}

/* Around the page cache nobody else is to fill it. */
static int file_reader_fd(struct tide_disk *d)
{
	const struct file *f = file_of(d);
	char name[64];
	int fd;

	if (f->direct)
		return -ENOTSUP;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", f->fd);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static const struct tide_disk_ops file_ops = {
	.name = "file",
	.readv = file__readv,
	.writev = file__writev,
	.zero = file__zero,
	.discard = file__discard,
	.flush = file_flush,
	.status = file__status,
	.resize = file_resize,
	.real_size = file_real_size,
	.reader_fd = file_reader_fd,
	.close = file_close,
	.start = file__start,
	.fua = true,
};

/* The smallest block that O_DIRECT reads here; the file's first one says. */
static uint32_t probe_alignment(const struct file *f)
{
	char *memory = aligned_alloc(MAX_ALIGNMENT, 2 * MAX_ALIGNMENT);
	uint32_t bytes = 512;

	while (memory && bytes < MAX_ALIGNMENT &&
	       pread(f->fd, memory + bytes, bytes, bytes) != (ssize_t)bytes)
		bytes *= 2;
	free(memory);
	return memory ? bytes : MAX_ALIGNMENT;
}

static int learn_size(struct file *f, struct tide_error *err)
{
	struct stat st;
	uint64_t bytes = 0;
	int sector = 512;

	if (fstat(f->fd, &st) < 0)
		return file__fail(f, -errno, "opening", TIDE_NO_OFFSET, err);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return tide_error_set(err, S_ISDIR(st.st_mode) ? -EISDIR
							       : -EINVAL,
				      "file", TIDE_NO_OFFSET,
				      "%s is neither a regular file nor a "
				      "block device", f->disk.path);
	f->device = S_ISBLK(st.st_mode);
	f->disk.fixed_size = f->device;
	f->block_bytes = 1;
	f->disk.alignment_bytes = 1;
	f->disk.size_bytes = (uint64_t)st.st_size;
	if (f->device) {
		if (ioctl(f->fd, BLKGETSIZE64, &bytes) < 0 ||
		    ioctl(f->fd, BLKSSZGET, &sector) < 0)
			return file__fail(f, -errno, "learning its size",
					  TIDE_NO_OFFSET, err);
		f->disk.size_bytes = bytes;
		f->block_bytes = (uint32_t)sector;
	}
	if (f->direct)
		f->disk.alignment_bytes = f->device ? f->block_bytes
						    : probe_alignment(f);
	return 0;
}

static int file_new(const char *path, const struct tide_disk_options *options,
		    struct file **out, struct tide_error *err)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f || !(f->disk.path = strdup(path))) {
		free(f);
		return tide_error_set(err, -ENOMEM, "file", TIDE_NO_OFFSET,
				      "%s: no memory", path);
	}
	f->disk.ops = &file_ops;
	f->disk.writable = options->writable;
	f->direct = options->direct;
	f->fd = -1;
	pthread_mutex_init(&f->resize_lock, NULL);
	pthread_mutex_init(&f->blocks_lock, NULL);
	pthread_cond_init(&f->blocks_free, NULL);
	*out = f;
	return 0;
}

/* O_NONBLOCK: a fifo is to be refused, not waited for. */
static int file_open_fd(struct file *f, struct tide_error *err)
{
	int mode = (f->disk.writable ? O_RDWR : O_RDONLY) |
		   (f->direct ? O_DIRECT : 0);

	f->fd = open(f->disk.path, mode | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0 && errno == EINVAL && f->direct)
		return tide_error_set(err, -EINVAL, "file", TIDE_NO_OFFSET,
				      "%s: its file system has no O_DIRECT",
				      f->disk.path);
	if (f->fd < 0)
		return file__fail(f, -errno, "opening", TIDE_NO_OFFSET, err);
	return 0;
}

int tide_disk_open_file(const char *path,
			const struct tide_disk_options *options,
			struct tide_disk **out, struct tide_error *err)
{
	struct tide_disk_options o;
	struct file *f = NULL;
	int ret = tide__disk_options_take(&o, path, options, err);

	if (ret)
		return ret;
	if (o.open_file)
		return o.open_file(path, &o, out, err);
	ret = file_new(path, &o, &f, err);
	if (ret)
		return ret;
	ret = file_open_fd(f, err);
	if (!ret)
		ret = learn_size(f, err);
	if (!ret && !o.no_lock)
		ret = file__lock(f, err);
	if (ret) {
		file_free(f);
		return ret;
	}
	*out = &f->disk;
	return 0;
}
