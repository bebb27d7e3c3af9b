/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qcow2/driver/create.h"
#include "rbd/disk.h"
#include "rbd/name.h"

#define ZEROES_BYTES (1u << 20)

static bool is_uri(const char *to)
{
	return !strncmp(to, "nbd://", 6) || !strncmp(to, "nbds://", 7) ||
	       !strncmp(to, "nbd+", 4) || !strncmp(to, "nbds+", 5);
}

static int file_error(const char *path, int code, struct tide_error *err)
{
	return tide_error_set(err, -code, "backup", TIDE_NO_OFFSET, "%s: %s",
			      path, strerror(code));
}

static int too_small(const char *to, uint64_t has, uint64_t needs,
		     struct tide_error *err)
{
	return tide_error_set(err, -ENOSPC, "backup", TIDE_NO_OFFSET,
			      "%.120s has %llu bytes, and the point %llu", to,
			      (unsigned long long)has,
			      (unsigned long long)needs);
}

static int open_nbd(struct backup_target *t, const char *uri, uint64_t size,
		    uint32_t jobs, struct tide_error *err)
{
	struct nbd_client_options o = { .connections = jobs,
					   .write = true };
	int ret = nbd_client_open(uri, &o, &t->nbd, err);

	if (!ret && nbd_client_size(t->nbd) < size)
		ret = too_small(uri, nbd_client_size(t->nbd), size, err);
	return ret;
}

static int open_device(struct backup_target *t, const char *path,
		       uint64_t size, struct tide_error *err)
{
	struct tide_disk_options o = { .format = "raw", .writable = true };
	int ret = tide_disk_open(path, &o, &t->disk, err);

	if (!ret && tide_disk_size(t->disk) < size)
		ret = too_small(path, tide_disk_size(t->disk), size, err);
	return ret;
}

static int make_raw(const char *path, uint64_t size, struct tide_error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int code;

	if (fd >= 0 && !ftruncate(fd, (off_t)size))
		return close(fd) ? file_error(path, errno, err) : 0;
	code = errno;
	if (fd >= 0)
		close(fd);
	return file_error(path, code, err);
}

static int make_file(struct backup_target *t, const char *format,
		     uint64_t size, struct tide_error *err)
{
	struct qcow2_create_options q = { .size_bytes = size,
					  .default_refcounts = true };
	struct tide_disk_options o = { .format = format, .writable = true };
	int ret;

	if (asprintf(&t->beside, "%s.new-%d", t->path, (int)getpid()) < 0) {
		t->beside = NULL;
		return file_error(t->path, ENOMEM, err);
	}
	ret = strcmp(format, "qcow2") ? make_raw(t->beside, size, err) :
					qcow2_create(t->beside, &q, err);
	if (ret) {
		free(t->beside); /* not ours to remove, or not there */
		t->beside = NULL;
		return ret;
	}
	t->fresh = true;
	return tide_disk_open(t->beside, &o, &t->disk, err);
}

static int open_path(struct backup_target *t, const char *format,
		     uint64_t size, struct tide_error *err)
{
	struct stat st;
	bool there = !stat(t->path, &st);

	if (!there && errno != ENOENT)
		return file_error(t->path, errno, err);
	if (there && S_ISBLK(st.st_mode))
		return strcmp(format, "raw") ?
			tide_error_set(err, -EINVAL, "backup", TIDE_NO_OFFSET,
				       "%s is a device: it is restored as raw",
				       t->path) :
			open_device(t, t->path, size, err);
	if (there && (!t->force || !S_ISREG(st.st_mode)))
		return tide_error_set(err, -EEXIST, "backup", TIDE_NO_OFFSET,
				      "%s is there already; --force replaces a "
				      "regular file", t->path);
	return make_file(t, format, size, err);
}

static int open_ceph(struct backup_target *t, const char *format, uint64_t size,
		     struct tide_error *err)
{
	if (strcmp(format, "raw"))
		return tide_error_set(err, -EINVAL, "backup", TIDE_NO_OFFSET,
				      "%.120s is an image of Ceph: it is "
				      "restored as raw", t->path);
	return ceph_target_open(t->path, size, t->force, &t->ceph, &t->disk,
				&t->fresh, err);
}

int target_open(struct backup_target *t, const char *to, const char *format,
		uint64_t size_bytes, uint32_t jobs, bool force,
		struct tide_error *err)
{
	int ret;

	*t = (struct backup_target){ .force = force, .path = strdup(to) };
	if (!t->path)
		return file_error(to, ENOMEM, err);
	if (is_uri(to))
		ret = open_nbd(t, to, size_bytes, jobs, err);
	else if (ceph_is_name(to))
		ret = open_ceph(t, format, size_bytes, err);
	else
		ret = open_path(t, format, size_bytes, err);
	if (ret)
		target_close(t, false, NULL);
	return ret;
}

int target_write(struct backup_target *t, uint32_t worker, uint64_t offset,
		 const void *buf, uint64_t length, struct tide_error *err)
{
	return t->nbd ? nbd_client_write(t->nbd, worker, offset, buf,
					 length, err) :
			tide_disk_write(t->disk, offset, buf, length, err);
}

static int write_zeroes(struct backup_target *t, uint32_t worker,
			uint64_t offset, uint64_t length,
			struct tide_error *err)
{
	uint8_t *zeroes = calloc(1, ZEROES_BYTES);
	int ret = zeroes ? 0 : file_error(t->path, ENOMEM, err);

	while (!ret && length) {
		uint64_t n = length < ZEROES_BYTES ? length : ZEROES_BYTES;

		ret = target_write(t, worker, offset, zeroes, n, err);
		offset += n;
		length -= n;
	}
	free(zeroes);
	return ret;
}

int target_zero(struct backup_target *t, uint32_t worker, uint64_t offset,
		uint64_t length, struct tide_error *err)
{
	int ret;

	if (t->fresh)
		return 0;
	ret = t->nbd ? nbd_client_zero(t->nbd, worker, offset, length,
				       err) :
		       tide_disk_zero(t->disk, offset, length,
				      TIDE_ZERO_MAY_UNMAP, err);
	return ret == -ENOTSUP || ret == -EOPNOTSUPP ?
		       write_zeroes(t, worker, offset, length, err) : ret;
}

int target_read(struct backup_target *t, uint32_t worker, uint64_t offset,
		void *buf, uint64_t length, struct tide_error *err)
{
	return t->nbd ? nbd_client_read(t->nbd, worker, offset, buf, length,
					err) :
			tide_disk_read(t->disk, offset, buf, length, err);
}

int target_flush(struct backup_target *t, struct tide_error *err)
{
	return t->nbd ? nbd_client_flush(t->nbd, err) :
			tide_disk_flush(t->disk, err);
}

static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) :
			       strdup(".");
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int ret = fd < 0 || fsync(fd) ? -1 : 0;

	if (fd >= 0)
		close(fd);
	free(folder);
	return ret;
}

/* From its name beside to its own. */
static int name_it(const struct backup_target *t, struct tide_error *err)
{
	int ret = t->force ? rename(t->beside, t->path) :
			     link(t->beside, t->path);

	if (ret || sync_folder(t->path))
		return file_error(t->path, errno, err);
	return 0;
}

int target_close(struct backup_target *t, bool whole, struct tide_error *err)
{
	int ret = t->disk ? tide_disk_close(t->disk, err) : 0;

	nbd_client_close(t->nbd);
	if (t->ceph && !ret)
		ret = ceph_target_close(t->ceph, whole, err);
	else
		ceph_target_close(t->ceph, false, NULL);
	if (t->beside && whole && !ret)
		ret = name_it(t, err);
	if (t->beside)
		unlink(t->beside);
	free(t->beside);
	free(t->path);
	memset(t, 0, sizeof(*t));
	return ret;
}
