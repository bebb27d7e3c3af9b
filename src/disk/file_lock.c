/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One image, one writer: locks that QEMU understands.
 *
 * QEMU gives every permission a number and holds a shared lock of one byte for
 * each: at 100 + number, "I use this"; at 200 + number, "nobody else may". A
 * newcomer takes its bytes and then looks whether somebody else holds the
 * opposite one: with shared locks only, also a read-only descriptor can say
 * what it does. Two who come at the same moment may both be turned away, never
 * both be let in.
 *
 * Locks belong to the open file (OFD), so that a second open in this process
 * is told, too. A file system that has no locks is used without.
 */
#include <errno.h>
#include <fcntl.h>

#include "disk/file.h"
#include "disk/file_lock.h"

#define USES_BASE 100
#define FORBIDS_BASE 200

enum {
	CONSISTENT_READ = 1 << 0,
	WRITE = 1 << 1,
	RESIZE = 1 << 3,
	ALL_BITS = 5
};

static const char *const meaning[ALL_BITS] = {
	"reading", "writing", "writing", "resizing", "changing"
};

/* 0, 1: somebody else holds the byte, or -errno. */
static int is_held(int fd, int byte)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_start = byte, .l_len = 1,
	};

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

static int hold(int fd, int byte)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET,
		.l_start = byte, .l_len = 1,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static int hold_all(int fd, unsigned int uses, unsigned int forbids)
{
	int ret = 0;

	for (int bit = 0; bit < ALL_BITS && !ret; bit++) {
		if (uses >> bit & 1)
			ret = hold(fd, USES_BASE + bit);
		if (!ret && forbids >> bit & 1)
			ret = hold(fd, FORBIDS_BASE + bit);
	}
	return ret;
}

/* The bit about which somebody disagrees, or -1. */
static int find_conflict(int fd, unsigned int uses, unsigned int forbids)
{
	for (int bit = 0; bit < ALL_BITS; bit++) {
		if (uses >> bit & 1 && is_held(fd, FORBIDS_BASE + bit) == 1)
			return bit;
		if (forbids >> bit & 1 && is_held(fd, USES_BASE + bit) == 1)
			return bit;
	}
	return -1;
}

static void let_go(int fd)
{
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET,
			     .l_start = USES_BASE,
			     .l_len = FORBIDS_BASE + ALL_BITS - USES_BASE };

	fcntl(fd, F_OFD_SETLK, &all);
}

int tide__lock_fd(int fd, bool writable, const char *path,
		  struct tide_error *err)
{
	unsigned int forbids = WRITE | RESIZE;
	unsigned int uses = writable ? CONSISTENT_READ | WRITE | RESIZE
				     : CONSISTENT_READ;
	int ret = hold_all(fd, uses, forbids);
	int bit;

	if (ret && ret != -EAGAIN && ret != -EACCES)
		return 0; /* no locks on this file system */
	bit = ret ? 1 : find_conflict(fd, uses, forbids);
	if (bit < 0)
		return 0;
	let_go(fd);
	return tide_error_set(err, -EBUSY, "file", TIDE_NO_OFFSET,
			      "%s is in use: another open of it (a running VM, "
			      "a tool) and this one disagree about %s",
			      path, meaning[bit]);
}

int file__lock(const struct file *f, struct tide_error *err)
{
	return tide__lock_fd(f->fd, f->disk.writable, f->disk.path, err);
}
