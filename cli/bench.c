/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark bench: the tables of docs/evaluation.md, measured here and now
 * against rivals in the same run.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/benches.h"
#include "commands.h"
#include "tidemark/scan.h"

static const struct table {
	const char *name;
	int (*run)(const struct bench_options *options);
} tables[] = {
	{ "scan", bench_scan },
	{ "cut", bench_cut },

	{ "compact", bench_compact },
	{ "mark", bench_mark },
};

#define TABLES (sizeof(tables) / sizeof(*tables))

static void usage(FILE *to)
{
	fprintf(to,
		"usage: tidemark bench [OPTIONS] [scan|cut|compact|mark]\n\n"
		"Measures the dirty set against its rivals: median, quartiles\n"
		"and the ratio to ours (above 1: ours is faster).\n\n"
		"  --quick     smaller and fewer: under a minute\n"
		"  --reps N    repetitions, odd (9; 3 with --quick)\n"
		"  --json      one JSON object a line\n"
		"  --help      print this\n");
}

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

int cli_bench(int argc, char **argv)
{
	static const struct option options[] = {
		{ "quick", no_argument, NULL, 'q' },
		{ "reps", required_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct bench_options o = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			return CLI_OK;
		}
		if (c == 'q')
			o.quick = true;
		else if (c == 'j')
			o.json = true;
		else if (c == 'r')
			o.reps = (unsigned int)strtoul(optarg, NULL, 10) | 1;
		else {
			usage(stderr);
			return CLI_USAGE;
		}
	}
	if (!o.reps)
		o.reps = o.quick ? 3 : 9;
	if (o.reps > BENCH_MOST_REPS)
		o.reps = BENCH_MOST_REPS;
	if (argc - optind > 1) {
		usage(stderr);
		return CLI_USAGE;
	}
	return run_tables(argv[optind], &o);
}
