/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options of a subcommand: one table from which the parser, --help, the shell
 * completion and the test of the manuals all come.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/commands.h"

#define CLI_MAX_OPTIONS 32

enum cli_kind {
	CLI_FLAG,
	CLI_TEXT,
	CLI_TEXTS,	/* may be given several times: lines of one text */
	CLI_COUNT,	/* a number */
	CLI_SIZE,	/* bytes: 4096, 64K, 1G */
	CLI_MILLISECONDS,	/* at most an hour, unless it says a most */
};

struct cli_option {
	const char *name;	/* without dashes */
	const char *arg;	/* what --help calls it; NULL for a flag */
	enum cli_kind kind;
	const char *usual;	/* default as text; NULL: none */
	const char *help;
	uint64_t min, max;	/* of a number; most 0: no limit above */
};

struct cli_parsed {
	const struct cli_command *command;
	const char *value[CLI_MAX_OPTIONS];	/* NULL: not given */
	char *joined[CLI_MAX_OPTIONS];	/* the value, if it is not argv's */
	int argc;				/* words that are no options */
	char **argv;
};

/*
 * Parse argv[1..]; --help is handled here. True if the command shall run; else
 * *exit_code says how to end.
 */
bool cli_parse(const struct cli_command *command, int argc, char **argv,
	       struct cli_parsed *parsed, int *exit_code);
/* After cli_parse, whatever it said, and after the command has run. */
void cli_parsed_fini(struct cli_parsed *parsed);
void cli_usage(const struct cli_command *command);

/* Values, or their defaults; the name must be in the table. */
bool cli_flag(const struct cli_parsed *p, const char *name);
const char *cli_text(const struct cli_parsed *p, const char *name);
uint64_t cli_number(const struct cli_parsed *p, const char *name);

/* The range that holds for @option, in its unit. */
void cli_range(const struct cli_option *option, uint64_t *min,
	       uint64_t *max);

/* Parse "64K", "1G", "4096": false if it is no size. */
bool cli_parse_size(const char *text, uint64_t *bytes);

#define CLI_SHOWN 4096

/*
 * Text that somebody else chose (an image, a peer, a recording), for a person
 * to read: see base/text.h. Returns @to.
 */
const char *cli_show(char to[CLI_SHOWN], const char *text);

/* Error of a command to stderr: "tidemark demo: reason". Returns @code.
 * Whatever names and texts of others are in it are shown as by cli_show. */
int cli_fail(const struct cli_command *command, int code, const char *format,
	     ...) __attribute__((format(printf, 3, 4)));

#endif
