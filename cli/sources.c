/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark sources: which ways of tracking writes work on this host, and why
 * the others do not.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdbool.h>

#include "commands.h"
#include "tidemark/source.h"

static const char *const watches[TIDE_SOURCE_KINDS] = {
	[TIDE_SOURCE_LOG_MANUAL] = "KVM dirty log, manual protection",
	[TIDE_SOURCE_LOG_LEGACY] = "KVM dirty log, cleared by reading",
	[TIDE_SOURCE_RING] = "KVM dirty ring",
	[TIDE_SOURCE_UFFD] = "userfaultfd-WP async, PAGEMAP_SCAN",
};

static void usage(FILE *to)
{
	fprintf(to,
		"usage: tidemark sources [--json]\n\n"
		"Tests each source of dirty pages on this host.\n\n"
		"  --json   print one JSON object\n"
		"  --help   print this\n");
}

static void print_json(int rc[], struct tide_error err[])
{
	json_t *list = json_array();

	for (int i = 0; i < TIDE_SOURCE_KINDS; i++)
		json_array_append_new(list, json_pack("{s:s, s:b, s:s}",
		    "source", tide_source_kind_name((enum tide_source_kind)i),
		    "works", rc[i] == 0, "reason", rc[i] ? err[i].text : ""));
	json_t *all = json_pack("{s:o}", "sources", list);

	json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
}

int cli_sources(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct tide_error err[TIDE_SOURCE_KINDS];
	int rc[TIDE_SOURCE_KINDS], c;
	bool json = false;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			return CLI_OK;
		}
		if (c != 'j') {
			usage(stderr);
			return CLI_USAGE;
		}
		json = true;
	}
	for (int i = 0; i < TIDE_SOURCE_KINDS; i++) {
		tide_error_clear(&err[i]);
		rc[i] = tide_source_probe((enum tide_source_kind)i, &err[i]);
	}
	if (json) {
		print_json(rc, err);
		return CLI_OK;
	}
	for (int i = 0; i < TIDE_SOURCE_KINDS; i++)
		printf("%-11s %-5s %s\n",
		       tide_source_kind_name((enum tide_source_kind)i),
		       rc[i] ? "no" : "works", rc[i] ? err[i].text : watches[i]);
	return CLI_OK;
}
