/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a word of the command line to a disk that is served: opened, tracked,
 * and offered under its name. Before the server starts, by one thread.
 */
#ifndef CLI_SERVE_OPEN_H
#define CLI_SERVE_OPEN_H

#include "cli/options.h"
#include "cli/serve_log.h"
#include "cli/serve_track.h"

#define SERVE_MAX_DISKS 256

struct serve_opening {
	const struct cli_parsed *p;
	struct serve_disks *disks; /* room for SERVE_MAX_DISKS */
	struct serve_log *log;
};

/*
 * [NAME=]DISK becomes the next of the disks. 0, or an exit code, and said why.
 */
int serve_open(const struct serve_opening *s, const char *word);
/* All are open: what was begun on several is ended, and points are offered. */
void serve_offer_all(struct serve_disks *disks);

#endif
