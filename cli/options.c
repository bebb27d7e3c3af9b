/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define LONGEST_MS 3600000u

static unsigned int count_of(const struct cli_command *command)
{
	unsigned int n = 0;

	while (command->options && command->options[n].name)
		n++;
	return n;
}

bool cli_parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	unsigned long long number;
	unsigned int shift = 0;
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno)
		return false;
	unit = *end ? strchr(units, *end & ~0x20) : NULL;
	if (unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
	}
	if (*end || number > UINT64_MAX >> shift)
		return false;
	*bytes = (uint64_t)number << shift;
	return true;
}

void cli_range(const struct cli_option *o, uint64_t *min, uint64_t *max)
{
	*min = o->min;
	*max = o->max			      ? o->max :
		o->kind == CLI_MILLISECONDS ? LONGEST_MS :
					      INT64_MAX; /* what JSON takes */
}

/* What the option takes, with unit and range. */
static void describe(const struct cli_option *o, char *to, size_t room)
{
	static const char *const units[] = {
		[CLI_COUNT] = "a number", [CLI_SIZE] = "a size (64K, 1G)",
		[CLI_MILLISECONDS] = "milliseconds",
	};
	uint64_t min, max;

	cli_range(o, &min, &max);
	snprintf(to, room, "%s from %" PRIu64 " to %" PRIu64, units[o->kind],
		 min, max);
}

static bool is_number(const struct cli_option *o)
{
	return o->kind != CLI_FLAG && o->kind != CLI_TEXT &&
	       o->kind != CLI_TEXTS;
}

static bool is_valid(const struct cli_option *o, const char *value)
{
	uint64_t number, min, max;
	char *end;

	if (!is_number(o))
		return true;
	cli_range(o, &min, &max);
	if (o->kind == CLI_SIZE) {
		if (!cli_parse_size(value, &number))
			return false;
	} else {
		errno = 0;
		number = strtoull(value, &end, 10);
		if (*value < '0' || *value > '9' || *end || errno)
			return false;
	}
	return number >= min && number <= max;
}

/* As an operator would write it. */
static void put_value(const struct cli_option *o, uint64_t value)
{
	static const char units[] = "TGMK";

	if (o->kind == CLI_SIZE)
		for (unsigned int i = 0; i < 4; i++) {
			unsigned int shift = 40 - 10 * i;

			if (value && !(value & ((1ull << shift) - 1))) {
				printf("%" PRIu64 "%c", value >> shift,
				       units[i]);
				return;
			}
		}
	printf("%" PRIu64, value);
}

static void put_range(const struct cli_option *o)
{
	uint64_t min, max;

	cli_range(o, &min, &max);
	printf(" (%s%s", o->usual ? "default " : "", o->usual ? o->usual : "");
	if (o->usual)
		printf(", ");
	put_value(o, min);
	if (max == INT64_MAX) {
		printf(" or more)");
		return;
	}
	printf(" to ");
	put_value(o, max);
	putchar(')');
}

static void put_option(const struct cli_option *o)
{
	char left[64];

	snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg ? "=" : "",
		 o->arg ? o->arg : "");
	printf("  %-22s %s", left, o->help);
	if (is_number(o))
		put_range(o);
	else if (o->usual)
		printf(" (default %s)", o->usual);
	putchar('\n');
}

void cli_usage(const struct cli_command *command)
{
	printf("usage: tidemark %s [OPTIONS]%s%s\n\n%s.\n\n", command->name,
	       command->words ? " " : "", command->words ? command->words : "",
	       command->summary);
	for (unsigned int i = 0; i < count_of(command); i++)
		put_option(&command->options[i]);
	printf("  %-22s print this\n", "--help");
}

static void fill_long(const struct cli_command *command, unsigned int n,
		      struct option *l)
{
	for (unsigned int i = 0; i < n; i++) {
		l[i].name = command->options[i].name;
		l[i].has_arg = command->options[i].kind == CLI_FLAG
				   ? no_argument : required_argument;
		l[i].val = (int)i + 1;
	}
	l[n].name = "help";
	l[n].val = CLI_MAX_OPTIONS + 1;
}

/* The last one counts; of several that all do, each is a line. */
static bool take_value(struct cli_parsed *p, int i, const char *value)
{
	const char *before = p->value[i];
	char *joined;

	if (p->command->options[i].kind == CLI_TEXTS && before) {
		if (asprintf(&joined, "%s\n%s", before, value) < 0)
			return false;
		free(p->joined[i]);
		p->joined[i] = joined;
		value = joined;
	}
	p->value[i] = value;
	return true;
}

bool cli_parse(const struct cli_command *command, int argc, char **argv,
	       struct cli_parsed *parsed, int *exit_code)
{
	struct option l[CLI_MAX_OPTIONS + 2] = { 0 };
	unsigned int n = count_of(command);
	int c;

	memset(parsed, 0, sizeof(*parsed));
	parsed->command = command;
	fill_long(command, n, l);
	*exit_code = CLI_USAGE;
	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", l, NULL)) != -1) {
		const struct cli_option *o;

		if (c == CLI_MAX_OPTIONS + 1) {
			cli_usage(command);
			*exit_code = CLI_OK;
			return false;
		}
		if (c == '?' || c == ':') {
			cli_fail(command, CLI_USAGE, "%s '%s'; see --help",
				 c == ':' ? "a value is missing after"
					  : "there is no option",
				 argv[optind - 1]);
			return false;
		}
		o = &command->options[c - 1];
		if (optarg && !is_valid(o, optarg)) {
			char what[120];

			describe(o, what, sizeof(what));
			cli_fail(command, CLI_USAGE, "--%s=%s: it takes %s",
				 o->name, optarg, what);
			return false;
		}
		if (!take_value(parsed, c - 1, optarg ? optarg : "")) {
			cli_fail(command, CLI_FAILED, "no memory for --%s",
				 o->name);
			*exit_code = CLI_FAILED;
			return false;
		}
	}
	parsed->argc = argc - optind;
	parsed->argv = argv + optind;
	if (parsed->argc && !command->words) {
		cli_fail(command, CLI_USAGE, "'%s' is too much; see --help",
			 parsed->argv[0]);
		return false;
	}
	return true;
}

void cli_parsed_fini(struct cli_parsed *parsed)
{
	for (unsigned int i = 0; i < CLI_MAX_OPTIONS; i++)
		free(parsed->joined[i]);
}

static unsigned int index_of(const struct cli_parsed *p, const char *name)
{
	unsigned int i = 0;

	while (strcmp(p->command->options[i].name, name))
		i++;
	return i;
}

bool cli_flag(const struct cli_parsed *p, const char *name)
{
	return p->value[index_of(p, name)] != NULL;
}

const char *cli_text(const struct cli_parsed *p, const char *name)
{
	unsigned int i = index_of(p, name);

	return p->value[i] ? p->value[i] : p->command->options[i].usual;
}

uint64_t cli_number(const struct cli_parsed *p, const char *name)
{
	const char *text = cli_text(p, name);
	uint64_t bytes = 0;

	if (text)
		cli_parse_size(text, &bytes);
	return bytes;
}

const char *cli_show(char to[CLI_SHOWN], const char *text)
{
	tide__text_show(to, CLI_SHOWN, text, strlen(text));
	return to;
}

int cli_fail(const struct cli_command *command, int code, const char *format,
	     ...)
{
	char text[CLI_SHOWN], shown[CLI_SHOWN];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "tidemark %s: %s\n", command->name,
		cli_show(shown, text));
	return code;
}
