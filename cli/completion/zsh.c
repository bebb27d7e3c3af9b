/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For zsh: _describe for the words of commands, _arguments for the options of
 * one, each with its explanation. The file serves from $fpath and by `source`.
 */
#include <stdio.h>
#include <string.h>

#include "cli/completion/shells.h"

#define QUOTE "'\\''"

static void put_described(const char *word, const char *summary)
{
	char both[200];

	snprintf(both, sizeof(both), "%s:%s", word, summary);
	printf("\t\t");
	completion_quoted(both, QUOTE);
	putchar('\n');
}

static void put_first_words(void)
{
	printf("\tif (( CURRENT == 2 )); then\n\t\tlist=(\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (!strchr((*c)->name, ' '))
			put_described((*c)->name, (*c)->summary);
	for (const struct cli_group *g = cli_groups; g->name; g++)
		put_described(g->name, g->summary);
	printf("\t\t)\n\t\t_describe -t commands command list\n"
	       "\t\treturn\n\tfi\n");
}

static void put_group(const struct cli_group *g)
{
	/* A group may be a command of its own: then options may stand here. */
	printf("\tif (( CURRENT == 3 )) && [[ $words[2] == %s ]] && "
	       "[[ $words[3] != -* ]]; then\n"
	       "\t\tlist=(\n", g->name);
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (cli_in_group(*c, g))
			put_described(completion_last_word(*c), (*c)->summary);
	printf("\t\t)\n\t\t_describe -t commands '%s command' list\n"
	       "\t\treturn\n\tfi\n", g->name);
}

/* In an explanation only the closing bracket means something. */
static void put_option(const struct cli_option *o)
{
	char spec[400];
	size_t n = (size_t)snprintf(spec, sizeof(spec), "--%s%s[", o->name,
				    o->arg ? "=" : "");

	for (const char *at = o->help; *at && n < sizeof(spec) - 80; at++) {
		if (*at == ']' || *at == '[')
			spec[n++] = '\\';
		spec[n++] = *at;
	}
	n += (size_t)snprintf(spec + n, sizeof(spec) - n, "]");
	if (o->arg)
		snprintf(spec + n, sizeof(spec) - n, ":%.40s:%s", o->arg,
			 completion_is_path(o) ? "_files" : " ");
	printf(" \\\n\t\t\t");
	completion_quoted(spec, QUOTE);
}

static void put_command(const struct cli_command *c)
{
	bool grouped = strchr(c->name, ' ');

	/* "scan " and not "scan": it is matched with what follows. */
	printf("\t\"%s%s)\n", c->name, grouped ? "\"" : " \"*");
	printf("\t\tshift %d words; (( CURRENT -= %d ))\n\t\t_arguments",
	       grouped ? 2 : 1, grouped ? 2 : 1);
	for (const struct cli_option *o = c->options; o && o->name; o++)
		put_option(o);
	printf(" \\\n\t\t\t'--help[print the options]'%s ;;\n",
	       c->words ? " \\\n\t\t\t'*:file:_files'" : "");
}

void completion_zsh(void)
{
	printf("#compdef tidemark\n# zsh completion for tidemark\n"
	       "_tidemark() {\n\tlocal -a list\n");
	put_first_words();
	for (const struct cli_group *g = cli_groups; g->name; g++)
		put_group(g);
	printf("\tcase \"$words[2] $words[3]\" in\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		put_command(*c);
	printf("\tesac\n}\n"
	       "if [[ $funcstack[1] == _tidemark ]]; then\n\t_tidemark \"$@\"\n"
	       "else\n\tcompdef _tidemark tidemark\nfi\n");
}
