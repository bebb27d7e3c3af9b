/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark bench: the tables of docs/evaluation.md, measured here and now
 * against rivals in the same run.
 */
#include <stdio.h>
#include <string.h>

#include "bench/benches.h"
#include "bench/plot.h"
#include "options.h"
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
	{ "gap", bench_gap },
	{ "kinds", bench_kinds },
};

#define TABLES (sizeof(tables) / sizeof(*tables))

static int run_tables(const char *only, const struct bench_options *o)
{
	int known = 0, rc = 0;

	if (!o->json)
		printf("kernels: %s\n", tide_isa_name());
	for (size_t i = 0; i < TABLES; i++) {
		if (only && strcmp(only, tables[i].name))
			continue;
		known = 1;
		rc |= tables[i].run(o);
	}
	if (!known) {
		fprintf(stderr, "tidemark bench: no table '%s'\n", only);
		return CLI_USAGE;
	}
	return rc ? CLI_FAILED : CLI_OK;
}

static int run(const struct cli_parsed *p)
{
	struct bench_options o = {
		.quick = cli_flag(p, "quick"),
		.json = cli_flag(p, "json"),
		.image = cli_text(p, "image"),
		.format = cli_text(p, "format"),
		.direct = cli_flag(p, "direct"),
		.reps = (unsigned int)cli_number(p, "reps"),
	};

	const char *plots;
	int code;

	if (p->argc > 1)
		return cli_fail(p->command, CLI_USAGE,
				"one table at a time; see --help");
	if (!o.reps)
		o.reps = o.quick ? 3 : 9;
	o.reps |= 1;
	if (o.reps > BENCH_MOST_REPS)
		o.reps = BENCH_MOST_REPS;
	code = run_tables(p->argc ? p->argv[0] : NULL, &o);
	plots = cli_text(p, "plots");
	if (plots) {
		int rc = bench_plot_write(plots);

		if (rc < 0)
			return cli_fail(p->command, CLI_FAILED,
					"plots into %s: %s", plots,
					strerror(-rc));
	}
	return code;
}

static const struct cli_option options[] = {
	{ "quick", NULL, CLI_FLAG, NULL,
	  "smaller and fewer: under a minute" },
	{ "reps", "N", CLI_COUNT, "0",
	  "repetitions, odd; 0: 9, or 3 with --quick" },
	{ "plots", "FOLDER", CLI_TEXT, NULL,
	  "also draw each table as FOLDER/TABLE.svg" },
	{ "image", "FILE", CLI_TEXT, NULL,
	  "disk: this image, which is overwritten, not ones made for it" },
	{ "format", "FMT", CLI_TEXT, NULL, "disk: the image's: raw or qcow2" },
	{ "direct", NULL, CLI_FLAG, NULL, "disk: around the page cache" },
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object a line" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_bench = {
	.name = "bench",
	.summary = "Measure the dirty set against its rivals",
	.words = "[TABLE]",
	.options = options,
	.run = run,
};
