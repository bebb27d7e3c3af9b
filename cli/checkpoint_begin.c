/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark checkpoint begin: an instant that can be read beside the disk. */
#include <string.h>

#include "transfer/hook.h"
#include "cli/changes.h"
#include "cli/client.h"
#include "cli/json_out.h"

static const struct cli_option options[] = {
	{ "since", "CHECKPOINT", CLI_TEXT, NULL,
	  "keep only what changed since then; reading the rest may fail" },
	{ "pre", "COMMAND", CLI_TEXT, NULL,
	  "run it before the moment (freeze the guest)" },
	{ "post", "COMMAND", CLI_TEXT, NULL,
	  "and this one right after it (let it go on)" },
	{ "hook-timeout", "MS", CLI_MILLISECONDS, "30000",
	  "how long each of them may take", 1, 0 },
	CHANGES_WHERE,
	{ 0 },
};

static void print_disk(const json_t *disk)
{
	char name[CLI_SHOWN], export[CLI_SHOWN], why[CLI_SHOWN];
	const char *full = client_text(disk, "why_full");

	printf("%s: read %s%s%s\n", cli_show(name, client_text(disk, "disk")),
	       cli_show(export, client_text(disk, "export")),
	       *full ? "; all of it, since " : "",
	       *full ? cli_show(why, full) : "");
}

static int print(const struct cli_parsed *p, json_t *answer)
{
	const json_t *list = json_object_get(answer, "disks");
	json_t *disk;
	size_t i;

	if (cli_flag(p, "json"))
		return cli_json_answer(answer, p->command);
	json_array_foreach(list, i, disk)
		print_disk(disk);
	return CLI_OK;
}

static json_t *request_of(const struct cli_parsed *p)
{
	json_t *r = changes_several(p, "checkpoint-begin");
	const char *since = cli_text(p, "since");

	if (r && since &&
	    json_object_set_new(r, "since", json_string(since))) {
		json_decref(r);
		return NULL;
	}
	return r;
}

static int run(const struct cli_parsed *p)
{
	uint64_t limit = cli_number(p, "hook-timeout");
	struct tide_error err;
	json_t *answer;
	int code, ret;

	if (cli_text(p, "disk"))
		return cli_fail(p->command, CLI_USAGE, "an instant is a "
				"server's: give --control");
	if (p->argc != 2)
		return changes_wrong_words(p);
	if (hook_run(cli_text(p, "pre"), limit, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	answer = changes_ask(p, request_of(p), NULL, NULL, &code);
	ret = hook_run(cli_text(p, "post"), limit, &err);
	if (answer)
		code = print(p, answer);
	json_decref(answer);
	if (ret)
		return cli_fail(p->command, CLI_FAILED, "%s; the instant was "
				"%s", err.text, code == CLI_OK ?
				"begun: abort it, or use it" : "not begun");
	return code;
}

const struct cli_command cli_checkpoint_begin = {
	.name = "checkpoint begin",
	.summary = "Begin an instant that can be read while the disk goes on",
	.words = "DISK-NAMES CHECKPOINT",
	.options = options,
	.run = run,
};
