/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON as it is found. See json_out.h. */
#include "cli/json_out.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/text.h"

void cli_json_begin(struct cli_json *j, FILE *to)
{
	*j = (struct cli_json){ .to = to };
}

static void put(struct cli_json *j, const char *text)
{
	if (fputs(text, j->to) == EOF)
		j->failed = true;
}

/* Code points as they are, or as \u....: what JSON wants, and what a terminal
 * should not obey. */
static void put_string(struct cli_json *j, const char *text)
{
	size_t left = strlen(text);
	char escape[8];

	put(j, "\"");
	while (left) {
		size_t plain = tide__text_plain(text, left);
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\') {
			fputc('\\', j->to);
			fputc(c, j->to);
		} else if (plain) {
			fwrite(text, 1, plain, j->to);
		} else if (c < 0x80) {
			snprintf(escape, sizeof(escape), "\\u%04x", c);
			put(j, escape);
		} else {
			put(j, "\\ufffd");
		}
		text += plain ? plain : 1;
		left -= plain ? plain : 1;
	}
	put(j, "\"");
}

/* Comma, line, indentation and name: what stands before a value. */
static void lead(struct cli_json *j, const char *key)
{
	if (j->depth) {
		bool *any = &j->any[j->depth - 1];

		put(j, *any ? ",\n" : "\n");
		*any = true;
		for (unsigned int i = 0; i < j->depth; i++)
			put(j, "  ");
	}
	if (key) {
		put_string(j, key);
		put(j, ": ");
	}
}

static void open_level(struct cli_json *j, const char *key, bool array)
{
	lead(j, key);
	put(j, array ? "[" : "{");
	if (j->depth == CLI_JSON_DEPTH) {
		j->failed = true;
		return;
	}
	j->array[j->depth] = array;
	j->any[j->depth++] = false;
}

void cli_json_object(struct cli_json *j, const char *key)
{
	open_level(j, key, false);
}

void cli_json_array(struct cli_json *j, const char *key)
{
	open_level(j, key, true);
}

void cli_json_close(struct cli_json *j)
{
	if (!j->depth) {
		j->failed = true;
		return;
	}
	j->depth--;
	if (j->any[j->depth]) {
		put(j, "\n");
		for (unsigned int i = 0; i < j->depth; i++)
			put(j, "  ");
	}
	put(j, j->array[j->depth] ? "]" : "}");
}

void cli_json_number(struct cli_json *j, const char *key, uint64_t value)
{
	lead(j, key);
	if (fprintf(j->to, "%" PRIu64, value) < 0)
		j->failed = true;
}

void cli_json_real(struct cli_json *j, const char *key, double value)
{
	lead(j, key);
	if (!isfinite(value))
		put(j, "null");
	else if (fprintf(j->to, "%.17g", value) < 0)
		j->failed = true;
}

void cli_json_bool(struct cli_json *j, const char *key, bool value)
{
	lead(j, key);
	put(j, value ? "true" : "false");
}

void cli_json_text(struct cli_json *j, const char *key, const char *text)
{
	lead(j, key);
	if (text)
		put_string(j, text);
	else
		put(j, "null");
}

static void put_members(struct cli_json *j, const json_t *value)
{
	const char *name;
	json_t *member;
	size_t i;

	json_object_foreach((json_t *)value, name, member)
		cli_json_value(j, name, member);
	json_array_foreach(value, i, member)
		cli_json_value(j, NULL, member);
	cli_json_close(j);
}

void cli_json_value(struct cli_json *j, const char *key, const json_t *value)
{
	if (j->failed)
		return;
	if (json_is_object(value) || json_is_array(value)) {
		open_level(j, key, json_is_array(value));
		if (!j->failed)
			put_members(j, value);
	} else if (json_is_integer(value)) {
		lead(j, key);
		if (fprintf(j->to, "%" JSON_INTEGER_FORMAT,
			    json_integer_value(value)) < 0)
			j->failed = true;
	} else if (json_is_real(value)) {
		cli_json_real(j, key, json_real_value(value));
	} else if (json_is_boolean(value)) {
		cli_json_bool(j, key, json_is_true(value));
	} else {
		cli_json_text(j, key, json_string_value(value));
	}
}

int cli_json_answer(const json_t *value, const struct cli_command *command)
{
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_value(&j, NULL, value);
	return cli_json_end(&j, command);
}

int cli_json_end(struct cli_json *j, const struct cli_command *command)
{
	put(j, "\n");
	if (j->depth || ferror(j->to) || fflush(j->to))
		j->failed = true;
	return j->failed ? cli_fail(command, CLI_FAILED,
				    "the answer could not be written: %s",
				    errno ? strerror(errno) : "it is not whole")
			 : CLI_OK;
}
