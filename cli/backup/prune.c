/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark backup prune: forget points that a policy does not keep. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "backup/make.h"
#include "backup/prune.h"
#include "cli/backup/show.h"

static const struct cli_option options[] = {
	{ "keep-last", "N", CLI_COUNT, "0", "the newest points", 0, 1000000 },
	{ "keep-daily", "N", CLI_COUNT, "0",
	  "the newest of each of so many days that have one", 0, 1000000 },
	{ "keep-weekly", "N", CLI_COUNT, "0", "of weeks", 0, 1000000 },
	{ "keep-monthly", "N", CLI_COUNT, "0", "of months", 0, 1000000 },
	{ "dry-run", NULL, CLI_FLAG, NULL, "say what would go, and stop" },
	OPT_BACKUP_COMPRESS,
	OPT_BACKUP_JOBS,
	OPT_BACKUP_QUIET,
	OPT_BACKUP_JSON,
	{ 0 },
};

static int answer(const struct cli_parsed *p, const uint64_t *gone,
		  size_t count, uint64_t merged_bytes)
{
	struct cli_json j;

	if (!cli_flag(p, "json")) {
		for (size_t i = 0; i < count; i++)
			printf("point %" PRIu64 "%s\n", gone[i],
			       cli_flag(p, "dry-run") ? " would go" : " is gone");
		return CLI_OK;
	}
	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_array(&j, "gone");
	for (size_t i = 0; i < count; i++)
		cli_json_number(&j, NULL, gone[i]);
	cli_json_close(&j);
	cli_json_number(&j, "merged_bytes", merged_bytes);
	cli_json_bool(&j, "dry_run", cli_flag(p, "dry-run"));
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static int prune(const struct cli_parsed *p, struct backup_folder *f,
		 const bool *keep, uint64_t *gone)
{
	struct backup_show show;
	struct backup_prune_options o = {
		.jobs = backup_jobs(p),
		.progress = backup_show_progress, .opaque = &show,
		.stop = backup_stop_flag(),
	};
	uint64_t merged_bytes = 0;
	struct tide_error err;
	size_t count = 0;
	int ret, code;

	if (!backup_compression_of(p, &o.compression, &code))
		return code;
	for (size_t i = 0; i < f->count; i++)
		if (!keep[i])
			gone[count++] = f->points[i].number;
	if (!cli_flag(p, "dry-run")) {
		backup_show_init(&show, cli_flag(p, "json") ||
				 cli_flag(p, "quiet"));
		ret = backup_prune(f, keep, &o, &merged_bytes, &err);
		backup_show_end(&show);
		if (ret)
			return backup_failed(p->command, &err);
	}
	return answer(p, gone, count, merged_bytes);
}

static int run(const struct cli_parsed *p)
{
	struct backup_policy policy = {
		.last = cli_number(p, "keep-last"),
		.daily = cli_number(p, "keep-daily"),
		.weekly = cli_number(p, "keep-weekly"),
		.monthly = cli_number(p, "keep-monthly"),
	};
	struct backup_folder f;
	struct tide_error err;
	uint64_t *gone;
	bool *keep;
	int code;

	if (p->argc != 1)
		return cli_fail(p->command, CLI_USAGE, "it takes FOLDER");
	if (!policy.last && !policy.daily && !policy.weekly && !policy.monthly)
		return cli_fail(p->command, CLI_USAGE, "what to keep? Give "
				"--keep-last=N, --keep-daily=N, "
				"--keep-weekly=N or --keep-monthly=N");
	if (folder_open(p->argv[0], false, &f, &err))
		return backup_failed(p->command, &err);
	keep = calloc(f.count + 1, sizeof(*keep));
	gone = calloc(f.count + 1, sizeof(*gone));
	if (!keep || !gone) {
		code = cli_fail(p->command, CLI_FAILED, "no memory");
	} else {
		backup_prune_choose(&f, &policy, keep);
		code = prune(p, &f, keep, gone);
	}
	free(keep);
	free(gone);
	folder_close(&f);
	return code;
}

const struct cli_command cli_backup_prune = {
	.name = "backup prune",
	.summary = "Forget points of a backup that a policy does not keep",
	.words = "FOLDER",
	.options = options,
	.run = run,
};
