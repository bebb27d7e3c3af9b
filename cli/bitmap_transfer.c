/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark bitmap export and import: a bitmap as a file (bitmap_file.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bitmap_file.h"
#include "cli/changes.h"
#include "cli/client.h"
#include "cli/output.h"

static void write_part(void *opaque, const json_t *part)
{
	const json_t *list = json_object_get(part, "changed");
	json_t *run;
	size_t i;

	json_array_foreach(list, i, run)
		fprintf(opaque, "%lld %lld\n",
			client_integer(run, "byte_offset"),
			client_integer(run, "size_bytes"));
}

static int write_all(const struct cli_parsed *p, FILE *to)
{
	json_t *answer;
	int code;

	answer = changes_ask(p, changes_request(p, "bitmap-info"), NULL, NULL,
			     &code);
	if (!answer)
		return code;
	bitmap_file_begin(to, (uint64_t)client_integer(answer, "size_bytes"),
			  (uint64_t)client_integer(answer,
						   "granularity_bytes"));
	json_decref(answer);
	answer = changes_ask(p, changes_request(p, "diff"), write_part, to,
			     &code);
	json_decref(answer);
	return code;
}

static const char *file_word(const struct cli_parsed *p)
{
	return p->argv[changes_words_before(p) + 1];
}

static int run_export(const struct cli_parsed *p)
{
	struct output_file out;
	struct tide_error err;
	int code;

	if (p->argc != changes_words_before(p) + 2)
		return changes_wrong_words(p);
	if (output_open(&out, file_word(p), cli_flag(p, "force"), &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	code = write_all(p, out.file);
	if (code != CLI_OK)
		output_drop(&out);
	else if (output_close(&out, &err))
		code = cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return code;
}

static int run_import(const struct cli_parsed *p)
{
	json_t *request;
	char *path;

	if (p->argc != changes_words_before(p) + 2)
		return changes_wrong_words(p);
	path = realpath(file_word(p), NULL);
	if (!path)
		return cli_fail(p->command, CLI_FAILED, "%s: %s", file_word(p),
				strerror(errno));
	request = changes_request(p, "bitmap-import");
	if (request &&
	    json_object_set_new(request, "file", json_string(path))) {
		json_decref(request);
		request = NULL;
	}
	free(path);
	return changes_print_done(p, request);
}

static const struct cli_option export_options[] = {
	OPT_FORCE,
	CHANGES_WHERE,
	{ 0 },
};

static const struct cli_option import_options[] = {
	CHANGES_WHERE,
	{ 0 },
};

const struct cli_command cli_bitmap_export = {
	.name = "bitmap export",
	.summary = "Write what a bitmap or checkpoint says to a file",
	.words = "DISK-NAME NAME FILE",
	.options = export_options,
	.run = run_export,
};

const struct cli_command cli_bitmap_import = {
	.name = "bitmap import",
	.summary = "Add a bitmap, not recording, from an exported file",
	.words = "DISK-NAME BITMAP FILE",
	.options = import_options,
	.run = run_import,
};
