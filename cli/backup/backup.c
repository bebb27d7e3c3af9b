/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark backup: a new point of disks that a server serves. */
#include <inttypes.h>
#include <stdio.h>

#include "backup/make.h"
#include "cli/backup/show.h"

static const struct cli_option options[] = {
	{ "full", NULL, CLI_FLAG, NULL,
	  "copy all of the disk, also when only what changed would do" },
	{ "control", "PATH", CLI_TEXT, NULL,
	  "the server's control socket; usually it says where that is" },
	{ "bitmap", "NAME", CLI_TEXT, NULL,
	  "of another server: what changed is in its qemu:dirty-bitmap:NAME" },
	OPT_BACKUP_COMPRESS,
	OPT_BACKUP_JOBS,
	{ "over-nbd", NULL, CLI_FLAG, NULL,
	  "read all data over NBD, also where the server's own file can be read" },
	{ "bandwidth", "SIZE", CLI_SIZE, NULL,
	  "read no more than this in a second", 4096, 0 },
	{ "pre", "COMMAND", CLI_TEXT, NULL,
	  "run it before the moment that is copied (freeze the guest)" },
	{ "post", "COMMAND", CLI_TEXT, NULL,
	  "and this one right after it (let it go on)" },
	{ "hook-timeout", "MS", CLI_MILLISECONDS, "30000",
	  "how long each of them may take", 1, 0 },
	OPT_BACKUP_QUIET,
	OPT_BACKUP_JSON,
	{ 0 },
};

static void say(void *opaque, const char *text)
{
	(void)opaque;
	fprintf(stderr, "tidemark backup: %s\n", text);
}

static double rate(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes * 1000 / (double)ns : 0;
}

static void print(const struct backup_made *m)
{
	const struct backup_point *p = &m->point;
	char shown[CLI_SHOWN];

	printf("%s: point %" PRIu64 ", %s", cli_show(shown, m->disk), p->number,
	       p->parent ? "incremental" : "full");
	if (*m->why_full)
		printf(" (%s)", cli_show(shown, m->why_full));
	printf(": %.1f MB of data, %.1f MB of zeroes, %.1f MB in the image, "
	       "%.0f MB/s%s\n", (double)p->data_bytes / 1e6,
	       (double)p->zero_bytes / 1e6, (double)p->stored_bytes / 1e6,
	       rate(p->data_bytes + p->zero_bytes, m->elapsed_ns),
	       p->instant ? "" : "; not of one moment, if somebody wrote");
}

static int print_json(const struct cli_parsed *p,
		      const struct backup_made *made, size_t count)
{
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_array(&j, "disks");
	for (size_t i = 0; i < count; i++) {
		cli_json_object(&j, NULL);
		cli_json_text(&j, "disk", made[i].disk);
		cli_json_text(&j, "folder", made[i].folder);
		backup_point_json(&j, "point", &made[i].point);
		cli_json_text(&j, "why_full", *made[i].why_full ?
			      made[i].why_full : NULL);
		cli_json_number(&j, "not_over_nbd_bytes", made[i].peeked_bytes);
		cli_json_number(&j, "elapsed_ns", made[i].elapsed_ns);
		cli_json_close(&j);
	}
	cli_json_close(&j);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static int run(const struct cli_parsed *p)
{
	static struct backup_made made[BACKUP_MAX_DISKS];
	struct backup_show show;
	struct backup_make_options o = {
		.uris = p->argv, .control = cli_text(p, "control"),
		.bitmap = cli_text(p, "bitmap"), .full = cli_flag(p, "full"),
		.over_nbd = cli_flag(p, "over-nbd"),
		.jobs = backup_jobs(p),
		.bytes_per_s = cli_number(p, "bandwidth"),
		.pre = cli_text(p, "pre"), .post = cli_text(p, "post"),
		.hook_ms = cli_number(p, "hook-timeout"),
		.progress = backup_show_progress, .say = say, .opaque = &show,
	};
	struct tide_error err;
	int ret, code;

	if (p->argc < 2)
		return cli_fail(p->command, CLI_USAGE, "what, and where to? "
				"Give URI... FOLDER");
	if (!backup_compression_of(p, &o.compression, &code))
		return code;
	o.count = (size_t)p->argc - 1;
	o.dest = p->argv[p->argc - 1];
	o.stop = backup_stop_flag();
	backup_show_init(&show, cli_flag(p, "json") || cli_flag(p, "quiet"));
	ret = backup_make(&o, made, &err);
	backup_show_end(&show);
	if (ret)
		return backup_failed(p->command, &err);
	if (cli_flag(p, "json"))
		return print_json(p, made, o.count);
	for (size_t i = 0; i < o.count; i++)
		print(&made[i]);
	return CLI_OK;
}

const struct cli_command cli_backup = {
	.name = "backup",
	.summary = "Back up disks that a server serves: all, or what changed",
	.words = "URI... FOLDER",
	.options = options,
	.run = run,
};
