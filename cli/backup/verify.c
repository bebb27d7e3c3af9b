/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark backup verify: points against their digests, and, with --against,
 * the newest one against the disk that it is of.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/live.h"
#include "cli/backup/show.h"

static const struct cli_option options[] = {
	{ "point", "N", CLI_COUNT, NULL, "this one, and not all", 1, 0 },
	{ "sample", "SHARE", CLI_TEXT, "100%",
	  "read only so much, chosen at random" },
	{ "seed", "N", CLI_COUNT, NULL, "of the choice; else the time", 0, 0 },
	{ "against", "URI", CLI_TEXT, NULL,
	  "hold the newest point against the disk at this NBD server" },
	{ "control", "PATH", CLI_TEXT, NULL,
	  "the server's control socket; usually it says where that is" },
	OPT_BACKUP_JOBS,
	OPT_BACKUP_QUIET,
	OPT_BACKUP_JSON,
	{ 0 },
};

/* "1%", "0.5": parts of a million; 0: it is none. */
static uint32_t parse_sample(const char *text)
{
	char *end;
	double percent;

	errno = 0;
	percent = strtod(text, &end);
	if (end == text || errno || (*end && strcmp(end, "%")) ||
	    !(percent > 0) || percent > 100)
		return 0;
	return percent < 0.0001 ? 1 : (uint32_t)(percent * 10000);
}

static int show_truth(const struct cli_parsed *p, const struct backup_truth *t)
{
	struct cli_json j;
	int code;

	if (cli_flag(p, "json")) {
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_number(&j, "unchanged_bytes", t->unchanged_bytes);
		cli_json_number(&j, "missed_bytes", t->missed_bytes);
		cli_json_number(&j, "changed_bytes", t->changed_bytes);
		cli_json_number(&j, "equal_bytes", t->equal_bytes);
		if (t->missed_bytes)
			cli_json_number(&j, "first_missed", t->first_missed);
		cli_json_close(&j);
		code = cli_json_end(&j, p->command);
		return code != CLI_OK ? code :
		       t->missed_bytes ? CLI_MISSED : CLI_OK;
	}
	printf("%.1f MB said to be unchanged were compared, %.1f MB of changes; "
	       "%.1f MB of those (%.1f %%) are as they were\n",
	       (double)t->unchanged_bytes / 1e6,
	       (double)t->changed_bytes / 1e6, (double)t->equal_bytes / 1e6,
	       t->changed_bytes ? (double)t->equal_bytes * 100 /
				  (double)t->changed_bytes : 0.0);
	if (!t->missed_bytes)
		return CLI_OK;
	return cli_fail(p->command, CLI_MISSED,
			"%" PRIu64 " bytes changed and were not reported, the "
			"first at offset %" PRIu64 ": somebody wrote past the "
			"tracker, or it is wrong; make a backup with --full",
			t->missed_bytes, t->first_missed);
}

static int against(const struct cli_parsed *p, struct backup_folder *f,
		   const struct backup_verify_options *o,
		   struct backup_show *show)
{
	struct backup_truth truth;
	struct tide_error err;
	int ret = backup_verify_live(f, cli_text(p, "against"),
				     cli_text(p, "control"), o, &truth, &err);

	backup_show_end(show);
	return ret ? backup_failed(p->command, &err) : show_truth(p, &truth);
}

/* What cannot be read is no backup, whatever the reason. */
static int bad_point(const struct cli_parsed *p,
		     const struct backup_point *point,
		     const struct tide_error *err)
{
	bool called_off = err->code == -EINTR || err->code == -ENOMEM;

	return cli_fail(p->command, called_off ? CLI_FAILED : CLI_UNVERIFIED,
			"point %" PRIu64 ": %s", point->number, err->text);
}

/* All are looked at, also after one that is bad. */
static int points(const struct cli_parsed *p, const struct backup_folder *f,
		  const struct backup_verify_options *o,
		  struct backup_show *show)
{
	bool json = cli_flag(p, "json");
	uint64_t bytes = 0, good = 0;
	struct tide_error err;
	struct cli_json j;
	int code = CLI_OK, ended;

	if (json) {
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_array(&j, "points");
	}
	for (size_t i = 0; i < f->count; i++) {
		const struct backup_point *point = &f->points[i];
		int ret;

		if (cli_text(p, "point") &&
		    point->number != cli_number(p, "point"))
			continue;
		ret = backup_verify_point(f, point, o, &bytes, &err);
		backup_show_end(show);
		if (ret)
			code = bad_point(p, point, &err);
		good += !ret;
		if (json) {
			cli_json_object(&j, NULL);
			cli_json_number(&j, "number", point->number);
			cli_json_bool(&j, "good", !ret);
			cli_json_text(&j, "error", ret ? err.text : NULL);
			cli_json_close(&j);
		}
		if (ret == -EINTR)
			break;
	}
	if (!json) {
		printf("%" PRIu64 " points are good, %.1f MB read\n", good,
		       (double)bytes / 1e6);
		return code;
	}
	cli_json_close(&j);
	cli_json_number(&j, "read_bytes", bytes);
	cli_json_close(&j);
	ended = cli_json_end(&j, p->command);
	return code != CLI_OK ? code : ended;
}

static int run(const struct cli_parsed *p)
{
	struct backup_show show;
	struct backup_verify_options o = {
		.jobs = backup_jobs(p),
		.sample_ppm = parse_sample(cli_text(p, "sample")),
		.seed = cli_text(p, "seed") ? cli_number(p, "seed") :
					      (uint64_t)time(NULL),
		.progress = backup_show_progress, .opaque = &show,
		.stop = backup_stop_flag(),
	};
	struct backup_folder f;
	struct tide_error err;
	int code = CLI_OK;

	if (p->argc != 1)
		return cli_fail(p->command, CLI_USAGE, "it takes FOLDER");
	if (!o.sample_ppm)
		return cli_fail(p->command, CLI_USAGE, "--sample=%s: it is a "
				"percentage, as in 1%%",
				cli_text(p, "sample"));
	if (folder_open(p->argv[0], false, &f, &err))
		return backup_failed(p->command, &err);
	backup_show_init(&show, cli_flag(p, "json") || cli_flag(p, "quiet"));
	if (cli_text(p, "point") && !backup_point_of(p, &f, &code))
		;
	else if (cli_text(p, "against"))
		code = against(p, &f, &o, &show);
	else
		code = points(p, &f, &o, &show);
	folder_close(&f);
	return code;
}

const struct cli_command cli_backup_verify = {
	.name = "backup verify",
	.summary = "Hold points against their digests, or against the disk",
	.words = "FOLDER",
	.options = options,
	.run = run,
};
