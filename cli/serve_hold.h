/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A served disk that stands still: the end of its move to another server. It is
 * held for a stated time at most, whatever becomes of who asked for it; then
 * the clients' changes go on, or, if it has moved, their connections are closed
 * and nobody finds the disk here any more.
 */
#ifndef CLI_SERVE_HOLD_H
#define CLI_SERVE_HOLD_H

#include <jansson.h>

#include "cli/serve_track.h"

/* The answers of the verbs; NULL: no memory. */
json_t *serve_hold(struct serve_disk *d, const json_t *request);
json_t *serve_release(struct serve_disks *disks, struct serve_disk *d,
		      const json_t *request);
/* Now and then, and at the end (@all): holds whose time is over. */
void serve_hold_tick(struct serve_disks *disks, bool all);

#endif
