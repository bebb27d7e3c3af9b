/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For fish: one line a word, each with the condition under which it may stand:
 * no command yet; a group and none of its commands; a command.
 */
#include <stdio.h>
#include <string.h>

#include "cli/completion/shells.h"

#define QUOTE "\\'"
#define SEEN "__fish_seen_subcommand_from"

static void put_word(const char *word, const char *summary)
{
	printf(" -f -a %s -d ", word);
	completion_quoted(summary, QUOTE);
	putchar('\n');
}

static void put_group(const struct cli_group *g)
{
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		if (!cli_in_group(*c, g))
			continue;
		printf("complete -c tidemark -n '" SEEN " %s; and not " SEEN,
		       g->name);
		for (const struct cli_command *const *o = cli_commands; *o; o++)
			if (cli_in_group(*o, g))
				printf(" %s", completion_last_word(*o));
		printf("'");
		put_word(completion_last_word(*c), (*c)->summary);
	}
}

static void put_options(const struct cli_command *c)
{
	int first = (int)strcspn(c->name, " ");

	for (const struct cli_option *o = c->options; o && o->name; o++) {
		printf("complete -c tidemark -n '" SEEN " %.*s", first,
		       c->name);
		if (c->name[first])
			printf("; and " SEEN " %s", completion_last_word(c));
		printf("' -l %s%s -d ", o->name,
		       !o->arg ? "" : completion_is_path(o) ? " -r" : " -x");
		completion_quoted(o->help, QUOTE);
		putchar('\n');
	}
}

void completion_fish(void)
{
	printf("# fish completion for tidemark\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		if (strchr((*c)->name, ' '))
			continue;
		printf("complete -c tidemark -n __fish_use_subcommand");
		put_word((*c)->name, (*c)->summary);
	}
	for (const struct cli_group *g = cli_groups; g->name; g++) {
		printf("complete -c tidemark -n __fish_use_subcommand");
		put_word(g->name, g->summary);
	}
	for (const struct cli_group *g = cli_groups; g->name; g++)
		put_group(g);
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		put_options(*c);
}
