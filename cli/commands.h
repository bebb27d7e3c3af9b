/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of subcommands: the one place that knows which exist.
 * Parser, --help, completion and the manual test all read it.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

/* Exit codes, the same for every subcommand and documented in tidemark(1). */
enum cli_exit {
	CLI_OK = 0,		/* done, and everything asked for was verified */
	CLI_FAILED = 1,		/* could not be done; the reason is on stderr */
	CLI_USAGE = 2,		/* the command line is wrong */
	CLI_UNVERIFIED = 3,	/* done, but a verification failed */
	CLI_REFUSED = 4,	/* refused by the other side or by a self-test */
	CLI_NOT_CONVERGING = 5,	/* migration would not converge */
};

struct cli_command {
	const char *name;	/* "demo", or "vm run" for a nested one */
	const char *summary;	/* one line, no full stop */
	int (*run)(int argc, char **argv);	/* argv[0] is the name */
};

extern const struct cli_command cli_commands[];	/* ends with name NULL */

int cli_bench(int argc, char **argv);
int cli_sources(int argc, char **argv);

#endif
