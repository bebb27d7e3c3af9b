/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

static bool is_of(const struct stat *st, const struct tide__ram_area *a)
{
	return st->st_ino == a->inode &&
	       ((uint64_t)major(st->st_dev) << 32 | minor(st->st_dev)) ==
		   a->device;
}

/* The process has it open, too, mostly: then it takes no privilege. */
static int open_descriptor(int pid, const struct tide__ram_area *a, int flags)
{
	char path[32];
	struct dirent *e;
	struct stat st;
	int fd = -1;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && fd < 0 && (e = readdir(d)))
		if (!fstatat(dirfd(d), e->d_name, &st, 0) && is_of(&st, a))
			fd = openat(dirfd(d), e->d_name, flags | O_CLOEXEC);
	if (d)
		closedir(d);
	return fd;
}

/*
 * The file behind a shared mapping. Behind a private one there is one, too,
 * which knows nothing of what was written to memory.
 */
static int open_file(int pid, const struct tide__ram_area *a, int flags)
{
	char path[80];
	struct stat st;
	int fd;

	if (a->kind != TIDE__MAP_SHMEM || !a->inode)
		return -1;
	/* A mapping that was cut in pieces is not found under its whole. */
	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid,
		 (unsigned long long)a->start,
		 (unsigned long long)(a->start + a->len_bytes));
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		fd = open_descriptor(pid, a, flags);
	if (fd < 0 || (!fstat(fd, &st) && is_of(&st, a)))
		return fd;
	close(fd);
	return -1;
}

void snap_memory_open(struct snap_memory *m, int pid,
		      const struct tide__ram *ram)
{
	*m = (struct snap_memory){ .pid = pid };
	for (size_t i = 0; i < ram->count; i++) {
		const struct tide__ram_area *from = &ram->area[i];
		struct snap_area *a = &m->area[i];

		*a = (struct snap_area){
			.first_page = m->pages,
			.pages = from->len_bytes / SNAP_PAGE,
			.address = from->start,
			.offset_bytes = from->offset_bytes,
			.kind = from->kind == TIDE__MAP_ANONYMOUS ? 0 :
				from->kind == TIDE__MAP_SHMEM ? 1 : 2,
		};
		memcpy(a->name, from->name, sizeof(a->name));
		m->fd[i] = open_file(pid, from, O_RDONLY);
		m->pages += a->pages;
	}
	m->areas = (uint32_t)ram->count;
}

void snap_memory_close(struct snap_memory *m)
{
	for (uint32_t i = 0; i < m->areas; i++)
		if (m->fd[i] >= 0)
			close(m->fd[i]);
	m->areas = 0;
}

static uint32_t area_of(const struct snap_memory *m, uint64_t page)
{
	uint32_t i = 0;

	while (page >= m->area[i].first_page + m->area[i].pages)
		i++;
	return i;
}

/* A hole behind the end of the file, and pages that went, read as zeroes. */
static ssize_t read_file(int fd, unsigned char *to, size_t n, uint64_t offset)
{
	ssize_t got = pread(fd, to, n, (off_t)offset);

	if (got == 0) {
		memset(to, 0, n);
		return (ssize_t)n;
	}
	return got;
}

static int read_area(const struct snap_memory *m, uint32_t i, uint64_t offset,
		     unsigned char *to, size_t n)
{
	const struct snap_area *a = &m->area[i];

	while (n) {
		struct iovec here = { to, n };
		struct iovec there = {
			(void *)(uintptr_t)(a->address + offset), n };
		ssize_t got = m->fd[i] >= 0
		    ? read_file(m->fd[i], to, n, a->offset_bytes + offset)
		    : process_vm_readv(m->pid, &here, 1, &there, 1, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -EFAULT;
		to += got;
		offset += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

int snap_memory_read(const struct snap_memory *m, uint64_t page,
		     uint64_t count, unsigned char *to, struct tide_error *err)
{
	while (count) {
		uint32_t i = area_of(m, page);
		const struct snap_area *a = &m->area[i];
		uint64_t left = a->first_page + a->pages - page;
		uint64_t n = left < count ? left : count;
		int ret = read_area(m, i, (page - a->first_page) * SNAP_PAGE,
				    to, n * SNAP_PAGE);

		if (ret)
			return tide_error_set(err, ret, "snapshot",
					      page * SNAP_PAGE, "process %d's "
					      "memory cannot be read: %s",
					      m->pid, strerror(-ret));
		page += n;
		count -= n;
		to += n * SNAP_PAGE;
	}
	return 0;
}

uint64_t snap_memory_holes(const struct snap_memory *m, uint64_t page,
			   uint64_t count)
{
	uint32_t i = area_of(m, page);
	const struct snap_area *a = &m->area[i];
	uint64_t left = a->first_page + a->pages - page;
	uint64_t at = a->offset_bytes + (page - a->first_page) * SNAP_PAGE;
	off_t data;

	if (m->fd[i] < 0)
		return 0;
	if (left > count)
		left = count;
	data = lseek(m->fd[i], (off_t)at, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? left : 0;
	if (((uint64_t)data - at) / SNAP_PAGE < left)
		return ((uint64_t)data - at) / SNAP_PAGE;
	return left;
}

int snap_memory_empty(int pid, const struct tide__ram *ram,
		      struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < ram->count; i++) {
		const struct tide__ram_area *a = &ram->area[i];
		int fd = open_file(pid, a, O_RDWR);

		if (fd < 0 ||
		    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)a->offset_bytes, (off_t)a->len_bytes) < 0)
			ret = tide_error_set(err, fd < 0 ? -EACCES : -errno,
					     "snapshot", TIDE_NO_OFFSET,
					     "the memory of process %d cannot "
					     "be emptied (%s)", pid, a->name);
		if (fd >= 0)
			close(fd);
	}
	return ret;
}
