/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark sources: which ways of tracking writes work on this host, and why
 * the others do not.
 */
#include <stdio.h>

#include "cli/json_out.h"
#include "cli/options.h"
#include "tidemark/source.h"

static const char *const watches[TIDE_SOURCE_KINDS] = {
	[TIDE_SOURCE_LOG_MANUAL] = "KVM dirty log, manual protection",
	[TIDE_SOURCE_LOG_LEGACY] = "KVM dirty log, cleared by reading",
	[TIDE_SOURCE_RING] = "KVM dirty ring",
	[TIDE_SOURCE_UFFD] = "userfaultfd-WP async, PAGEMAP_SCAN",
	[TIDE_SOURCE_FOREIGN] = "the same in another process, by ptrace",
};

static int print_json(const struct cli_parsed *p, const int ret[],
		      const struct tide_error err[])
{
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_array(&j, "sources");
	for (int i = 0; i < TIDE_SOURCE_KINDS; i++) {
		cli_json_object(&j, NULL);
		cli_json_text(&j, "source",
			      tide_source_kind_name((enum tide_source_kind)i));
		cli_json_bool(&j, "works", ret[i] == 0);
		cli_json_text(&j, "reason", ret[i] ? err[i].text : "");
		cli_json_close(&j);
	}
	cli_json_close(&j);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static int run(const struct cli_parsed *p)
{
	struct tide_error err[TIDE_SOURCE_KINDS];
	int ret[TIDE_SOURCE_KINDS];

	for (int i = 0; i < TIDE_SOURCE_KINDS; i++) {
		tide_error_clear(&err[i]);
		ret[i] = tide_source_probe((enum tide_source_kind)i, &err[i]);
	}
	if (cli_flag(p, "json"))
		return print_json(p, ret, err);
	for (int i = 0; i < TIDE_SOURCE_KINDS; i++)
		printf("%-11s %-5s %s\n",
		       tide_source_kind_name((enum tide_source_kind)i),
		       ret[i] ? "no" : "works",
		       ret[i] ? err[i].text : watches[i]);
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
