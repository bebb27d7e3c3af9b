/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark restore: a point of a backup, as a disk again. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup/restore.h"
#include "cli/backup/show.h"

static const struct cli_option options[] = {
	{ "to", "FILE", CLI_TEXT, NULL,
	  "a new file, a block device, rbd:POOL/IMAGE, or an NBD URI" },
	OPT_BACKUP_POINT,
	{ "format", "NAME", CLI_TEXT, "raw", "of a new file: raw or qcow2" },
	{ "force", NULL, CLI_FLAG, NULL,
	  "replace a file, or write over an image of Ceph, that is there" },
	{ "verify", NULL, CLI_FLAG, NULL,
	  "read it back and hold it against the digests" },
	OPT_BACKUP_JOBS,
	OPT_BACKUP_QUIET,
	OPT_BACKUP_JSON,
	{ 0 },
};

static int answer(const struct cli_parsed *p, const struct backup_point *point,
		  const struct backup_restored *r)
{
	struct cli_json j;

	if (!cli_flag(p, "json")) {
		printf("point %" PRIu64 " restored: %" PRIu64 " bytes, %.1f MB "
		       "of data%s\n", point->number, point->size_bytes,
		       (double)r->data_bytes / 1e6,
		       cli_flag(p, "verify") ? "; read back and equal" : "");
		return CLI_OK;
	}
	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_number(&j, "point", point->number);
	cli_json_number(&j, "size_bytes", point->size_bytes);
	cli_json_number(&j, "data_bytes", r->data_bytes);
	cli_json_bool(&j, "verified", cli_flag(p, "verify"));
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static int restore(const struct cli_parsed *p, const struct backup_folder *f)
{
	struct backup_show show;
	struct backup_restore_options o = {
		.to = cli_text(p, "to"), .format = cli_text(p, "format"),
		.force = cli_flag(p, "force"), .verify = cli_flag(p, "verify"),
		.jobs = backup_jobs(p),
		.progress = backup_show_progress, .opaque = &show,
		.stop = backup_stop_flag(),
	};
	struct backup_restored restored;
	const struct backup_point *point;
	struct tide_error err;
	int code = CLI_OK, ret;

	point = backup_point_of(p, f, &code);
	if (!point)
		return code;
	backup_show_init(&show, cli_flag(p, "json") || cli_flag(p, "quiet"));
	ret = backup_restore(f, point, &o, &restored, &err);
	backup_show_end(&show);
	return ret ? backup_failed(p->command, &err) :
		     answer(p, point, &restored);
}

static int run(const struct cli_parsed *p)
{
	const char *format = cli_text(p, "format");
	struct backup_folder f;
	struct tide_error err;
	int code;

	if (p->argc != 1 || !cli_text(p, "to"))
		return cli_fail(p->command, CLI_USAGE, "from where, and where "
				"to? Give FOLDER --to=FILE");
	if (strcmp(format, "raw") && strcmp(format, "qcow2"))
		return cli_fail(p->command, CLI_USAGE, "--format=%s: it is raw "
				"or qcow2", format);
	if (folder_open(p->argv[0], false, &f, &err))
		return backup_failed(p->command, &err);
	code = restore(p, &f);
	folder_close(&f);
	return code;
}

const struct cli_command cli_restore = {
	.name = "restore",
	.summary = "Make a disk of a point of a backup",
	.words = "FOLDER",
	.options = options,
	.run = run,
};
