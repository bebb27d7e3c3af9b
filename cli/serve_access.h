/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who may connect to `tidemark serve`, and who may see which export:
 * --allow-uid, --export-uid, --export-identity.
 */
#ifndef CLI_SERVE_ACCESS_H
#define CLI_SERVE_ACCESS_H

#include "cli/options.h"
#include "cli/serve_track.h"

#define SERVE_MAX_UIDS 64

/* Users that may connect to Unix sockets, beside root and ourselves. */
struct serve_users {
	uint32_t uids[SERVE_MAX_UIDS];
	size_t count;
	bool any;
};

/* From --allow-uid. An exit code; what is wrong was said. */
int serve_users_parse(struct serve_users *users, const struct cli_parsed *p);

/*
 * The exports of @disks become those of who is named; after the last of them
 * is there. An exit code.
 */
int serve_access_parse(const struct serve_users *users,
		       const struct serve_disks *disks,
		       const struct cli_parsed *p);

#endif
