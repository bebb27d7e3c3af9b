/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The folder of a backup: its points, the manifest that says which are whole,
 * and what a run under way has begun. docs/format-backup.md is the contract.
 *
 * The order in which things become durable: a point's image and digests, then
 * the manifest (written beside, synced, renamed, and the folder synced), then
 * what the server is told. A killed run leaves files that no manifest names
 * and a pending.json that names what it began; the next one undoes or finishes.
 *
 * One process at a time: folder_open takes a lock. Not for several threads.
 */
#ifndef TIDE_BACKUP_FOLDER_H
#define TIDE_BACKUP_FOLDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "backup/digests.h"

#define BACKUP_NAME 128u

struct backup_point {
	uint64_t number; /* from 1 */
	uint64_t parent; /* whose image is below; 0: none, it is full */
	uint64_t size_bytes, created_s;
	uint64_t data_bytes, zero_bytes, stored_bytes;
	char checkpoint[BACKUP_NAME]; /* at the server; "": it had none */
	char disk[BACKUP_NAME]; /* the tracker's identity; "": unknown */
	char image[BACKUP_NAME], digests[BACKUP_NAME]; /* in the folder */
	char sum[CHUNK_HEX]; /* of the digests */
	char writer[BACKUP_NAME];
	bool instant; /* of one moment; else read from a disk that went on */
};

struct backup_folder {
	char *path;
	int fd, lock_fd;
	char id[CHUNK_HEX]; /* of this folder */
	uint64_t next; /* the number of the next point */
	struct backup_point *points; /* oldest first */
	size_t count;
};

/*
 * folder_open: @make: a new one if there is none. -EBUSY: somebody works on it.
 * -EBADMSG: the manifest is damaged, and how. -ENOENT: it is no backup.
 * Files of a run that did not end are left for folder_pending.
 */
int folder_open(const char *path, bool make, struct backup_folder *f,
		struct tide_error *err);
void folder_close(struct backup_folder *f);

/* NULL: no such point. */
struct backup_point *folder_find(const struct backup_folder *f,
				 uint64_t number);
/* The newest; NULL: none. */
struct backup_point *folder_newest(const struct backup_folder *f);
/* The manifest says what @f does, durably. */
int folder_save(struct backup_folder *f, struct tide_error *err);
/* Add a point, and save. After an error it is not there. */
int folder_add(struct backup_folder *f, const struct backup_point *p,
	       struct tide_error *err);

/*
 * Point p->number becomes *@p, whose image lies beside as IMAGE.new, and whose
 * digests are there, both durable. From the moment that pending.json says so it
 * is done: whoever opens the folder next goes on with it.
 */
int folder_replace(struct backup_folder *f, const struct backup_point *p,
		   struct tide_error *err);

/* What a run has begun; *out NULL: nothing. A new reference. */
int folder_pending(const struct backup_folder *f, json_t **out,
		   struct tide_error *err);
/* @pending: taken; NULL: nothing is pending any more. Durable. */
int folder_set_pending(const struct backup_folder *f, json_t *pending,
		       struct tide_error *err);
/* Files that no point of the manifest has are removed. */
int folder_sweep(const struct backup_folder *f, struct tide_error *err);
int folder_sync(const struct backup_folder *f, struct tide_error *err);

/* "FOLDER/NAME", malloc'd. */
char *folder_file(const struct backup_folder *f, const char *name);

#endif
