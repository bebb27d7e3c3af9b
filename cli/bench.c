/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark bench: the tables of docs/evaluation.md, measured here and now
 * against rivals in the same run.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "bench/benches.h"
#include "bench/plot.h"
#include "bench/report.h"
#include "bench/rivals/rust/rust.h"
#include "cli/options.h"
#include "cli/output.h"
#include "tidemark/scan.h"

static const struct table {
	const char *name;
	int (*run)(const struct bench_options *options);
} tables[] = {
	{ "scan", bench_scan },
	{ "cut", bench_cut },
	{ "compact", bench_compact },
	{ "mark", bench_mark },
	{ "slots", bench_slots },
	{ "disk", bench_disk },
	{ "tracked", bench_tracked },
	{ "gap", bench_gap },
	{ "kinds", bench_kinds },
	{ "travel", bench_travel },
};

#define MIN_GUEST (UINT64_C(1) << 30)
#define TABLES (sizeof(tables) / sizeof(*tables))

static int refuse_table(const struct cli_command *command, const char *name)
{
	char all[128] = "";
	size_t n = 0;

	for (size_t i = 0; i < TABLES; i++)
		n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s",
				      i ? ", " : "", tables[i].name);
	return cli_fail(command, CLI_USAGE, "no table '%s'; there are %s", name,
			all);
}

static bool is_table(const char *name)
{
	for (size_t i = 0; i < TABLES; i++)
		if (!strcmp(name, tables[i].name))
			return true;
	return false;
}

static int run_tables(const char *only, const struct bench_options *o)
{
	int ret = 0;

	if (o->json)
		printf("{\"table\":\"about\",\"kernels\":\"%s\",\"seed\":%"
		       PRIu64 ",\"rust\":%s}\n", tide_isa_name(), o->seed,
		       RIVAL_RUST("rust") ? "true" : "false");
	else
		printf("kernels: %s; --seed=%" PRIu64 "%s\n", tide_isa_name(),
		       o->seed, RIVAL_RUST("rust") ? "" :
		       "; built without rustc: no rivals in Rust");
	for (size_t i = 0; i < TABLES; i++)
		if (!only || !strcmp(only, tables[i].name))
			ret |= tables[i].run(o);
	return ret ? CLI_FAILED : CLI_OK;
}

/* Short, so that it is easily given again. */
static uint64_t drawn_seed(void)
{
	uint32_t seed = 0;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = 20261121;
	return seed ? seed : 1;
}

static int run(const struct cli_parsed *p)
{
	struct bench_options o = {
		.quick = cli_flag(p, "quick"),
		.json = cli_flag(p, "json"),
		.image = cli_text(p, "image"),
		.format = cli_text(p, "format"),
		.direct = cli_flag(p, "direct"),
		.cpu = cli_flag(p, "cpu"),
		.plain = cli_flag(p, "plain"),
		.cold = cli_flag(p, "cold"),
		.guest_bytes = cli_number(p, "guest"),
		.seed = cli_number(p, "seed"),
		.reps = (unsigned int)cli_number(p, "reps"),
	};

	const char *plots = cli_text(p, "plots"),
		   *report = cli_text(p, "report");
	bool force = cli_flag(p, "force");
	struct tide_error err;
	int code;

	if (p->argc > 1)
		return cli_fail(p->command, CLI_USAGE,
				"one table at a time; see --help");
	if (p->argc && !is_table(p->argv[0]))
		return refuse_table(p->command, p->argv[0]);
	if (o.guest_bytes && o.guest_bytes < MIN_GUEST)
		return cli_fail(p->command, CLI_USAGE,
				"--guest is 1G or more");
	if (!o.seed)
		o.seed = drawn_seed();
	if (!o.reps)
		o.reps = o.quick ? 3 : 9;
	o.reps |= 1;
	if (o.reps > BENCH_MAX_REPS)
		o.reps = BENCH_MAX_REPS;
	/* An hour of measuring is not to end at a name. */
	if (report && output_check(report, force, &err) < 0)
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	code = run_tables(p->argc ? p->argv[0] : NULL, &o);
	if (report && bench_report_write(report, force, &o, &err) < 0)
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	if (plots && bench_plot_write(plots, force, &err) < 0)
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return code;
}

static const struct cli_option options[] = {
	{ "quick", NULL, CLI_FLAG, NULL, "smaller and fewer: under a minute" },
	{ "reps", "N", CLI_COUNT, "0",
	  "repetitions, odd; 0: 9, or 3 with --quick" },
	{ "cpu", NULL, CLI_FLAG, NULL,
	  "scan, cut, compact, mark: CPU time, not the clock's; one thread" },
	{ "seed", "N", CLI_COUNT, "0",
	  "what random workloads are drawn from; 0: drawn, and printed" },
	{ "guest", "SIZE", CLI_SIZE, "0",
	  "scan, cut, mark: a guest of so much memory; 0: the table's own", 0,
	  UINT64_C(12) << 40 },
	{ "plain", NULL, CLI_FLAG, NULL,
	  "scan, cut, mark: the bitmaps on plain pages, not on huge ones" },
	{ "cold", NULL, CLI_FLAG, NULL,
	  "scan: empty the caches before each turn" },
	{ "plots", "FOLDER", CLI_TEXT, NULL,
	  "also draw each table as FOLDER/TABLE.svg" },
	{ "report", "FILE", CLI_TEXT, NULL,
	  "also write an HTML page with the machine, all tables and plots" },
	OPT_FORCE,
	{ "image", "FILE", CLI_TEXT, NULL,
	  "disk: this image, which is overwritten, not ones made for it" },
	{ "format", "FMT", CLI_TEXT, NULL, "disk: the image's: raw or qcow2" },
	{ "direct", NULL, CLI_FLAG, NULL, "disk: around the page cache" },
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object a line" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_bench = {
	.name = "bench",
	.summary = "Measure Tidemark against its rivals, here and now",
	.words = "[TABLE]",
	.options = options,
	.run = run,
};
