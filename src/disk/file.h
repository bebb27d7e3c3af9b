/* SPDX-License-Identifier: BSD-2-Clause */
/* The file driver's internals, for file*.c only. */
#ifndef TIDE_DISK_FILE_H
#define TIDE_DISK_FILE_H

#include <pthread.h>

#include "disk/disk.h"

/* Does the file system know a write that does not wait? XFS does. */
enum file_nowait { NOWAIT_UNKNOWN, NOWAIT_KNOWN, NOWAIT_REFUSED };

struct file {
	struct tide_disk disk;
	int fd;
	bool device; /* a block device: no ftruncate, no holes */
	bool direct; /* opened with O_DIRECT */
	bool no_zero_range; /* atomic: fallocate refused it once */
	bool no_punch; /* atomic: likewise */
	int nowait; /* atomic: enum file_nowait */
	uint32_t block_bytes; /* what fallocate wants aligned; 1: nothing */
	pthread_mutex_t resize_lock;
	/* O_DIRECT, writes: file_blocks.c */
	pthread_mutex_t blocks_lock;
	pthread_cond_t blocks_free;
	struct file_range *ranges; /* the writes under way */
	uint32_t alone; /* how many of them are */
};

/* A write under O_DIRECT; fits into the scratch of an io. */
struct file_range {
	struct file_range *next, *previous;
	uint64_t start_bytes;
	uint64_t end_bytes; /* in whole blocks; the lowest bit: alone */
};

static inline struct file *file_of(struct tide_disk *d)
{
	return (struct file *)d;
}

/*
 * file_blocks.c: a write of whole blocks, or @alone: of parts of them, which
 * reads them first. enter waits for others in the same blocks; try_enter
 * returns false instead.
 */
void file__blocks_enter(struct file *f, struct file_range *range,
			uint64_t offset_bytes, uint64_t length_bytes,
			bool alone);
bool file__blocks_try_enter(struct file *f, struct file_range *range,
			    uint64_t offset_bytes, uint64_t length_bytes);
void file__blocks_leave(struct file *f, struct file_range *range);

/* file_start.c: the operation of disk.h */
bool file__start(struct tide_disk *d, struct tide_io *io);

/* Fill @err with what errno value -@code means for the verb @what. */
int file__fail(const struct file *f, int code, const char *what,
	       uint64_t offset_bytes, struct tide_error *err);

/* file.c: 0 or -errno. */
int file__sync(const struct file *f);

/* file_rw.c: does O_DIRECT take it as it is? */
bool file__is_aligned(const struct file *f, uint64_t offset_bytes,
		      const struct tide_vec *v);
/* The operations of disk.h */
int file__readv(struct tide_disk *d, uint64_t offset_bytes,
		const struct tide_vec *to, struct tide_error *err);
int file__writev(struct tide_disk *d, uint64_t offset_bytes,
		 const struct tide_vec *from, uint32_t flags,
		 struct tide_error *err);

/* file_space.c: likewise */
int file__zero(struct tide_disk *d, uint64_t offset_bytes,
	       uint64_t length_bytes, uint32_t flags, struct tide_error *err);
int file__discard(struct tide_disk *d, uint64_t offset_bytes,
		  uint64_t length_bytes, struct tide_error *err);
int file__status(struct tide_disk *d, uint64_t offset_bytes,
		 uint64_t length_bytes, struct tide_disk_extent *extent,
		 struct tide_error *err);

/*
 * file_lock.c: take the byte-range locks by which QEMU, too, keeps a second
 * writer away; they go with the descriptor. -EBUSY: somebody else is there.
 */
int file__lock(const struct file *f, struct tide_error *err);

#endif
