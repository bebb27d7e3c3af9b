/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For bash: one function that chooses the words which may stand here, by a
 * case over the command. Values of options fall through to file names.
 */
#include <stdio.h>
#include <string.h>

#include "cli/completion/shells.h"

static void put_case(const struct cli_command *command)
{
	printf("\t'%s') words='", command->name);
	for (const struct cli_option *o = command->options; o && o->name; o++)
		printf("--%s%s ", o->name, o->arg ? "=" : "");
	printf("--help' ;;\n");
}

static void put_first_words(void)
{
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (!strchr((*c)->name, ' '))
			printf("%s ", (*c)->name);
	for (const struct cli_group *g = cli_groups; g->name; g++)
		printf("%s ", g->name);
}

/* "vm" -> its subcommands. */
static void put_second_words(void)
{
	for (const struct cli_group *g = cli_groups; g->name; g++) {
		printf("\t[ \"$one\" = %s ] && words+=' ", g->name);
		for (const struct cli_command *const *c = cli_commands; *c; c++)
			if (cli_in_group(*c, g))
				printf("%s ", completion_last_word(*c));
		printf("--help'\n");
	}
}

static void put_cases(bool grouped)
{
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (!strchr((*c)->name, ' ') == !grouped)
			put_case(*c);
}

void completion_bash(void)
{
	printf("# bash completion for tidemark\n"
	       "_tidemark() {\n\tlocal words=\n"
	       "\tlocal one=${COMP_WORDS[1]} two=\"${COMP_WORDS[*]:1:2}\"\n"
	       "\tif [ \"$COMP_CWORD\" = 1 ]; then\n\t\twords='");
	put_first_words();
	printf("--help --version'\n\telse\n\tcase $two in\n");
	put_cases(true);
	printf("\t*) case $one in\n");
	put_cases(false);
	printf("\tesac ;;\n\tesac\n\tfi\n"
	       /* A group may be a command of its own, with options. */
	       "\tif [ \"$COMP_CWORD\" = 2 ]; then\n"
	       "\t:\n");
	put_second_words();
	printf("\tfi\n"
	       "\tCOMPREPLY=($(compgen -W \"$words\" -- "
	       "\"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
	       "complete -o default -o nospace -F _tidemark tidemark\n");
}
