/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark backup export-diff and import-diff: points as streams that
 * `rbd import-diff` reads, and streams of `rbd export-diff` as a disk.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/diff.h"
#include "cli/backup/show.h"
#include "cli/output.h"

static const struct cli_option export_options[] = {
	{ "to", "FILE", CLI_TEXT, NULL, "a new file; - is standard output" },
	OPT_BACKUP_POINT,
	{ "from", "N", CLI_COUNT, NULL,
	  "only what changed since this point; else all", 1, 0 },
	{ "from-snap", "NAME", CLI_TEXT, NULL,
	  "what that point is called as a snapshot; else point-N" },
	{ "to-snap", "NAME", CLI_TEXT, NULL,
	  "what the point will be called as one; else point-N" },
	OPT_FORCE,
	OPT_BACKUP_QUIET,
	{ 0 },
};

static const struct cli_option import_options[] = {
	{ "to", "FILE", CLI_TEXT, NULL,
	  "a new file, a block device, rbd:POOL/IMAGE, or an NBD URI" },
	{ "format", "NAME", CLI_TEXT, "raw", "of a new file: raw or qcow2" },
	{ "force", NULL, CLI_FLAG, NULL,
	  "replace a file, or write over an image of Ceph, that is there" },
	OPT_BACKUP_QUIET,
	{ 0 },
};

/* --NAME, or point-N. */
static const char *snap_name(const struct cli_parsed *p, const char *option,
			     uint64_t number, char to[32])
{
	snprintf(to, 32, "point-%" PRIu64, number);
	return cli_text(p, option) ? cli_text(p, option) : to;
}

static int write_stream(const struct cli_parsed *p,
			const struct backup_folder *f,
			const struct backup_point *point,
			const struct backup_export *o, uint64_t *data_bytes,
			struct tide_error *err)
{
	struct output_file out;
	int ret;

	if (!strcmp(cli_text(p, "to"), "-")) {
		ret = backup_export_diff(f, point, o, stdout, data_bytes, err);
		return ret; /* main flushes, and says if that fails */
	}
	ret = output_open(&out, cli_text(p, "to"), cli_flag(p, "force"), err);
	if (ret)
		return ret;
	ret = backup_export_diff(f, point, o, out.file, data_bytes, err);
	if (!ret)
		return output_close(&out, err);
	output_drop(&out);
	return ret;
}

static int export_point(const struct cli_parsed *p,
			const struct backup_folder *f)
{
	char from[32], to[32];
	struct backup_show show;
	struct backup_export o = { .progress = backup_show_progress,
				   .opaque = &show,
				   .stop = backup_stop_flag() };
	const struct backup_point *point;
	struct tide_error err;
	uint64_t data_bytes;
	int code = CLI_OK, ret;

	point = backup_point_of(p, f, &code);
	if (!point)
		return code;
	if (cli_text(p, "from")) {
		o.from = folder_find(f, cli_number(p, "from"));
		if (!o.from)
			return cli_fail(p->command, CLI_FAILED, "--from: there "
					"is no such point");
		o.from_snap = snap_name(p, "from-snap", o.from->number, from);
	}
	o.to_snap = snap_name(p, "to-snap", point->number, to);
	backup_show_init(&show, cli_flag(p, "quiet"));
	ret = write_stream(p, f, point, &o, &data_bytes, &err);
	backup_show_end(&show);
	return ret ? backup_failed(p->command, &err) : CLI_OK;
}

static int run_export(const struct cli_parsed *p)
{
	struct backup_folder f;
	struct tide_error err;
	int code;

	if (p->argc != 1 || !cli_text(p, "to"))
		return cli_fail(p->command, CLI_USAGE, "of what, and where to? "
				"Give FOLDER --to=FILE");
	if (cli_text(p, "from-snap") && !cli_text(p, "from"))
		return cli_fail(p->command, CLI_USAGE,
				"--from-snap names the point of --from");
	if (!strcmp(cli_text(p, "to"), "-") && isatty(1))
		return cli_fail(p->command, CLI_USAGE,
				"--to=-: a terminal shows no stream");
	if (folder_open(p->argv[0], false, &f, &err))
		return backup_failed(p->command, &err);
	code = export_point(p, &f);
	folder_close(&f);
	return code;
}

static int run_import(const struct cli_parsed *p)
{
	const char *format = cli_text(p, "format");
	struct backup_show show;
	struct backup_import o = {
		.streams = p->argv, .count = (size_t)p->argc,
		.to = cli_text(p, "to"), .format = format,
		.force = cli_flag(p, "force"),
		.progress = backup_show_progress, .opaque = &show,
		.stop = backup_stop_flag(),
	};
	struct tide_error err;
	uint64_t data_bytes;
	int ret;

	if (!p->argc || !o.to)
		return cli_fail(p->command, CLI_USAGE, "of what, and where to? "
				"Give STREAM... --to=FILE");
	if (strcmp(format, "raw") && strcmp(format, "qcow2"))
		return cli_fail(p->command, CLI_USAGE, "--format=%s: it is raw "
				"or qcow2", format);
	backup_show_init(&show, cli_flag(p, "quiet"));
	ret = backup_import_diff(&o, &data_bytes, &err);
	backup_show_end(&show);
	if (ret)
		return backup_failed(p->command, &err);
	printf("%zu streams, %.1f MB of data\n", o.count,
	       (double)data_bytes / 1e6);
	return CLI_OK;
}

const struct cli_command cli_backup_export_diff = {
	.name = "backup export-diff",
	.summary = "Write a point as a stream for rbd import-diff",
	.words = "FOLDER",
	.options = export_options,
	.run = run_export,
};

const struct cli_command cli_backup_import_diff = {
	.name = "backup import-diff",
	.summary = "Make a disk of streams of rbd export-diff",
	.words = "STREAM...",
	.options = import_options,
	.run = run_import,
};
