/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark sources: which ways of tracking writes work on this host, and why
 * the others do not.
 */
#include <jansson.h>
#include <stdio.h>

#include "cli/options.h"
#include "tidemark/source.h"

static const char *const watches[TIDE_SOURCE_KINDS] = {
	[TIDE_SOURCE_LOG_MANUAL] = "KVM dirty log, manual protection",
	[TIDE_SOURCE_LOG_LEGACY] = "KVM dirty log, cleared by reading",
	[TIDE_SOURCE_RING] = "KVM dirty ring",
	[TIDE_SOURCE_UFFD] = "userfaultfd-WP async, PAGEMAP_SCAN",
};

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

static int run(const struct cli_parsed *p)
{
	struct tide_error err[TIDE_SOURCE_KINDS];
	int rc[TIDE_SOURCE_KINDS];

	for (int i = 0; i < TIDE_SOURCE_KINDS; i++) {
		tide_error_clear(&err[i]);
		rc[i] = tide_source_probe((enum tide_source_kind)i, &err[i]);
	}
	if (cli_flag(p, "json")) {
		print_json(rc, err);
		return CLI_OK;
	}
	for (int i = 0; i < TIDE_SOURCE_KINDS; i++)
		printf("%-11s %-5s %s\n",
		       tide_source_kind_name((enum tide_source_kind)i),
		       rc[i] ? "no" : "works", rc[i] ? err[i].text : watches[i]);
	return CLI_OK;
}

static const struct cli_option options[] = {
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_sources = {
	.name = "sources",
	.summary = "Test which ways of tracking writes work on this host",
	.options = options,
	.run = run,
};
