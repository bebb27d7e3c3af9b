/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark mirror: a disk moves from one server to another. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/backup/show.h"
#include "cli/json_out.h"
#include "mirror/mirror.h"

static const struct cli_option options[] = {
	{ "control", "PATH", CLI_TEXT, NULL,
	  "the source's control socket; usually it says where that is" },
	{ "target-control", "PATH", CLI_TEXT, NULL,
	  "the target's; likewise" },
	{ "downtime", "MS", CLI_MILLISECONDS, "50",
	  "stop the source's clients only if it is for less than this", 1, 0 },
	{ "hold", "MS", CLI_MILLISECONDS, "5000",
	  "let them go on after this, whatever happens", 1, 60000 },
	{ "max-rounds", "N", CLI_COUNT, "30",
	  "give up after so many rounds", 1, 1000 },
	{ "bandwidth", "SIZE", CLI_SIZE, NULL,
	  "copy no more than this in a second, before the stop", 4096, 0 },
	{ "switch", "COMMAND", CLI_TEXT, NULL,
	  "run it when the target has all, before clients come again" },
	{ "no-bitmaps", NULL, CLI_FLAG, NULL, "leave the bitmaps behind" },
	OPT_BACKUP_JOBS,
	OPT_BACKUP_JSON,
	{ 0 },
};

struct show {
	bool json;
	struct cli_json j;
};

static void show_round(void *opaque, const struct mirror_round *r)
{
	struct show *s = opaque;

	if (s->json) {
		cli_json_object(&s->j, NULL);
		cli_json_number(&s->j, "round", r->number);
		cli_json_text(&s->j, "kind", r->stop ? "stop" : r->number ?
			      "dirty" : "bulk");
		cli_json_number(&s->j, "copied_bytes", r->copied_bytes);
		cli_json_number(&s->j, "elapsed_ns", r->elapsed_ns);
		cli_json_number(&s->j, "left_bytes", r->left_bytes);
		cli_json_number(&s->j, "predicted_ns", r->predicted_ns);
		cli_json_close(&s->j);
		return;
	}
	printf("round %2u %-5s %10.1f MB in %8.1f ms", r->number,
	       r->stop ? "stop" : r->number ? "dirty" : "bulk",
	       (double)r->copied_bytes / 1e6, (double)r->elapsed_ns / 1e6);
	if (!r->stop)
		printf(", %.1f MB left (%.1f ms)",
		       (double)r->left_bytes / 1e6,
		       (double)r->predicted_ns / 1e6);
	printf("\n");
	fflush(stdout);
}

static int end_json(struct show *s, const struct cli_parsed *p,
		    const struct mirror_result *r, int ret,
		    const struct tide_error *err)
{
	cli_json_close(&s->j);
	cli_json_bool(&s->j, "moved", !ret);
	cli_json_text(&s->j, "error", ret ? err->text : NULL);
	cli_json_number(&s->j, "rounds", r->rounds);
	cli_json_number(&s->j, "bitmaps", r->bitmaps);
	cli_json_number(&s->j, "copied_bytes", r->copied_bytes);
	cli_json_number(&s->j, "held_ns", r->held_ns);
	cli_json_number(&s->j, "elapsed_ns", r->elapsed_ns);
	cli_json_number(&s->j, "write_bytes_per_s", r->write_bytes_per_s);
	cli_json_number(&s->j, "copy_bytes_per_s", r->copy_bytes_per_s);
	cli_json_close(&s->j);
	return cli_json_end(&s->j, p->command);
}

static void print_result(const struct mirror_result *r)
{
	printf("moved: %.1f MB in %u rounds, %.1f s; %u bitmaps; the clients "
	       "stood still for %.1f ms\n", (double)r->copied_bytes / 1e6,
	       r->rounds, (double)r->elapsed_ns / 1e9, r->bitmaps,
	       (double)r->held_ns / 1e6);
}

static int run(const struct cli_parsed *p)
{
	struct show show = { .json = cli_flag(p, "json") };
	struct mirror_options o = {
		.source_control = cli_text(p, "control"),
		.target_control = cli_text(p, "target-control"),
		.jobs = backup_jobs(p),
		.bytes_per_s = cli_number(p, "bandwidth"),
		.downtime_ns = cli_number(p, "downtime") * 1000000,
		.hold_ms = cli_number(p, "hold"),
		.max_rounds = (uint32_t)cli_number(p, "max-rounds"),
		.no_bitmaps = cli_flag(p, "no-bitmaps"),
		.switch_command = cli_text(p, "switch"),
		.round = show_round, .opaque = &show,
		.stop = backup_stop_flag(),
	};
	struct mirror_result result;
	struct tide_error err = { 0 };
	int ret, code = CLI_OK;

	if (p->argc != 2)
		return cli_fail(p->command, CLI_USAGE,
				"from where to where? Give SOURCE-URI "
				"TARGET-URI");
	o.source = p->argv[0];
	o.target = p->argv[1];
	if (show.json) {
		cli_json_begin(&show.j, stdout);
		cli_json_object(&show.j, NULL);
		cli_json_array(&show.j, "each");
	}
	ret = mirror_run(&o, &result, &err);
	if (show.json)
		code = end_json(&show, p, &result, ret, &err);
	else if (!ret)
		print_result(&result);
	if (ret == -ELOOP)
		return cli_fail(p->command, CLI_NOT_CONVERGING, "%s", err.text);
	if (ret == -EOWNERDEAD)
		return cli_fail(p->command, CLI_UNKNOWN, "%s", err.text);
	return ret ? cli_fail(p->command, CLI_FAILED, "%s", err.text) : code;
}

const struct cli_command cli_mirror = {
	.name = "mirror",
	.summary = "Move a served disk and its bitmaps to another server, live",
	.words = "SOURCE-URI TARGET-URI",
	.options = options,
	.run = run,
};
