/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion scripts, one writer a shell. All read the tables of commands and
 * options, so that none can fall behind; what they share is in completion.c.
 */
#ifndef CLI_COMPLETION_SHELLS_H
#define CLI_COMPLETION_SHELLS_H

#include <stdbool.h>

#include "cli/commands.h"
#include "cli/options.h"

void completion_bash(void);
void completion_zsh(void);
void completion_fish(void);

/* "vm run" is "run" of the group "vm"; "demo" is itself. */
const char *completion_last_word(const struct cli_command *command);
/* Its value is the name of a file, a folder or a socket. */
bool completion_is_path(const struct cli_option *option);
/* @text in single quotes; @escape is how the shell writes a quote in them. */
void completion_quoted(const char *text, const char *escape);

#endif
