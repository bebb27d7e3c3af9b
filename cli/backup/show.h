/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the backup commands share: showing how far they are, being called off,
 * and words about points.
 */
#ifndef CLI_BACKUP_SHOW_H
#define CLI_BACKUP_SHOW_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/image.h"
#include "cli/json_out.h"
#include "cli/options.h"

struct backup_show {
	bool quiet; /* JSON, or asked for */
	bool terminal;
	uint64_t last_ns, began_ns;
	int last_percent;
	char disk[BACKUP_NAME];
};

void backup_show_init(struct backup_show *s, bool quiet);
/* A backup_progress: a bar at a terminal, elsewhere a line every tenth. */
void backup_show_progress(void *show, const char *disk, uint64_t at_bytes,
			  uint64_t size_bytes);
/* Before anything else is printed. */
void backup_show_end(struct backup_show *s);

/* Set by SIGINT and SIGTERM from now on. */
const bool *backup_stop_flag(void);

void backup_point_json(struct cli_json *j, const char *key,
		       const struct backup_point *p);

/* An exit status for what a run of the room said. */
int backup_failed(const struct cli_command *command,
		  const struct tide_error *err);
/* --point=N of @f, or its newest; NULL: said why, *code. */
const struct backup_point *backup_point_of(const struct cli_parsed *p,
					   const struct backup_folder *f,
					   int *code);

#define OPT_BACKUP_JOBS                                                       \
	{ "jobs", "N", CLI_COUNT, NULL,                                        \
	  "threads at work at once; else as many as processors, 2 to 16",      \
	  1, 64 }
uint32_t backup_jobs(const struct cli_parsed *p);
/* --compress; false: said why, *code. */
bool backup_compression_of(const struct cli_parsed *p,
			   struct backup_compression *out, int *code);

#define OPT_BACKUP_COMPRESS                                                   \
	{ "compress", "HOW", CLI_TEXT, "zstd",                                 \
	  "zstd, zstd:LEVEL (-7, quick, to 19, small; zstd is 1), or none" }
#define OPT_BACKUP_JSON                                                       \
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" }
#define OPT_BACKUP_QUIET                                                      \
	{ "quiet", NULL, CLI_FLAG, NULL, "show no progress" }
#define OPT_BACKUP_POINT                                                      \
	{ "point", "N", CLI_COUNT, NULL, "this one, and not the newest", 1, 0 }

#endif
