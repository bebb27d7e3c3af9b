/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark completion: a completion script for a shell, from the tables. */
#include <stdio.h>
#include <string.h>

#include "cli/completion/shells.h"

static const struct {
	const char *name;
	void (*write)(void);
} shells[] = {
	{ "bash", completion_bash },
	{ "zsh", completion_zsh },
	{ "fish", completion_fish },
};

const char *completion_last_word(const struct cli_command *command)
{
	const char *space = strchr(command->name, ' ');

	return space ? space + 1 : command->name;
}

bool completion_is_path(const struct cli_option *option)
{
	static const char *const names[] = { "PATH", "FILE", "FOLDER" };

	for (unsigned int i = 0; option->arg && i < 3; i++)
		if (!strcmp(option->arg, names[i]))
			return true;
	return false;
}

void completion_quoted(const char *text, const char *escape)
{
	putchar('\'');
	for (; *text; text++)
		if (*text == '\'')
			fputs(escape, stdout);
		else
			putchar(*text);
	putchar('\'');
}

static int run(const struct cli_parsed *p)
{
	const char *shell = p->argc ? p->argv[0] : "bash";

	if (p->argc > 1)
		return cli_fail(p->command, CLI_USAGE,
				"one shell at a time; see --help");
	for (unsigned int i = 0; i < sizeof(shells) / sizeof(*shells); i++)
		if (!strcmp(shells[i].name, shell)) {
			shells[i].write();
			return CLI_OK;
		}
	return cli_fail(p->command, CLI_USAGE,
			"'%s' is none of bash, zsh, fish", shell);
}

static const struct cli_option options[] = {
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_completion = {
	.name = "completion",
	.summary = "Print a completion script for bash, zsh or fish",
	.words = "[SHELL]",
	.options = options,
	.run = run,
};
