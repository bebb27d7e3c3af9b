/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers as JSON, written as they are found: memory does not grow with an
 * answer, and none is half an answer. Every failure - of the output, of
 * nesting - is remembered, and cli_json_end turns it into the failure of the
 * command. Names and texts may be any bytes: what is no UTF-8 becomes U+FFFD.
 */
#ifndef CLI_JSON_OUT_H
#define CLI_JSON_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/options.h"

#define CLI_JSON_DEPTH 16

struct cli_json {
	FILE *to;
	unsigned int depth;
	bool array[CLI_JSON_DEPTH]; /* what is open at each depth */
	bool any[CLI_JSON_DEPTH]; /* something stands in it already */
	bool failed;
};

void cli_json_begin(struct cli_json *j, FILE *to);

/* @key: the member's name; NULL in an array, and for the answer itself. */
void cli_json_object(struct cli_json *j, const char *key);
void cli_json_array(struct cli_json *j, const char *key);
/* Ends the innermost object or array. */
void cli_json_close(struct cli_json *j);

void cli_json_number(struct cli_json *j, const char *key, uint64_t value);
void cli_json_real(struct cli_json *j, const char *key, double value);
void cli_json_bool(struct cli_json *j, const char *key, bool value);
/* A value that came as JSON, whole; NULL becomes null. */
void cli_json_value(struct cli_json *j, const char *key, const json_t *value);
/* NULL becomes null. */
void cli_json_text(struct cli_json *j, const char *key, const char *text);

/* The answer is whole and written: CLI_OK; else says so, CLI_FAILED. */
int cli_json_end(struct cli_json *j, const struct cli_command *command);
/* A whole answer that came as JSON. */
int cli_json_answer(const json_t *value, const struct cli_command *command);

#endif
