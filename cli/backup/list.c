/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark backup list: the points of a folder. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "cli/backup/show.h"

static const struct cli_option options[] = {
	OPT_BACKUP_JSON,
	{ 0 },
};

static void print(const struct backup_point *p)
{
	time_t when = (time_t)p->created_s;
	char text[32] = "?";
	struct tm tm;

	if (gmtime_r(&when, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%SZ", &tm);
	printf("%4" PRIu64 "  %s  %-11s %10.1f MB of data %10.1f MB stored  "
	       "disk of %" PRIu64 " bytes%s\n", p->number, text,
	       p->parent ? "incremental" : "full", (double)p->data_bytes / 1e6,
	       (double)p->stored_bytes / 1e6, p->size_bytes,
	       p->instant ? "" : ", not of one moment");
}

static int run(const struct cli_parsed *p)
{
	struct backup_folder f;
	struct tide_error err;
	struct cli_json j;
	int code = CLI_OK;

	if (p->argc != 1)
		return cli_fail(p->command, CLI_USAGE, "it takes FOLDER");
	if (folder_open(p->argv[0], false, &f, &err))
		return backup_failed(p->command, &err);
	if (cli_flag(p, "json")) {
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_text(&j, "backup", f.id);
		cli_json_array(&j, "points");
		for (size_t i = 0; i < f.count; i++)
			backup_point_json(&j, NULL, &f.points[i]);
		cli_json_close(&j);
		cli_json_close(&j);
		code = cli_json_end(&j, p->command);
	} else {
		for (size_t i = 0; i < f.count; i++)
			print(&f.points[i]);
	}
	folder_close(&f);
	return code;
}

const struct cli_command cli_backup_list = {
	.name = "backup list",
	.summary = "Show the points of a backup",
	.words = "FOLDER",
	.options = options,
	.run = run,
};
