/* SPDX-License-Identifier: BSD-2-Clause */
/* Showing the rounds of a migration to a person. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <jansson.h>

/*
 * Print one round as it comes over the control socket: at a terminal a line
 * that is drawn over while the round runs, elsewhere one plain line a round.
 */
void progress_round(const json_t *round);
/* Before anything else is printed while a line may stand open. */
void progress_end(void);

#endif
