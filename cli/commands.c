/* SPDX-License-Identifier: BSD-2-Clause */
#include "commands.h"

#include <stddef.h>

const struct cli_command cli_commands[] = {
	{ NULL, NULL, NULL },
};
