/* SPDX-License-Identifier: BSD-2-Clause */
/* What the snapshot commands share. */
#ifndef CLI_SNAPSHOT_COMMON_H
#define CLI_SNAPSHOT_COMMON_H

#include "cli/json_out.h"
#include "cli/options.h"
#include "snapshot/chain.h"
#include "snapshot/folder.h"

#define OPT_JSON { "json", NULL, CLI_FLAG, NULL, "print one JSON object" }
#define OPT_END { NULL, NULL, CLI_FLAG, NULL, NULL }

/* "10s", "500ms", "5m", "2h": false if it is no time. */
bool snapshot_parse_time(const char *text, uint64_t *ns);
/* 36 characters and a zero. */
void snapshot_id_text(char to[37], const struct snap_id *id);
/* How a failure ends: what was damaged is not verified. */
int snapshot_failed(const struct cli_command *command,
		    const struct tide_error *err);

#endif
