/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The live file: the bits of the current epoch, in a mapping of a file in a
 * tmpfs (docs/format-store.md). A mark in this memory outlives the process,
 * and no disk below it could make a mark wait.
 *
 * It has two areas: one is being marked, the other holds the last epoch until
 * the store has it. A single store to one word switches between them, so that
 * a killed process has either cut or not. Space is allocated in advance: a
 * hole in a full tmpfs would be a SIGBUS at the next mark.
 */
#ifndef TIDE_CBT_LIVE_H
#define TIDE_CBT_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "cbt/image.h"
#include "tidemark/error.h"

struct cbt_area {
	uint64_t *words; /* the mapping */
	size_t bytes;
	uint64_t offset_bytes; /* in the file */
	uint64_t size_bytes; /* of the disk */
	uint64_t bits;
	uint32_t shift;
};

struct cbt_live {
	int fd;
	char *path; /* owned */
	uint8_t *head; /* the mapping of the first block */
	uint64_t end_bytes; /* of the file */
	struct cbt_area areas[2];
};

/* The folder that is used if none is named; made if need be. malloc'd. */
char *cbt_live_folder(struct tide_error *err);
/* Of this host since it was started. */
void cbt_boot_id(uint8_t boot[16]);

/*
 * cbt_live_create: a new file for @uuid, in place of an old one, with the bits
 * of @image as those of @epoch. -ENOSPC and what the system says.
 */
int cbt_live_create(const char *folder, const uint8_t uuid[16],
		    const uint8_t boot[16], uint64_t epoch,
		    uint64_t size_bytes, const struct cbt_image *image,
		    struct cbt_live *out, struct tide_error *err);
/*
 * cbt_live_recover: what a killed process left, into @image (any granularity):
 * the bits of its epoch, and, if that is later than @epoch, of the one before;
 * *size_bytes: how large the disk was.
 * -ENOENT: there is no such file, or it is not that store's, or damaged.
 */
int cbt_live_recover(const char *folder, const uint8_t uuid[16],
		     const uint8_t boot[16], uint64_t epoch,
		     struct cbt_image *image, uint64_t *size_bytes,
		     struct tide_error *err);

/* The area of that epoch. */
struct cbt_area *cbt_live_area(struct cbt_live *l, uint64_t epoch);
/* What it says, while others mark, into an image of any shift. 0, -ENOMEM. */
int cbt_area_or_into(const struct cbt_area *a, struct cbt_image *into);
/* Make the other area ready, all zero, for the epoch after @epoch. */
int cbt_live_prepare(struct cbt_live *l, uint64_t epoch, uint64_t size_bytes,
		     uint32_t shift, struct tide_error *err);
/* @epoch runs from here on. */
void cbt_live_flip(struct cbt_live *l, uint64_t epoch);
/* @unlink_it: all that it says is in the store. */
void cbt_live_close(struct cbt_live *l, bool unlink_it);

#endif
