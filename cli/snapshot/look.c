/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark snapshot list, show, verify, diff: they change nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/snapshot/common.h"
#include "snapshot/note.h"

static int wrong_words(const struct cli_parsed *p, int min, int max)
{
	if (p->argc >= min && p->argc <= max)
		return CLI_OK;
	return cli_fail(p->command, CLI_USAGE, "it takes %s; see --help",
			p->command->words);
}

static const char *parent_of(const struct snap_folder *f,
			     const struct snap_entry *e)
{
	const struct snap_entry *parent;

	if (e->err.code || snap_id_is_zero(&e->header.parent))
		return NULL;
	parent = snap_folder_with(f, &e->header.parent);
	return parent ? parent->name : "?";
}

static void put_entry(struct cli_json *j, const char *key,
		      const struct snap_folder *f, const struct snap_entry *e)
{
	char id[37];

	snapshot_id_text(id, &e->header.id);
	cli_json_object(j, key);
	cli_json_text(j, "name", e->name);
	cli_json_text(j, "id", id);
	cli_json_text(j, "parent", parent_of(f, e));
	cli_json_number(j, "created_ns", e->header.created_ns);
	cli_json_number(j, "memory_bytes", e->header.pages * SNAP_PAGE);
	cli_json_number(j, "file_bytes", e->bytes);
	cli_json_text(j, "program", e->header.program);
	cli_json_text(j, "error", e->err.code ? e->err.text : "");
	cli_json_close(j);
}

static void print_entry(const struct snap_folder *f,
			const struct snap_entry *e)
{
	time_t when = (time_t)(e->header.created_ns / 1000000000);
	char shown[CLI_SHOWN], parent[CLI_SHOWN], date[32] = "";
	const char *from = parent_of(f, e);
	struct tm tm;

	if (e->err.code) {
		printf("%-24s damaged: %s\n", cli_show(shown, e->name),
		       e->err.text);
		return;
	}
	if (gmtime_r(&when, &tm))
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("%-24s %s %10.1f MiB of %7.0f  %s%s\n",
	       cli_show(shown, e->name), date, (double)e->bytes / 1048576,
	       (double)e->header.pages * SNAP_PAGE / 1048576,
	       from ? "on " : "base", from ? cli_show(parent, from) : "");
}

static int run_list(const struct cli_parsed *p)
{
	struct snap_folder f;
	struct tide_error err;
	struct cli_json j;
	int code = wrong_words(p, 1, 1);

	if (code)
		return code;
	if (snap_folder_read(&f, p->argv[0], &err))
		return snapshot_failed(p->command, &err);
	if (cli_flag(p, "json")) {
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_array(&j, "snapshots");
		for (size_t i = 0; i < f.count; i++)
			put_entry(&j, NULL, &f, &f.entry[i]);
		cli_json_close(&j);
		cli_json_close(&j);
		code = cli_json_end(&j, p->command);
	} else {
		for (size_t i = 0; i < f.count; i++)
			print_entry(&f, &f.entry[i]);
	}
	snap_folder_free(&f);
	return code;
}

static uint64_t own_pages(const struct snap_file *f)
{
	uint64_t n = 0;

	for (size_t i = 0; i < f->layer.count; i++)
		n += f->layer.extent[i].pages;
	return n;
}

static void put_areas(struct cli_json *j, const struct snap_chain *c)
{
	static const char *const kinds[] = { "private", "shared", "huge" };

	cli_json_array(j, "areas");
	for (uint32_t i = 0; i < snap_chain_header(c)->areas; i++) {
		const struct snap_area *a = &snap_chain_areas(c)[i];

		cli_json_object(j, NULL);
		cli_json_number(j, "address", a->address);
		cli_json_number(j, "bytes", a->pages * SNAP_PAGE);
		cli_json_number(j, "memory_file_offset",
				a->first_page * SNAP_PAGE);
		cli_json_text(j, "kind", a->kind < 3 ? kinds[a->kind] : "?");
		cli_json_text(j, "name", a->name);
		cli_json_close(j);
	}
	cli_json_close(j);
}

/* Where the disks of its moment are. */
static void put_disks(struct cli_json *j, const char *folder, const char *name,
		      const struct snap_chain *c)
{
	json_t *disks = snap_note_read(folder, name,
				       &snap_chain_header(c)->id);
	json_t *one;
	size_t i;

	cli_json_array(j, "disks");
	json_array_foreach(disks, i, one) {
		json_int_t point = json_integer_value(
		    json_object_get(one, "point"));

		cli_json_object(j, NULL);
		cli_json_text(j, "disk", json_string_value(
		    json_object_get(one, "disk")));
		cli_json_text(j, "folder", json_string_value(
		    json_object_get(one, "folder")));
		cli_json_number(j, "point", (uint64_t)point);
		cli_json_close(j);
	}
	cli_json_close(j);
	json_decref(disks);
}

static int run_show(const struct cli_parsed *p)
{
	struct snap_folder f;
	struct snap_chain c;
	struct tide_error err;
	struct cli_json j;
	int code = wrong_words(p, 2, 2);

	if (code)
		return code;
	if (snap_chain_open(&c, p->argv[0], p->argv[1], &err))
		return snapshot_failed(p->command, &err);
	if (snap_folder_read(&f, p->argv[0], &err)) {
		snap_chain_close(&c);
		return snapshot_failed(p->command, &err);
	}
	/* For people, too: it is a list of facts. */
	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	if (snap_folder_named(&f, p->argv[1]))
		put_entry(&j, "snapshot", &f,
			  snap_folder_named(&f, p->argv[1]));
	cli_json_number(&j, "files", c.files);
	cli_json_number(&j, "own_pages", own_pages(&c.file[0]));
	cli_json_number(&j, "devices_bytes", c.file[0].footer.devices_bytes);
	put_areas(&j, &c);
	put_disks(&j, p->argv[0], p->argv[1], &c);
	cli_json_close(&j);
	code = cli_json_end(&j, p->command);
	snap_folder_free(&f);
	snap_chain_close(&c);
	return code;
}

/* One by one: each with all that it stands on. */
static int verify_one(const char *folder, const char *name,
		      struct tide_error *err)
{
	struct snap_chain c;
	int ret = snap_chain_open(&c, folder, name, err);

	if (ret)
		return ret;
	ret = snap_chain_verify(&c, err);
	snap_chain_close(&c);
	return ret;
}

static int run_verify(const struct cli_parsed *p)
{
	const char *only = p->argc == 2 ? p->argv[1] : NULL;
	int code = wrong_words(p, 1, 2), damaged = 0, seen = 0;
	bool json = cli_flag(p, "json");
	struct snap_folder f;
	struct tide_error err;
	struct cli_json j;

	if (code)
		return code;
	if (snap_folder_read(&f, p->argv[0], &err))
		return snapshot_failed(p->command, &err);
	if (json) {
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_array(&j, "snapshots");
	}
	for (size_t i = 0; i < f.count; i++) {
		char shown[CLI_SHOWN];
		int ret;

		if (only && strcmp(f.entry[i].name, only))
			continue;
		seen++;
		tide_error_clear(&err);
		ret = verify_one(p->argv[0], f.entry[i].name, &err);
		damaged += ret != 0;
		if (!json) {
			printf("%s: %s\n", cli_show(shown, f.entry[i].name),
			       ret ? err.text : "good");
			continue;
		}
		cli_json_object(&j, NULL);
		cli_json_text(&j, "name", f.entry[i].name);
		cli_json_bool(&j, "good", !ret);
		cli_json_text(&j, "error", ret ? err.text : "");
		cli_json_close(&j);
	}
	if (json) {
		cli_json_close(&j);
		cli_json_close(&j);
		code = cli_json_end(&j, p->command);
	}
	snap_folder_free(&f);
	if (only && !seen)
		return cli_fail(p->command, CLI_FAILED, "%s has no %s",
				p->argv[0], only);
	return code ? code : damaged ? CLI_UNVERIFIED : CLI_OK;
}

struct differing {
	struct snap_chain a, b;
	struct cli_json *json;
	uint64_t first, count, runs, pages;
};

static void end_run(struct differing *d)
{
	if (!d->count)
		return;
	d->runs++;
	d->pages += d->count;
	if (d->json) {
		cli_json_array(d->json, NULL);
		cli_json_number(d->json, NULL, d->first);
		cli_json_number(d->json, NULL, d->count);
		cli_json_close(d->json);
	} else {
		printf("%" PRIu64 " %" PRIu64 "\n", d->first, d->count);
	}
	d->count = 0;
}

static int diff(struct differing *d, struct tide_error *err)
{
	uint64_t pages = snap_chain_header(&d->a)->pages;
	unsigned char x[SNAP_PAGE], y[SNAP_PAGE];
	int ret = 0;

	if (pages != snap_chain_header(&d->b)->pages)
		return tide_error_set(err, -EINVAL, "snapshot", TIDE_NO_OFFSET,
				      "they are of different sizes");
	for (uint64_t page = 0; !ret && page < pages; page++) {
		ret = snap_chain_read(&d->a, page, 1, x, err);
		if (!ret)
			ret = snap_chain_read(&d->b, page, 1, y, err);
		if (ret || !memcmp(x, y, SNAP_PAGE)) {
			end_run(d);
			continue;
		}
		if (!d->count)
			d->first = page;
		d->count++;
	}
	end_run(d);
	return ret;
}

static int run_diff(const struct cli_parsed *p)
{
	struct differing d = { .json = NULL };
	struct tide_error err;
	struct cli_json j;
	int code = wrong_words(p, 3, 3), ret;

	if (code)
		return code;
	ret = snap_chain_open(&d.a, p->argv[0], p->argv[1], &err);
	if (!ret)
		ret = snap_chain_open(&d.b, p->argv[0], p->argv[2], &err);
	if (!ret && cli_flag(p, "json")) {
		d.json = &j;
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_array(&j, "runs");
	}
	if (!ret)
		ret = diff(&d, &err);
	if (d.json) {
		cli_json_close(&j);
		cli_json_number(&j, "pages", d.pages);
		cli_json_close(&j);
		code = cli_json_end(&j, p->command);
	}
	snap_chain_close(&d.a);
	snap_chain_close(&d.b);
	return ret ? snapshot_failed(p->command, &err) : code;
}

static const struct cli_option json_only[] = { OPT_JSON, OPT_END };

const struct cli_command cli_snapshot_list = {
	.name = "snapshot list",
	.summary = "List the snapshots of a folder, the oldest first",
	.words = "DIR",
	.options = json_only,
	.run = run_list,
};

const struct cli_command cli_snapshot_show = {
	.name = "snapshot show",
	.summary = "Show what is in a snapshot, as JSON",
	.words = "DIR NAME",
	.options = json_only,
	.run = run_show,
};

const struct cli_command cli_snapshot_verify = {
	.name = "snapshot verify",
	.summary = "Check every byte of a snapshot, or of all in a folder",
	.words = "DIR [NAME]",
	.options = json_only,
	.run = run_verify,
};

const struct cli_command cli_snapshot_diff = {
	.name = "snapshot diff",
	.summary = "List the pages that differ between two snapshots",
	.words = "DIR NAME NAME",
	.options = json_only,
	.run = run_diff,
};
