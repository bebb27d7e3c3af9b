/* SPDX-License-Identifier: BSD-2-Clause */
#include "commands.h"

#include <stddef.h>

const struct cli_command cli_commands[] = {
	{ "sources", "show which ways of tracking writes work here",
	  cli_sources },
	{ "bench", "measure the dirty set against its rivals",
	  cli_bench },
	{ NULL, NULL, NULL },
};
