/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk that remembers: a layer over a file that writes down, in order and
 * with its data, everything that changes it, fails where it is told to, and
 * can say what the file may look like if the power goes at any moment.
 *
 * A driver gets it below itself by its options:
 *
 *	struct recorder *r = recorder_create();
 *	struct tide_disk_options o = { .writable = true,
 *		.open_file = recorder_open, .open_opaque = r };
 *	tide_disk_open(path, &o, &disk, &err);
 *
 * What a crash keeps: all that had returned before a flush began that itself
 * had returned; of everything else, any part in units of a sector, though
 * never an older version over a newer one.
 *
 * Any thread may use the disk; the log is read when the disk is at rest or
 * closed, and outlives it. One recorder records one file.
 */
#ifndef TESTS_RECORDER_H
#define TESTS_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"

struct recorder;

enum recorder_op {
	RECORDER_WRITE = 1,
	RECORDER_ZERO = 2,
	RECORDER_DISCARD = 4,
	RECORDER_RESIZE = 8,
	RECORDER_FLUSH = 16,
	RECORDER_READ = 32, /* faults only: reads are not recorded */
	RECORDER_CHANGES = 31
};

struct recorder_event {
	enum recorder_op op;
	uint32_t flags; /* TIDE_ZERO_* */
	uint64_t offset_bytes;
	uint64_t length_bytes; /* resize: the new size */
	uint8_t *data; /* write: length_bytes; else NULL */
	uint64_t finished; /* how long the log was when it returned */
	int result;
};

/* Fail the operations that match, from the n-th on. */
struct recorder_fault {
	uint32_t ops; /* a mask of enum recorder_op */
	uint64_t after; /* so many that match succeed first */
	uint64_t count; /* then so many fail; 0: all later ones */
	int error; /* -EIO, -ENOSPC, ... */
	uint64_t torn_bytes; /* a failing write still writes so many */
};

/* The bytes of a file. */
struct recorder_image {
	uint8_t *bytes;
	uint64_t size_bytes;
};

struct recorder *recorder_create(void);
void recorder_destroy(struct recorder *r);

/* For struct tide_disk_options: opens the file and what was in it is kept. */
int recorder_open(const char *path, const struct tide_disk_options *options,
		  struct tide_disk **out, struct tide_error *err);

/* *fault is copied, and counting begins anew; NULL: no more faults. */
void recorder_set_fault(struct recorder *r, const struct recorder_fault *fault);
/* How many operations were failed so far. */
uint64_t recorder_faults(const struct recorder *r);

const struct recorder_event *recorder_events(const struct recorder *r,
					     uint64_t *count);

/*
 * The file if the power went when the log was @prefix events long. @seed 0:
 * all of them have reached it, the last one, too. Else: what was durable, and
 * of the rest what the seed chooses. 0 or -ENOMEM; *out is the caller's.
 */
int recorder_crash(const struct recorder *r, uint64_t prefix, uint64_t seed,
		   struct recorder_image *out);
/* Write the image to a file, made or replaced. 0 or -errno. */
int recorder_image_save(const struct recorder_image *image, const char *path);
void recorder_image_free(struct recorder_image *image);

#endif
