/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asking about changes: of a server, over its control socket, or of a disk that
 * nobody serves, by opening its store here. Both are asked the same requests.
 */
#ifndef CLI_CHANGES_H
#define CLI_CHANGES_H

#include <jansson.h>

#include "cli/options.h"

/* The options that say whom to ask. */
#define CHANGES_WHERE                                                        \
	{ "control", "PATH", CLI_TEXT, NULL,                                 \
	  "the control socket of the server" },                              \
	{ "disk", "DISK", CLI_TEXT, NULL,                                    \
	  "a disk that nobody serves, instead of a server" },                \
	{ "store", "PATH", CLI_TEXT, NULL,                                   \
	  "of --disk, where its changes are kept; usually DISK.tidemark" },  \
	{ "live-folder", "FOLDER", CLI_TEXT, NULL,                           \
	  "of --disk, where live files are" },                               \
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" }

/*
 * changes_ask: @request (taken) and its answer; parts that come before are
 * given to @on_part. NULL: *code is the exit status, and why was said.
 */
json_t *changes_ask(const struct cli_parsed *p, json_t *request,
		    void (*on_part)(void *opaque, const json_t *part),
		    void *opaque, int *code);

/* With --disk there is one disk, which has no name. */
int changes_words_before(const struct cli_parsed *p);
int changes_wrong_words(const struct cli_parsed *p);
/* {"command": ..., "disk": first word, "name": the next}; NULL: no memory. */
json_t *changes_request(const struct cli_parsed *p, const char *command);
/* A request (taken) whose answer says no more than that it is done. */
int changes_print_done(const struct cli_parsed *p, json_t *request);

/* The same; DISK-NAME may be names with commas between: one instant. */
json_t *changes_several(const struct cli_parsed *p, const char *command);

#endif
