/* SPDX-License-Identifier: BSD-2-Clause */
/* One file of a chain, opened and judged. */
#ifndef TIDE_SNAPSHOT_READ_H
#define TIDE_SNAPSHOT_READ_H

#include "snapshot/layers.h"

struct snap_file {
	int fd;
	char *path;
	struct snap_header header;
	struct snap_area *area;
	struct snap_footer footer;
	struct snap_chunk *chunk;
	struct snap_layer layer;	/* its own extents */
};

/* 0; -EBADMSG damaged, or what the file system said; the error names @path. */
int snap_file_open(struct snap_file *f, const char *path,
		   struct tide_error *err);
void snap_file_close(struct snap_file *f);

/* The chunk's pages into @to (SNAP_CHUNK_PAGES of room); not of zeroes. */
int snap_file_chunk(const struct snap_file *f, uint32_t chunk,
		    unsigned char *to, struct tide_error *err);
/* Its stored bytes, checked: *@bytes of them in @to. */
int snap_file_stored(const struct snap_file *f, uint32_t chunk,
		     unsigned char *to, uint32_t *bytes,
		     struct tide_error *err);
/* Every byte that the tables do not cover: chunks and devices. */
int snap_file_verify(const struct snap_file *f, struct tide_error *err);

#endif
