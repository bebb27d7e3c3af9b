/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark scan: dirty bitmaps, or page numbers one after the other, to ranges.
 *
 * Ranges are written while they are found: memory does not grow with the
 * answer. Bitmaps are mapped, two of them are united word by word; page
 * numbers go through a dirty set, which sorts them and drops repeats.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/options.h"
#include "tidemark/dirty.h"
#include "tidemark/scan.h"

#define BATCH 1024
#define OUT_BYTES (BATCH * 64)

enum how { TEXT, JSON, BINARY };

struct input {
	const char *path;
	void *bytes; /* mapped; NULL: empty file */
	size_t length;
};

struct output {
	enum how how;
	bool quiet; /* only the sum */
	uint64_t unit; /* 1: pages; else bytes of a page */
	uint64_t base; /* added to every start, in units */
	uint64_t ranges, pages;
	bool broken;
	char buffer[OUT_BYTES];
	size_t used;
};

static int fail_input(const struct input *in, const char *what,
		      struct tide_error *err)
{
	return tide_error_set(err, -errno, "scan", TIDE_NO_OFFSET,
			      "%s: %s: %s", in->path, what, strerror(errno));
}

static int open_input(struct input *in, const char *path,
		      struct tide_error *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret = 0;

	*in = (struct input){ .path = path };
	if (fd < 0)
		return fail_input(in, "cannot be opened", err);
	if (fstat(fd, &st) < 0) {
		ret = fail_input(in, "has no size", err);
	} else if (!S_ISREG(st.st_mode)) {
		ret = tide_error_set(err, -EINVAL, "scan", TIDE_NO_OFFSET,
				     "%s is not a regular file; copy it into "
				     "one first", path);
	} else if (st.st_size) {
		in->length = (size_t)st.st_size;
		in->bytes = mmap(NULL, in->length, PROT_READ, MAP_PRIVATE, fd,
				 0);
		if (in->bytes == MAP_FAILED) {
			in->bytes = NULL;
			ret = fail_input(in, "cannot be mapped", err);
		}
	}
	close(fd);
	return ret;
}

static void close_input(struct input *in)
{
	if (in->bytes)
		munmap(in->bytes, in->length);
}

static void flush_output(struct output *o)
{
	if (o->used && fwrite(o->buffer, 1, o->used, stdout) != o->used)
		o->broken = true;
	o->used = 0;
}

static void put_range(struct output *o, const struct tide_range *r)
{
	uint64_t start = (r->first + o->base) * o->unit;
	uint64_t length = r->count * o->unit;
	char *at = o->buffer + o->used;

	if (o->how == BINARY) {
		tide__put_le((unsigned char *)at, start, 8);
		tide__put_le((unsigned char *)at + 8, length, 8);
		o->used += 16;
	} else if (o->how == JSON) {
		o->used += (size_t)sprintf(at, "%s\n    [%" PRIu64 ", %" PRIu64
					       "]", o->ranges ? "," : "", start,
					   length);
	} else if (o->unit > 1) {
		o->used += (size_t)sprintf(at, "0x%" PRIx64 " 0x%" PRIx64 "\n",
					   start, length);
	} else {
		o->used += (size_t)sprintf(at, "%" PRIu64 " %" PRIu64 "\n",
					   start, length);
	}
	if (o->used > sizeof(o->buffer) - 64)
		flush_output(o);
}

static void put_ranges(struct output *o, const struct tide_range *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!o->quiet)
			put_range(o, &r[i]);
		o->ranges++;
		o->pages += r[i].count;
	}
}

/* One bitmap or two. */
static int scan_bitmaps(const struct input *in, int count, uint64_t pages,
			uint64_t gap, struct output *o, struct tide_error *err)
{
	static struct tide_range r[BATCH];
	static const uint64_t nothing;
	struct tide_scan_options options = { .gap_pages = gap,
					     .a = in[0].bytes,
					     .a_pages = in[0].length * 8 };
	struct tide_scan *scan;
	size_t n, longest = 0;
	int ret;

	/* What no bitmap says is unknown, not clean. */
	for (int i = 0; i < count; i++)
		if (in[i].length > longest)
			longest = in[i].length;
	if (pages > longest * 8)
		return tide_error_set(err, -EINVAL, "scan", longest,
				      "%s has bits for %zu pages, not for "
				      "--pages=%" PRIu64, in[0].path,
				      longest * 8, pages);
	if (!options.a)
		options.a = &nothing;
	if (count > 1 && in[1].bytes) {
		options.b = in[1].bytes;
		options.b_pages = in[1].length * 8;
	}
	if (pages && options.a_pages > pages)
		options.a_pages = pages;
	if (pages && options.b_pages > pages)
		options.b_pages = pages;
	ret = tide_scan_create(&scan, &options, err);
	if (ret < 0)
		return ret;
	while (!o->broken && (n = tide_scan_next(scan, r, BATCH)))
		put_ranges(o, r, n);
	tide_scan_destroy(scan);
	return 0;
}

/* Page numbers of 64 bits, little-endian: all into a set. */
static int fill_set(const struct input *in, struct tide_set *set,
		    uint64_t pages, struct tide_error *err)
{
	const unsigned char *at = in->bytes;

	for (size_t i = 0; i < in->length; i += 8) {
		uint64_t page = tide__get_le(at + i, 8);

		if (page >= pages)
			return tide_error_set(err, -EINVAL, "scan", i,
					      "%s: page number %" PRIu64
					      " at offset %zu is not below %"
					      PRIu64, in->path, page, i, pages);
		tide_set_mark(set, page);
	}
	return 0;
}

static int scan_numbers(const struct input *in, int count, uint64_t pages,
			uint64_t gap, struct output *o, struct tide_error *err)
{
	static struct tide_range r[BATCH];
	struct tide_range held = { 0, 0 };
	struct tide_set *set;
	uint64_t cursor = 0;
	int ret = 0;
	size_t n;

	if (!pages || pages > TIDE_SET_MAX_PAGES)
		pages = TIDE_SET_MAX_PAGES;
	for (int i = 0; i < count; i++)
		if (in[i].length % 8)
			return tide_error_set(err, -EINVAL, "scan",
					      in[i].length, "%s: %zu bytes are "
					      "no whole number of 8-byte page "
					      "numbers", in[i].path,
					      in[i].length);
	ret = tide_set_create(&set, pages, err);
	if (ret < 0)
		return ret;
	for (int i = 0; ret == 0 && i < count; i++)
		ret = fill_set(&in[i], set, pages, err);
	while (ret == 0 && !o->broken &&
	       (n = tide_set_next(set, &cursor, r, BATCH)))
		for (size_t i = 0; i < n; i++) {
			if (held.count && r[i].first - (held.first +
							held.count) <= gap) {
				held.count = r[i].first + r[i].count -
					     held.first;
				continue;
			}
			if (held.count)
				put_ranges(o, &held, 1);
			held = r[i];
		}
	if (ret == 0 && held.count)
		put_ranges(o, &held, 1);
	tide_set_destroy(set);
	return ret;
}

static int choose_output(const struct cli_parsed *p, struct output *o)
{
	const char *how = cli_text(p, "output");

	if (cli_flag(p, "json"))
		how = "json";
	o->how = !strcmp(how, "json") ? JSON :
		 !strcmp(how, "binary") ? BINARY :
					  TEXT;
	if (o->how == TEXT && strcmp(how, "text"))
		return cli_fail(p->command, CLI_USAGE,
				"--output=%s: text, json or binary", how);
	o->quiet = cli_flag(p, "count");
	o->unit = cli_flag(p, "bytes") || o->how == BINARY ?
			  cli_number(p, "page-size") :
			  1;
	o->base = cli_number(p, "first");
	if (!o->unit)
		return cli_fail(p->command, CLI_USAGE,
				"--page-size=0: a page has at least one byte");
	if ((o->base + 2 * TIDE_SET_MAX_PAGES) > UINT64_MAX / o->unit)
		return cli_fail(p->command, CLI_USAGE,
				"--page-size=%" PRIu64 " and --first=%" PRIu64
				": addresses would not fit into 64 bits",
				o->unit, o->base);
	if (o->how == BINARY && !o->quiet && isatty(STDOUT_FILENO))
		return cli_fail(p->command, CLI_USAGE,
				"binary ranges do not go to a terminal; "
				"redirect the output");
	return CLI_OK;
}

static void finish(struct output *o)
{
	if (o->how == JSON && !o->quiet)
		o->used += (size_t)sprintf(o->buffer + o->used,
					   "%s],\n  \"range_count\": %" PRIu64
					   ",\n  \"dirty_pages\": %" PRIu64
					   "\n}\n", o->ranges ? "\n  " : "",
					   o->ranges, o->pages);
	else if (o->how == JSON)
		o->used += (size_t)sprintf(o->buffer + o->used,
					   "{ \"range_count\": %" PRIu64
					   ", \"dirty_pages\": %" PRIu64
					   " }\n", o->ranges, o->pages);
	else if (o->quiet)
		o->used += (size_t)sprintf(o->buffer + o->used,
					   "%" PRIu64 " ranges, %" PRIu64
					   " pages\n", o->ranges, o->pages);
	flush_output(o);
	if (fflush(stdout))
		o->broken = true;
}

static int run(const struct cli_parsed *p)
{
	static struct output o;
	struct input in[2];
	struct tide_error err;
	int code, opened = 0, ret = 0;
	uint64_t pages = cli_number(p, "pages"), gap = cli_number(p, "gap");

	memset(&o, 0, sizeof(o));
	code = choose_output(p, &o);
	if (code != CLI_OK)
		return code;
	if (p->argc < 1 || p->argc > 2)
		return cli_fail(p->command, CLI_USAGE,
				"one file or two are needed; see --help");
	for (; ret == 0 && opened < p->argc; opened++)
		ret = open_input(&in[opened], p->argv[opened], &err);
	if (ret == 0) {
		if (o.how == JSON && !o.quiet)
			o.used = (size_t)sprintf(o.buffer,
						 "{\n  \"ranges\": [");
		ret = cli_flag(p, "numbers") ?
			      scan_numbers(in, opened, pages, gap, &o, &err) :
			      scan_bitmaps(in, opened, pages, gap, &o, &err);
	}
	for (int i = 0; i < opened; i++)
		close_input(&in[i]);
	if (ret < 0)
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	finish(&o);
	return o.broken ? cli_fail(p->command, CLI_FAILED,
				   "standard output: %s", strerror(errno)) :
			  CLI_OK;
}

static const struct cli_option options[] = {
	{ "output", "HOW", CLI_TEXT, "text",
	  "text, json, or binary: pairs of little-endian u64 start and "
	  "length in bytes" },
	{ "bytes", NULL, CLI_FLAG, NULL,
	  "addresses and lengths in bytes instead of pages" },
	{ "page-size", "SIZE", CLI_SIZE, "4K", "bytes that one bit stands for",
	  1, 1u << 21 },
	{ "pages", "N", CLI_COUNT, "0",
	  "bits of the bitmap that count; 0: all" },
	{ "first", "N", CLI_COUNT, "0", "page number of the first bit", 0,
	  TIDE_SET_MAX_PAGES },
	{ "gap", "N", CLI_COUNT, "0",
	  "join ranges with at most so many clean pages between them" },
	{ "numbers", NULL, CLI_FLAG, NULL,
	  "the files hold page numbers (u64, little-endian), not bitmaps" },
	{ "count", NULL, CLI_FLAG, NULL, "print only how many there are" },
	{ "json", NULL, CLI_FLAG, NULL, "the same as --output json" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_scan = {
	.name = "scan",
	.summary = "Turn dirty bitmaps into ranges",
	.words = "FILE [FILE]",
	.options = options,
	.run = run,
};
