/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What top saw, as a picture: for each VM the time from left to right, its
 * memory from top to bottom, the darker the more of a part was written; below
 * that its rate.
 */
#ifndef CLI_TOP_SVG_H
#define CLI_TOP_SVG_H

#include "cli/top/watch.h"

#define TOP_MAX_LOOKS 100000u	/* of all VMs; more are not drawn */

struct top_seen {
	int pid;
	uint64_t started, memory_bytes;
	double rate;
	char program[64];
	unsigned char cell[TOP_CELLS];
};

struct top_picture {
	struct top_seen *seen;	/* in the order of time */
	size_t count, room;
	double interval_s;
};

/* What the VM's last look said; false: no memory for it. */
bool top_picture_add(struct top_picture *p, const struct top_vm *v);
int top_picture_write(const struct top_picture *p, const char *path,
		      bool force, struct tide_error *err);
void top_picture_free(struct top_picture *p);

#endif
