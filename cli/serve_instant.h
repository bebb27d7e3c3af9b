/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instants of served disks: begun with a checkpoint that is pending, exported
 * for reading beside the live disk as DISK@NAME, and let go when the checkpoint
 * is committed or aborted. docs/control-socket.md has the requests.
 *
 * A server that was killed has lost the instants, not the checkpoints: what was
 * pending can still be committed (whoever copied it is done) or aborted; a
 * begin of the same name aborts it first.
 */
#ifndef CLI_SERVE_INSTANT_H
#define CLI_SERVE_INSTANT_H

#include <jansson.h>

#include "cli/serve_track.h"
#include "instant/instant.h"

/* A layer for instants under what tracks d->disk, which is open. */
int serve_instant_layer(struct serve_disk *d, struct tide_error *err);
/* A context by which clients find the control socket. */
int serve_instant_tell(struct serve_disk *d, const char *control,
		       struct tide_error *err);

/* The answers of the verbs; NULL: no memory. */
json_t *serve_instant_begin(struct serve_disks *disks,
			    struct serve_disk *const *named, size_t count,
			    const char *name, const json_t *request);
json_t *serve_instant_end(struct serve_disks *disks,
			  struct serve_disk *const *named, size_t count,
			  const char *name, bool keep);
json_t *serve_instant_pass(struct serve_disks *disks, struct serve_disk *d,
			   const char *name, const json_t *below);
/* What instant_offer says, in @fds, unless the answer is an error. */
json_t *serve_instant_descriptors(struct serve_disks *disks,
				  struct serve_disk *d, const char *name,
				  int fds[2]);
/* Of the disk's instants, for status: an array. */
json_t *serve_instant_list(struct serve_disks *disks, struct serve_disk *d);
/* At the end, when no client is left. */
void serve_instant_fini(struct serve_disk *d);

#endif
