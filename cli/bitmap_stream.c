/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark bitmap export-stream and import-stream: bitmaps as QEMU's migration
 * has them (bitmaps/stream.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bitmaps/stream.h"
#include "cli/changes.h"
#include "cli/client.h"
#include "cli/json_out.h"
#include "cli/output.h"

#define RUNS_A_REQUEST 4096u

/* --- export --------------------------------------------------------------- */

static void take_part(void *opaque, const json_t *part)
{
	const json_t *list = json_object_get(part, "changed");
	struct stream_bitmap *b = opaque;
	json_t *run;
	size_t i;

	json_array_foreach(list, i, run) {
		uint64_t at = (uint64_t)client_integer(run, "byte_offset");
		uint64_t size = (uint64_t)client_integer(run, "size_bytes");

		if (cbt_image_set(&b->bits, at >> b->bits.shift,
				  cbt_bits_of(at + size, b->bits.shift)))
			b->complete = false; /* no memory */
	}
}

static json_t *point_request(const struct cli_parsed *p, const char *command,
			     const char *name)
{
	json_t *r = json_pack("{s:s, s:s}", "command", command, "name", name);

	if (r && changes_words_before(p) &&
	    json_object_set_new(r, "disk", json_string(p->argv[0]))) {
		json_decref(r);
		return NULL;
	}
	return r;
}

/* The name there of what is @name here, which may be @text: "NAME=THERE". */
static int split_name(const struct cli_parsed *p, const char *text,
		      char here[1024], char there[STREAM_LONGEST_NAME + 1])
{
	const char *sign = strchr(text, '=');
	const char *its = sign ? sign + 1 : text;
	size_t length = sign ? (size_t)(sign - text) : strlen(text);

	if (!length || length > 1023 || !*its ||
	    strlen(its) > STREAM_LONGEST_NAME)
		return cli_fail(p->command, CLI_USAGE, "'%s': a name in the "
				"stream has 1 to %u bytes: give another one by "
				"NAME=OTHER", text, STREAM_LONGEST_NAME);
	memcpy(here, text, length);
	here[length] = 0;
	memcpy(there, its, strlen(its) + 1);
	return CLI_OK;
}

static int gather_one(const struct cli_parsed *p, const char *word,
		      struct stream_bitmap *b)
{
	json_t *info, *answer;
	uint64_t granularity;
	char here[1024];
	int code = split_name(p, word, here, b->name);

	if (code != CLI_OK)
		return code;
	info = changes_ask(p, point_request(p, "bitmap-info", here), NULL,
			   NULL, &code);
	if (!info)
		return code;
	granularity = (uint64_t)client_integer(info, "granularity_bytes");
	b->size_bytes = (uint64_t)client_integer(info, "size_bytes");
	b->enabled = !strcmp(client_text(info, "state"), "recording");
	b->persistent = !cli_flag(p, "transient");
	json_decref(info);
	if (granularity < 512 || !b->size_bytes)
		return cli_fail(p->command, CLI_FAILED,
				"'%s' is of an empty disk", here);
	b->bits.shift = (uint32_t)__builtin_ctzll(granularity);
	b->complete = !cbt_image_grow(&b->bits, cbt_bits_of(b->size_bytes,
							    b->bits.shift));
	answer = b->complete ? changes_ask(p, point_request(p, "diff", here),
					   take_part, b, &code) : NULL;
	json_decref(answer);
	if (!b->complete)
		return cli_fail(p->command, CLI_FAILED, "no memory for '%s'",
				here);
	return code;
}

static int export_words(const struct cli_parsed *p, int first, int last,
			FILE *to)
{
	const char *node = cli_text(p, "node");
	struct stream_bitmaps all = { .count = (size_t)(last - first) };
	struct tide_error err;
	int code = CLI_OK;

	if (!node)
		node = changes_words_before(p) ? p->argv[0] : "disk";
	if (strlen(node) > STREAM_LONGEST_NAME)
		return cli_fail(p->command, CLI_USAGE, "a node's name has 1 to "
				"%u bytes: see --node", STREAM_LONGEST_NAME);
	all.list = calloc(all.count, sizeof(*all.list));
	if (!all.list)
		return cli_fail(p->command, CLI_FAILED, "no memory");
	for (int i = first; i < last && code == CLI_OK; i++) {
		struct stream_bitmap *b = &all.list[i - first];

		memcpy(b->node, node, strlen(node) + 1);
		code = gather_one(p, p->argv[i], b);
	}
	if (code == CLI_OK &&
	    stream_write(to, cli_text(p, "machine"), &all, &err))
		code = cli_fail(p->command, CLI_FAILED, "%s", err.text);
	stream_fini(&all);
	return code;
}

static int run_export(const struct cli_parsed *p)
{
	int first = changes_words_before(p), last = p->argc - 1;
	struct output_file out;
	struct tide_error err;
	int code;

	if (last <= first || last - first > (int)STREAM_MAX_BITMAPS)
		return changes_wrong_words(p);
	if (output_open(&out, p->argv[last], cli_flag(p, "force"), &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	code = export_words(p, first, last, out.file);
	if (code != CLI_OK)
		output_drop(&out);
	else if (output_close(&out, &err))
		code = cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return code;
}

/* --- import --------------------------------------------------------------- */

struct importing {
	const struct cli_parsed *p;
	const struct stream_bitmap *b;
	uint64_t disk_bytes;
	json_t *runs; /* of the next request */
	bool more; /* the bitmap is there */
	int code;
};

static void send_runs(struct importing *s)
{
	json_t *answer, *r = point_request(s->p, "bitmap-import", s->b->name);

	if (r && (json_object_set_new(r, "granularity_bytes", json_integer(
			(json_int_t)1 << s->b->bits.shift)) ||
		  json_object_set_new(r, "more", json_boolean(s->more)) ||
		  json_object_set_new(r, "runs", s->runs))) {
		json_decref(r);
		r = NULL;
	}
	s->runs = json_array();
	answer = changes_ask(s->p, r, NULL, NULL, &s->code);
	s->more |= !!answer;
	json_decref(answer);
	if (!s->runs)
		s->code = CLI_FAILED;
}

static void add_run(struct importing *s, uint64_t start, uint64_t end)
{
	uint32_t shift = s->b->bits.shift;
	uint64_t at = start << shift, to = end << shift;

	if (to > s->disk_bytes || to >> shift != end)
		to = s->disk_bytes;
	if (json_array_append_new(s->runs, json_pack("[I, I]", (json_int_t)at,
						     (json_int_t)(to - at))))
		s->code = cli_fail(s->p->command, CLI_FAILED, "no memory");
	else if (json_array_size(s->runs) == RUNS_A_REQUEST)
		send_runs(s);
}

static void send_page(struct importing *s, uint64_t base,
		      const uint64_t *words)
{
	struct cbt_run run = cbt_next_run(words, CBT_PAGE_BITS, 0);

	for (; run.start < run.end && s->code == CLI_OK;
	     run = cbt_next_run(words, CBT_PAGE_BITS, run.end))
		add_run(s, base + run.start, base + run.end);
}

static void send_pages(struct importing *s)
{
	const struct cbt_image *m = &s->b->bits;

	for (size_t i = 0; i < m->page_count; i++)
		if (m->pages[i])
			send_page(s, (uint64_t)i * CBT_PAGE_BITS,
				  m->pages[i]->words);
}

/* It is there whole, in the state it had, or not at all. */
static int import_one(const struct cli_parsed *p,
		      const struct stream_bitmap *b, uint64_t disk_bytes)
{
	struct importing s = { .p = p, .b = b, .disk_bytes = disk_bytes,
			       .runs = json_array() };
	int code;

	if (!s.runs)
		return cli_fail(p->command, CLI_FAILED, "no memory");
	send_pages(&s);
	if (s.code == CLI_OK && (!s.more || json_array_size(s.runs)))
		send_runs(&s);
	json_decref(s.runs);
	if (s.code == CLI_OK && b->enabled && !cli_flag(p, "disabled"))
		json_decref(changes_ask(p, point_request(p, "bitmap-enable",
				b->name), NULL, NULL, &s.code));
	if (s.code != CLI_OK && s.more)
		json_decref(changes_ask(p, point_request(p, "bitmap-remove",
				b->name), NULL, NULL, &code));
	return s.code;
}

static int size_of_disk(const struct cli_parsed *p, uint64_t *bytes)
{
	json_t *status, *disk, *answer;
	size_t i;
	int code;

	answer = changes_ask(p, json_pack("{s:s}", "command", "status"), NULL,
			     NULL, &code);
	if (!answer)
		return code;
	*bytes = UINT64_MAX;
	status = json_object_get(answer, "disks");
	json_array_foreach(status, i, disk)
		if (!changes_words_before(p) ||
		    !strcmp(client_text(disk, "name"), p->argv[0]))
			*bytes = (uint64_t)client_integer(disk, "size_bytes");
	json_decref(answer);
	if (*bytes == UINT64_MAX)
		return cli_fail(p->command, CLI_FAILED,
				"there is no disk '%s' there", p->argv[0]);
	return CLI_OK;
}

static void show_one(const struct cli_parsed *p, struct cli_json *j,
		     const struct stream_bitmap *b)
{
	uint64_t dirty = cbt_image_count(&b->bits) << b->bits.shift;
	char name[CLI_SHOWN], node[CLI_SHOWN];

	if (!cli_flag(p, "json")) {
		printf("%-24s of %s, %s, %" PRIu64 " bytes dirty, blocks of %"
		       PRIu64 "\n", cli_show(name, b->name),
		       cli_show(node, b->node),
		       b->enabled ? "recording" : "disabled", dirty,
		       UINT64_C(1) << b->bits.shift);
		return;
	}
	cli_json_object(j, NULL);
	cli_json_text(j, "node", b->node);
	cli_json_text(j, "name", b->name);
	cli_json_bool(j, "recording", b->enabled);
	cli_json_bool(j, "persistent", b->persistent);
	cli_json_number(j, "size_bytes", b->size_bytes);
	cli_json_number(j, "granularity_bytes", UINT64_C(1) << b->bits.shift);
	cli_json_number(j, "dirty_bytes", dirty);
	cli_json_close(j);
}

static bool wanted(const struct cli_parsed *p, const struct stream_bitmap *b)
{
	const char *node = cli_text(p, "node"), *only = cli_text(p, "bitmap");

	return (!node || !strcmp(node, b->node)) &&
	       (!only || !strcmp(only, b->name));
}

/* Nothing is begun if it cannot all be right. */
static int check_all(const struct cli_parsed *p,
		     const struct stream_bitmaps *all, uint64_t disk_bytes)
{
	size_t count = 0;

	for (size_t i = 0; i < all->count; i++) {
		const struct stream_bitmap *b = &all->list[i];

		if (!wanted(p, b))
			continue;
		count++;
		if (!stream_find(all, cli_text(p, "node"), b->name))
			return cli_fail(p->command, CLI_FAILED, "'%s' is there "
					"of several disks: which one? Give "
					"--node=NODE", b->name);
		if (b->size_bytes != (disk_bytes + 511) / 512 * 512)
			return cli_fail(p->command, CLI_FAILED, "'%s' is of a "
					"disk of %" PRIu64 " bytes, this one "
					"has %" PRIu64, b->name, b->size_bytes,
					disk_bytes);
	}
	return count ? CLI_OK : cli_fail(p->command, CLI_FAILED,
					 "no such bitmap is in it");
}

static int import_all(const struct cli_parsed *p,
		      const struct stream_bitmaps *all)
{
	struct cli_json j;
	uint64_t bytes = 0;
	int code = size_of_disk(p, &bytes), ended;

	if (code == CLI_OK)
		code = check_all(p, all, bytes);
	if (cli_flag(p, "json")) {
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_array(&j, "bitmaps");
	}
	for (size_t i = 0; i < all->count && code == CLI_OK; i++) {
		if (!wanted(p, &all->list[i]))
			continue;
		code = import_one(p, &all->list[i], bytes);
		if (code == CLI_OK)
			show_one(p, &j, &all->list[i]);
	}
	if (!cli_flag(p, "json"))
		return code;
	cli_json_close(&j);
	cli_json_bool(&j, "complete", code == CLI_OK);
	cli_json_close(&j);
	ended = cli_json_end(&j, p->command);
	return code == CLI_OK ? ended : code;
}

static int run_import(const struct cli_parsed *p)
{
	int before = changes_words_before(p), code;
	struct stream_bitmaps all;
	struct tide_error err;
	const char *path;
	FILE *from;

	if (p->argc != before + 1)
		return changes_wrong_words(p);
	path = p->argv[before];
	from = fopen(path, "rbe");
	if (!from)
		return cli_fail(p->command, CLI_FAILED, "%s: %s", path,
				strerror(errno));
	code = stream_read(from, path, &all, &err);
	fclose(from);
	if (code)
		return cli_fail(p->command, CLI_FAILED, "byte %" PRIu64 ": %s",
				err.offset, err.text);
	code = import_all(p, &all);
	stream_fini(&all);
	return code;
}

static const struct cli_option export_options[] = {
	{ "node", "NODE", CLI_TEXT, NULL,
	  "the disk's node name there; without it, DISK-NAME" },
	{ "machine", "TYPE", CLI_TEXT, "none",
	  "machine type that the stream is loaded into" },
	{ "transient", NULL, CLI_FLAG, NULL,
	  "the image there cannot keep bitmaps (it is no qcow2)" },
	OPT_FORCE,
	CHANGES_WHERE,
	{ 0 },
};

static const struct cli_option import_options[] = {
	{ "node", "NODE", CLI_TEXT, NULL, "only those of this disk" },
	{ "bitmap", "NAME", CLI_TEXT, NULL, "only this one" },
	{ "disabled", NULL, CLI_FLAG, NULL, "do not let them record" },
	CHANGES_WHERE,
	{ 0 },
};

const struct cli_command cli_bitmap_export_stream = {
	.name = "bitmap export-stream",
	.summary = "Write bitmaps as a migration stream that QEMU loads",
	.words = "DISK-NAME NAME[=OTHER]... FILE",
	.options = export_options,
	.run = run_export,
};

const struct cli_command cli_bitmap_import_stream = {
	.name = "bitmap import-stream",
	.summary = "Add the bitmaps of a migration stream of QEMU",
	.words = "DISK-NAME FILE",
	.options = import_options,
	.run = run_import,
};
