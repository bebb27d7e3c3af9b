/* SPDX-License-Identifier: BSD-2-Clause */
/* What changed of a snapshot of Ceph since older ones, as NBD contexts. */
#ifndef CLI_SERVE_SINCE_H
#define CLI_SERVE_SINCE_H

#include "cli/serve_track.h"

/*
 * If @path, which @d serves, names a snapshot of an image of Ceph: each older
 * one is a context qemu:dirty-bitmap:NAME of the export. Nothing for others.
 */
int serve_since_offer(struct serve_disk *d, const char *path,
		      struct tide_error *err);

#endif
