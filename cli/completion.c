/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark completion: a completion script for bash, made from the tables. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"

static void put_case(const struct cli_command *command)
{
	printf("\t'%s') words='", command->name);
	for (const struct cli_option *o = command->options; o && o->name; o++)
		printf("--%s%s ", o->name, o->arg ? "=" : "");
	printf("--help' ;;\n");
}

static void put_first_words(void)
{
	const char *before = "";

	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		size_t n = strcspn((*c)->name, " ");

		/* "vm" once for all its subcommands, which stand together. */
		if (strlen(before) >= n && !strncmp(before, (*c)->name, n) &&
		    (before[n] == ' ' || !before[n]))
			continue;
		printf("%.*s ", (int)n, (*c)->name);
		before = (*c)->name;
	}
}

/* "vm" -> its subcommands, in one arm a group. */
static void put_second_words(void)
{
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		const char *space = strchr((*c)->name, ' ');

		if (space)
			printf("\t[ \"$one\" = %.*s ] && words+=' %s'\n",
			       (int)(space - (*c)->name), (*c)->name,
			       space + 1);
	}
}

static int run(const struct cli_parsed *p)
{
	(void)p;
	printf("# bash completion for tidemark; source this file\n"
	       "_tidemark() {\n\tlocal words=\n"
	       "\tlocal one=${COMP_WORDS[1]} two=\"${COMP_WORDS[*]:1:2}\"\n"
	       "\tif [ \"$COMP_CWORD\" = 1 ]; then\n\t\twords='");
	put_first_words();
	printf("--help --version'\n\telse\n\tcase $two in\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (strchr((*c)->name, ' '))
			put_case(*c);
	printf("\t*) case $one in\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (!strchr((*c)->name, ' '))
			put_case(*c);
	printf("\tesac ;;\n\tesac\n\tfi\n"
	       "\tif [ \"$COMP_CWORD\" = 2 ] && [ -z \"$words\" ]; then\n"
	       "\t:\n");
	put_second_words();
	printf("\tfi\n"
	       "\tCOMPREPLY=($(compgen -W \"$words\" -- "
	       "\"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
	       "complete -o default -o nospace -F _tidemark tidemark\n");
	return CLI_OK;
}

static const struct cli_option options[] = {
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_completion = {
	.name = "completion",
	.summary = "Print a completion script for bash",
	.options = options,
	.run = run,
};
