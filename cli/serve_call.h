/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request to the disks of a server, on its way through the files of verbs:
 * serve_verbs.c has their table, serve_show.c what they tell of points and
 * tracking, serve_bits.c those that carry bits in and out.
 */
#ifndef CLI_SERVE_CALL_H
#define CLI_SERVE_CALL_H

#include "cli/serve_open.h"

struct serve_call {
	struct serve_disks *disks;
	const json_t *request;
	const struct serve_client *client;
	struct serve_disk *d; /* the first of those that are named */
	struct cbt *trackers[SERVE_MAX_DISKS];
	struct serve_disk *named[SERVE_MAX_DISKS];
	size_t count;
	bool any; /* also of disks that are not tracked: trackers are NULL */
	const char *name; /* of the point; NULL: not given */
};

/* The text of a member; NULL: there is none. */
const char *serve_text(const struct serve_call *c, const char *key);
/* Why not, as an answer; @err is only its place. */
json_t *serve_refuse(struct tide_error *err, int code, const char *why);
/* Done, if @ret is 0, and the contexts of the disks are as their points. */
json_t *serve_done(const struct serve_call *c, int ret,
		   struct tide_error *err);

/* serve_show.c */
json_t *serve_show_status(struct serve_call *c);
json_t *serve_show_checkpoints(struct serve_call *c);
json_t *serve_show_bitmaps(struct serve_call *c);
json_t *serve_show_info(struct serve_call *c);
/* serve_bits.c */
json_t *serve_import(struct serve_call *c);
json_t *serve_diff(struct serve_call *c);

#endif
