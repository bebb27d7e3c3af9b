/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark checkpoint, bitmap, diff and ctl: each makes a request of its words
 * and options and prints the answer. Which words there are is in one table.
 */
#include "cli/changes.h"

#include <inttypes.h>
#include <string.h>

#include "cli/client.h"
#include "cli/diff_svg.h"
#include "cli/json_out.h"
#include "cli/output.h"

int changes_words_before(const struct cli_parsed *p)
{
	return cli_text(p, "disk") ? 0 : 1;
}

int changes_wrong_words(const struct cli_parsed *p)
{
	return cli_fail(p->command, CLI_USAGE, "it takes %s%s",
			p->command->words,
			changes_words_before(p) ? "" : ", without DISK-NAME");
}

json_t *changes_request(const struct cli_parsed *p, const char *command)
{
	json_t *r = json_pack("{s:s}", "command", command);
	int at = changes_words_before(p);

	if (r && at && p->argc &&
	    json_object_set_new(r, "disk", json_string(p->argv[0])))
		goto failed;
	if (r && p->argc > at &&
	    json_object_set_new(r, "name", json_string(p->argv[at])))
		goto failed;
	return r;
failed:
	json_decref(r);
	return NULL;
}

static bool has_option(const struct cli_parsed *p, const char *name)
{
	for (const struct cli_option *o = p->command->options; o->name; o++)
		if (!strcmp(o->name, name))
			return true;
	return false;
}

/* The further members that the command's options and words give. */
static json_t *fill_request(const struct cli_parsed *p, json_t *r)
{
	int bad = 0;

	if (r && has_option(p, "granularity"))
		bad |= json_object_set_new(r, "granularity_bytes", json_integer(
			(json_int_t)cli_number(p, "granularity")));
	if (r && has_option(p, "disabled"))
		bad |= json_object_set_new(r, "disabled", json_boolean(
			cli_flag(p, "disabled")));
	if (r && has_option(p, "from-disk") && cli_text(p, "from-disk"))
		bad |= json_object_set_new(r, "from_disk", json_string(
			cli_text(p, "from-disk")));
	if (!bad)
		return r;
	json_decref(r);
	return NULL;
}

/* One word more, as that member. */
static json_t *add_word(const struct cli_parsed *p, json_t *r,
			const char *member)
{
	const char *word = p->argv[changes_words_before(p) + 1];

	if (!r || !json_object_set_new(r, member, json_string(word)))
		return r;
	json_decref(r);
	return NULL;
}

int changes_print_done(const struct cli_parsed *p, json_t *request)
{
	int code;
	json_t *answer = changes_ask(p, request, NULL, NULL, &code);

	if (answer && cli_flag(p, "json"))
		code = cli_json_answer(answer, p->command);
	json_decref(answer);
	return code;
}

static int run_named(const struct cli_parsed *p, const char *command)
{
	if (p->argc != changes_words_before(p) + 1)
		return changes_wrong_words(p);
	return changes_print_done(p,
				  fill_request(p, changes_request(p, command)));
}

static int run_renaming(const struct cli_parsed *p, const char *command,
			const char *member)
{
	if (p->argc != changes_words_before(p) + 2)
		return changes_wrong_words(p);
	return changes_print_done(
		p, add_word(p, fill_request(p, changes_request(p, command)),
			    member));
}

static void print_point(const json_t *point)
{
	char name[CLI_SHOWN], reason[CLI_SHOWN];
	const char *why = client_text(point, "reason");

	printf("%-24s %-10s %-12s %12lld bytes dirty, blocks of %lld%s%s\n",
	       cli_show(name, client_text(point, "name")),
	       client_text(point, "kind"), client_text(point, "state"),
	       client_integer(point, "dirty_bytes"),
	       client_integer(point, "granularity_bytes"),
	       *why ? ": " : "", *why ? cli_show(reason, why) : "");
}

static int run_list(const struct cli_parsed *p, const char *command,
		    const char *key)
{
	const json_t *list;
	json_t *answer, *point;
	size_t i;
	int code;

	if (p->argc != changes_words_before(p))
		return changes_wrong_words(p);
	answer = changes_ask(p, changes_request(p, command), NULL, NULL, &code);
	if (!answer)
		return code;
	list = json_object_get(answer, key);
	if (cli_flag(p, "json"))
		code = cli_json_answer(answer, p->command);
	else
		json_array_foreach(list, i, point)
			print_point(point);
	json_decref(answer);
	return code;
}

static int run_info(const struct cli_parsed *p)
{
	json_t *answer;
	int code;

	if (p->argc != changes_words_before(p) + 1)
		return changes_wrong_words(p);
	answer = changes_ask(p, changes_request(p, "bitmap-info"), NULL, NULL,
			     &code);
	if (!answer)
		return code;
	if (cli_flag(p, "json")) {
		code = cli_json_answer(answer, p->command);
	} else {
		print_point(answer);
		printf("%lld bytes of the disk are dirty only for safety\n",
		       client_integer(json_object_get(answer, "tracking"),
				      "safety_bytes"));
	}
	json_decref(answer);
	return code;
}

json_t *changes_several(const struct cli_parsed *p, const char *command)
{
	json_t *request = changes_request(p, command), *list;
	char *names, *at;

	if (!changes_words_before(p) || !p->argc || !strchr(p->argv[0], ','))
		return request;
	list = json_array();
	names = strdup(p->argv[0]);
	at = names;
	for (char *one; names && list && (one = strsep(&at, ","));)
		if (json_array_append_new(list, json_string(one)))
			break;
	free(names);
	json_object_del(request, "disk");
	if (!request || json_object_set_new(request, "disks", list)) {
		json_decref(request);
		request = NULL;
	}
	return request;
}

static int run_several(const struct cli_parsed *p, const char *command)
{
	if (p->argc != changes_words_before(p) + 1)
		return changes_wrong_words(p);
	return changes_print_done(p, changes_several(p, command));
}

static int run_create(const struct cli_parsed *p)
{
	return run_several(p, "checkpoint-create");
}

/* --- diff --------------------------------------------------------------- */

struct diff {
	const struct cli_parsed *p;
	struct cli_json json;
	uint64_t runs, bytes;
	struct diff_picture *picture; /* NULL: none is wanted */
};

static void print_part(void *opaque, const json_t *part)
{
	const json_t *list = json_object_get(part, "changed");
	struct diff *d = opaque;
	json_t *run;
	size_t i;

	json_array_foreach(list, i, run) {
		uint64_t at = (uint64_t)client_integer(run, "byte_offset");
		uint64_t size = (uint64_t)client_integer(run, "size_bytes");

		d->runs++;
		d->bytes += size;
		if (d->picture) {
			diff_picture_add(d->picture, at, size);
			continue;
		}
		if (!cli_flag(d->p, "json")) {
			printf("%" PRIu64 " %" PRIu64 "\n", at, size);
			continue;
		}
		cli_json_object(&d->json, NULL);
		cli_json_number(&d->json, "byte_offset", at);
		cli_json_number(&d->json, "size_bytes", size);
		cli_json_close(&d->json);
	}
}

/* The list is open already: what is known only at the end comes after it. */
static int end_json(struct diff *d, const json_t *answer)
{
	struct cli_json *j = &d->json;

	cli_json_close(j);
	if (answer) {
		cli_json_text(j, "disk", client_text(answer, "disk"));
		cli_json_number(j, "size_bytes", (uint64_t)
				client_integer(answer, "size_bytes"));
		cli_json_number(j, "granularity_bytes", (uint64_t)
				client_integer(answer, "granularity_bytes"));
		cli_json_number(j, "changed_bytes", d->bytes);
	}
	cli_json_bool(j, "complete", answer);
	cli_json_close(j);
	return cli_json_end(j, d->p->command);
}

static json_t *diff_request(const struct cli_parsed *p)
{
	const char *since = cli_text(p, "since");
	const char *until = cli_text(p, "until");
	json_t *r = changes_request(p, "diff");

	if (!r || json_object_set_new(r, "name", json_string(
			since ? since : cli_text(p, "bitmap"))) ||
	    json_object_set_new(r, "offset", json_integer(
			(json_int_t)cli_number(p, "offset"))) ||
	    (until && json_object_set_new(r, "until", json_string(until)))) {
		json_decref(r);
		return NULL;
	}
	return r;
}

/* How large the disk is has to be known first. */
static int draw_diff(const struct cli_parsed *p, const char *path)
{
	static struct diff_picture picture;
	struct diff d = { .p = p, .picture = &picture };
	json_t *info, *answer, *request = diff_request(p);
	int code;

	if (request && json_object_set_new(request, "command",
					   json_string("bitmap-info")))
		json_object_clear(request);
	info = changes_ask(p, request, NULL, NULL, &code);
	if (!info)
		return code;
	diff_picture_init(&picture,
			  (uint64_t)client_integer(info, "size_bytes"));
	json_decref(info);
	answer = changes_ask(p, diff_request(p), print_part, &d, &code);
	if (answer)
		code = diff_picture_write(&picture, p, path);
	json_decref(answer);
	return code;
}

static int run_diff(const struct cli_parsed *p)
{
	struct diff d = { .p = p };
	json_t *answer;
	int code, ended;

	if (p->argc != changes_words_before(p))
		return changes_wrong_words(p);
	if (!cli_text(p, "since") == !cli_text(p, "bitmap"))
		return cli_fail(p->command, CLI_USAGE, "since when? Give "
				"--since=CHECKPOINT or --bitmap=NAME");
	if (cli_text(p, "svg"))
		return draw_diff(p, cli_text(p, "svg"));
	if (cli_flag(p, "json")) {
		cli_json_begin(&d.json, stdout);
		cli_json_object(&d.json, NULL);
		cli_json_array(&d.json, "changed");
	}
	answer = changes_ask(p, diff_request(p), print_part, &d, &code);
	if (cli_flag(p, "json")) {
		ended = end_json(&d, answer);
		code = code == CLI_OK ? ended : code;
	}
	json_decref(answer);
	return code;
}

/* --- ctl ----------------------------------------------------------------- */

/* KEY=VALUE: a number, true, false, or a text. */
static int set_member(json_t *request, const char *word)
{
	const char *sign = strchr(word, '=');
	char key[64];
	json_t *value;

	if (!sign || sign == word || sign - word >= (long)sizeof(key))
		return -1;
	memcpy(key, word, (size_t)(sign - word));
	key[sign - word] = 0;
	value = json_loads(sign + 1, JSON_DECODE_ANY, NULL);
	if (!value)
		value = json_string(sign + 1);
	return json_object_set_new(request, key, value);
}

static void print_any(void *opaque, const json_t *part)
{
	(void)opaque;
	json_dumpf(part, stdout, 0);
	putchar('\n');
}

static int run_ctl(const struct cli_parsed *p)
{
	json_t *request, *answer;
	int code;

	if (!p->argc)
		return cli_fail(p->command, CLI_USAGE, "which request? Give "
				"status, stop, or what the manual lists");
	request = json_pack("{s:s}", "command", p->argv[0]);
	for (int i = 1; request && i < p->argc; i++)
		if (set_member(request, p->argv[i])) {
			json_decref(request);
			return cli_fail(p->command, CLI_USAGE,
					"%s is no KEY=VALUE", p->argv[i]);
		}
	answer = changes_ask(p, request, print_any, NULL, &code);
	if (answer)
		print_any(NULL, answer);
	json_decref(answer);
	return code;
}

/* --- the table ------------------------------------------------------------ */

static int run_delete(const struct cli_parsed *p)
{
	return run_named(p, "checkpoint-delete");
}

static int run_abort(const struct cli_parsed *p)
{
	return run_several(p, "checkpoint-abort");
}

static int run_commit(const struct cli_parsed *p)
{
	return run_several(p, "checkpoint-commit");
}

static int run_checkpoints(const struct cli_parsed *p)
{
	return run_list(p, "checkpoint-list", "checkpoints");
}

static int run_bitmaps(const struct cli_parsed *p)
{
	return run_list(p, "bitmap-list", "bitmaps");
}

static int run_add(const struct cli_parsed *p)
{
	return run_named(p, "bitmap-add");
}

static int run_remove(const struct cli_parsed *p)
{
	return run_named(p, "bitmap-remove");
}

static int run_clear(const struct cli_parsed *p)
{
	return run_named(p, "bitmap-clear");
}

static int run_enable(const struct cli_parsed *p)
{
	return run_named(p, "bitmap-enable");
}

static int run_disable(const struct cli_parsed *p)
{
	return run_named(p, "bitmap-disable");
}

static int run_rename(const struct cli_parsed *p)
{
	return run_renaming(p, "bitmap-rename", "to");
}

static int run_merge(const struct cli_parsed *p)
{
	return run_renaming(p, "bitmap-merge", "from");
}

static const struct cli_option where_options[] = {
	CHANGES_WHERE,
	{ 0 },
};

static const struct cli_option add_options[] = {
	{ "granularity", "SIZE", CLI_SIZE, "64K",
	  "of its blocks, a power of two", 512, UINT64_C(1) << 31 },
	{ "disabled", NULL, CLI_FLAG, NULL, "do not record yet" },
	CHANGES_WHERE,
	{ 0 },
};

static const struct cli_option merge_options[] = {
	{ "from-disk", "NAME", CLI_TEXT, NULL,
	  "the disk of SOURCE, if it is another one" },
	CHANGES_WHERE,
	{ 0 },
};

static const struct cli_option diff_options[] = {
	{ "since", "CHECKPOINT", CLI_TEXT, NULL, "what changed since then" },
	{ "bitmap", "NAME", CLI_TEXT, NULL, "or what that bitmap says" },
	{ "until", "CHECKPOINT", CLI_TEXT, NULL,
	  "and before this one, instead of now" },
	{ "offset", "SIZE", CLI_SIZE, "0", "go on from this byte" },
	{ "svg", "PATH", CLI_TEXT, NULL,
	  "instead of a list, draw where it lies into PATH" },
	OPT_FORCE,
	CHANGES_WHERE,
	{ 0 },
};

#define COMMAND(symbol, its_name, what, its_words, its_options, its_run)     \
	const struct cli_command symbol = {                                  \
		.name = its_name, .summary = what, .words = its_words,       \
		.options = its_options, .run = its_run }

COMMAND(cli_checkpoint_create, "checkpoint create",
	"Make an instant that changes can be asked since",
	"DISK-NAMES CHECKPOINT", where_options, run_create);
COMMAND(cli_checkpoint_commit, "checkpoint commit",
	"Keep a checkpoint that was begun, and let go of its instant",
	"DISK-NAMES CHECKPOINT", where_options, run_commit);
COMMAND(cli_checkpoint_abort, "checkpoint abort",
	"Make it as if a checkpoint had not been begun",
	"DISK-NAMES CHECKPOINT", where_options, run_abort);
COMMAND(cli_checkpoint_delete, "checkpoint delete",
	"Forget a checkpoint; what others say does not change",
	"DISK-NAME CHECKPOINT", where_options, run_delete);
COMMAND(cli_checkpoint_list, "checkpoint list",
	"List the checkpoints of a disk", "DISK-NAME", where_options,
	run_checkpoints);
COMMAND(cli_bitmap_add, "bitmap add", "Add a dirty bitmap to a disk",
	"DISK-NAME BITMAP", add_options, run_add);
COMMAND(cli_bitmap_remove, "bitmap remove", "Remove a dirty bitmap",
	"DISK-NAME BITMAP", where_options, run_remove);
COMMAND(cli_bitmap_clear, "bitmap clear", "Make a dirty bitmap all clean",
	"DISK-NAME BITMAP", where_options, run_clear);
COMMAND(cli_bitmap_enable, "bitmap enable", "Let a dirty bitmap record",
	"DISK-NAME BITMAP", where_options, run_enable);
COMMAND(cli_bitmap_disable, "bitmap disable",
	"Let a dirty bitmap keep what it has", "DISK-NAME BITMAP",
	where_options, run_disable);
COMMAND(cli_bitmap_rename, "bitmap rename",
	"Give a bitmap or checkpoint another name", "DISK-NAME NAME NEW-NAME",
	where_options, run_rename);
COMMAND(cli_bitmap_merge, "bitmap merge",
	"Add what another bitmap or checkpoint says to a bitmap",
	"DISK-NAME BITMAP SOURCE", merge_options, run_merge);
COMMAND(cli_bitmap_list, "bitmap list", "List the dirty bitmaps of a disk",
	"DISK-NAME", where_options, run_bitmaps);
COMMAND(cli_bitmap_info, "bitmap info",
	"Show a bitmap or checkpoint, and how its disk is tracked",
	"DISK-NAME NAME", where_options, run_info);
COMMAND(cli_diff, "diff", "Show what changed on a disk since a checkpoint",
	"DISK-NAME", diff_options, run_diff);
COMMAND(cli_ctl, "ctl", "Send one request to the control socket of a server",
	"REQUEST [KEY=VALUE]...", where_options, run_ctl);
