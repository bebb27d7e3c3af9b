/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where on a disk its changes lie, as a picture: the disk from its first byte
 * to its last in rows of cells, each the darker the more of it changed.
 */
#ifndef CLI_DIFF_SVG_H
#define CLI_DIFF_SVG_H

#include "cli/options.h"

#define DIFF_CELLS 8192u

struct diff_picture {
	uint64_t size_bytes, cell_bytes;
	uint64_t changed_bytes;
	uint64_t cells[DIFF_CELLS]; /* changed bytes of each */
};

void diff_picture_init(struct diff_picture *d, uint64_t size_bytes);
void diff_picture_add(struct diff_picture *d, uint64_t offset_bytes,
		      uint64_t length_bytes);
/* To the file at @path; an exit status. */
int diff_picture_write(const struct diff_picture *d,
		       const struct cli_parsed *p, const char *path);

#endif
