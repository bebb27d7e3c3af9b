/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entry of the command: finds the subcommand in the table and hands over.
 */
#include "cli/commands.h"
#include "cli/options.h"
#include "rbd/disk.h"
#include "tidemark/scan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void usage(FILE *to)
{
	fprintf(to, "usage: tidemark COMMAND [OPTIONS]\n\ncommands:\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		fprintf(to, "  %-21s %s\n", (*c)->name, (*c)->summary);
	fprintf(to, "\n'tidemark COMMAND --help' tells more.\n");
}

static void group_usage(FILE *to, const struct cli_group *group)
{
	fprintf(to, "usage: tidemark %s COMMAND [OPTIONS]\n\n%s.\n\n"
		"commands:\n", group->name, group->summary);
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		if (cli_in_group(*c, group))
			fprintf(to, "  %-21s %s\n", (*c)->name, (*c)->summary);
	fprintf(to, "\n'tidemark %s COMMAND --help' tells more.\n",
		group->name);
}

static const struct cli_group *group_named(const char *name)
{
	for (const struct cli_group *g = cli_groups; g->name; g++)
		if (!strcmp(g->name, name))
			return g;
	return NULL;
}

/* How many words of argv name the command @c; 0 if they do not. */
static int words_matching(const struct cli_command *c, int argc, char **argv)
{
	const char *space = strchr(c->name, ' ');
	size_t first = space ? (size_t)(space - c->name) : strlen(c->name);

	if (argc < 2 || strlen(argv[1]) != first ||
	    strncmp(c->name, argv[1], first))
		return 0;
	if (!space)
		return 1;
	return argc > 2 && !strcmp(space + 1, argv[2]) ? 2 : 0;
}

/* An answer that did not arrive is no answer, whatever the verdict was. */
static int finish(const char *name, int code)
{
	if (!ferror(stdout) && !fflush(stdout))
		return code;
	/* The command itself may have said so already. */
	if (code != CLI_FAILED)
		fprintf(stderr, "tidemark %s: the output could not be written: "
			"%s\n", name, strerror(errno));
	return CLI_FAILED;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
	struct cli_parsed parsed;
	int code;

	if (cli_parse(command, argc, argv, &parsed, &code))
		code = command->run(&parsed);
	cli_parsed_fini(&parsed);
	return finish(command->name, code);
}

/* A group by itself is answered with what is in it. */
static int no_command(int argc, char **argv)
{
	const struct cli_group *group = argc >= 2 ? group_named(argv[1]) : NULL;

	if (group && argc >= 3 && !strcmp(argv[2], "--help")) {
		group_usage(stdout, group);
		return finish("--help", CLI_OK);
	}
	if (group && argc >= 3)
		fprintf(stderr, "tidemark: no command '%s %s'\n", argv[1],
			argv[2]);
	else if (argc >= 2 && !group)
		fprintf(stderr, "tidemark: no command '%s'\n", argv[1]);
	if (group)
		group_usage(stderr, group);
	else
		usage(stderr);
	return CLI_USAGE;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && !strcmp(argv[1], "--help")) {
		usage(stdout);
		return finish("--help", CLI_OK);
	}
	if (argc >= 2 && !strcmp(argv[1], "--version")) {
		printf("tidemark %s (%s)\n", TIDEMARK_VERSION,
		       tide_isa_name());
		return finish("--version", CLI_OK);
	}
	ceph_disk_register();
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		int words = words_matching(*c, argc, argv);

		if (words)
			return run(*c, argc - words, argv + words);
	}
	return no_command(argc, argv);
}
