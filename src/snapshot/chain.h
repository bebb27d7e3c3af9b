/* SPDX-License-Identifier: BSD-2-Clause */
/* A snapshot with all that it stands on: any page of it can be read. */
#ifndef TIDE_SNAPSHOT_CHAIN_H
#define TIDE_SNAPSHOT_CHAIN_H

#include "snapshot/read.h"

#define SNAP_CACHED 64u

struct snap_chain {
	struct snap_file *file;		/* [0]: the snapshot; then its parents */
	size_t files;
	struct snap_layer merged;
	/*
	 * Chunks that were unpacked last: pages in order come from several
	 * files in turn, from each of them in order.
	 */
	unsigned char *pages;	/* SNAP_CACHED times a chunk's */
	struct {
		uint32_t file, chunk;
		bool valid;
	} cached[SNAP_CACHED];
};

/* 0; -ENOENT, -EBADMSG, ... with the name of the file at fault. */
int snap_chain_open(struct snap_chain *c, const char *folder,
		    const char *name, struct tide_error *err);
void snap_chain_close(struct snap_chain *c);
const struct snap_header *snap_chain_header(const struct snap_chain *c);
const struct snap_area *snap_chain_areas(const struct snap_chain *c);

/* Pages [@page, +@count) into @to. */
int snap_chain_read(struct snap_chain *c, uint64_t page, uint64_t count,
		    unsigned char *to, struct tide_error *err);
/* How many pages from @page on are zeroes by their kind. */
uint64_t snap_chain_zeroes(const struct snap_chain *c, uint64_t page);
/* How many pages from @page on come with it when it is unpacked. */
uint64_t snap_chain_together(const struct snap_chain *c, uint64_t page);
/* What the VMM gave; the caller frees *@bytes. */
int snap_chain_devices(const struct snap_chain *c, void **bytes, size_t *n,
		       struct tide_error *err);
/* Every byte of every file it stands on. */
int snap_chain_verify(const struct snap_chain *c, struct tide_error *err);

#endif
