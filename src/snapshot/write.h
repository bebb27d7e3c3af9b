/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot that is being written, in one pass. Pages come in rounds, in each
 * of them in order; what comes again in a later round takes the place of the
 * former. Nothing stands under its name before snap_writer_commit returned 0.
 */
#ifndef TIDE_SNAPSHOT_WRITE_H
#define TIDE_SNAPSHOT_WRITE_H

#include "snapshot/layers.h"
#include "snapshot/read.h"

struct snap_writer {
	int fd, folder_fd;
	char *path, *part;
	struct snap_header header;
	struct snap_chunk *chunk;
	size_t chunks, room;
	struct snap_layer round, all;
	uint64_t at;		/* where the next byte goes */
	uint64_t pages;		/* that came, with repeats, without zeroes */
	void *zstd;
	unsigned char *buffer;
	size_t used;
	struct snap_footer footer;
};

/* Under @folder as @name; -EEXIST unless @replace. */
int snap_writer_open(struct snap_writer *w, const char *folder,
		     const char *name, bool replace,
		     const struct snap_header *header,
		     const struct snap_area *area, struct tide_error *err);
int snap_writer_pages(struct snap_writer *w, uint64_t page, uint64_t count,
		      const unsigned char *bytes, struct tide_error *err);
int snap_writer_zeroes(struct snap_writer *w, uint64_t page, uint64_t count,
		       struct tide_error *err);
/* A whole chunk of another file, as it is stored there. */
int snap_writer_copy(struct snap_writer *w, uint64_t page,
		     const struct snap_file *from, uint32_t chunk,
		     struct tide_error *err);
int snap_writer_round(struct snap_writer *w, struct tide_error *err);
/* Once, behind the last round. */
int snap_writer_devices(struct snap_writer *w, const void *bytes, size_t n,
			struct tide_error *err);
/* Whole, on the disk, under its name; else nothing of it is left. */
int snap_writer_commit(struct snap_writer *w, bool replace,
		       struct tide_error *err);
void snap_writer_drop(struct snap_writer *w);

#endif
