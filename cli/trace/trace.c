/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark trace: what recorded dirty pages look like, what the dirty set makes
 * of them, and recording them from a running guest.
 *
 * Replaying marks every round page by page, cuts, and compares the ranges with
 * the recorded bitmap, page by page: a difference is exit status 3.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/client.h"
#include "cli/options.h"
#include "tidemark/dirty.h"
#include "tidemark/scan.h"
#include "cli/trace/file.h"

#define BATCH 1024

struct sums {
	uint64_t pages, runs, least, most, all; /* all: of the union */
	uint64_t mark_ns, cut_ns, read_ns, wrong;
};

static int load(const struct cli_parsed *p, struct trace *t)
{
	struct tide_error err;

	if (p->argc != 1)
		return cli_fail(p->command, CLI_USAGE,
				"one folder is needed; see --help");
	if (trace_load(t, p->argv[0], &err) < 0)
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return CLI_OK;
}

/* Ranges of one round, joined over @gap; NULL callback: only counted. */
static uint64_t count_runs(const uint64_t *bits, uint64_t pages, uint64_t gap,
			   uint64_t *covered)
{
	static struct tide_range r[BATCH];
	struct tide_scan_options o = { .a = bits, .a_pages = pages,
				       .gap_pages = gap };
	struct tide_scan *scan;
	uint64_t runs = 0;
	size_t n;

	*covered = 0;
	if (tide_scan_create(&scan, &o, NULL))
		return 0;
	while ((n = tide_scan_next(scan, r, BATCH))) {
		runs += n;
		for (size_t i = 0; i < n; i++)
			*covered += r[i].count;
	}
	tide_scan_destroy(scan);
	return runs;
}

static const char *text_of(const struct trace *t, const char *key)
{
	const char *text = json_string_value(json_object_get(t->manifest, key));

	return text ? text : "";
}

static json_t *rounds_json(const struct trace *t, uint64_t gap, struct sums *s,
			   uint64_t *all)
{
	json_t *list = json_array();

	s->least = UINT64_MAX;
	for (uint32_t i = 0; i < t->rounds; i++) {
		uint64_t pages = tide_bitmap_count(t->round[i], t->pages);
		uint64_t covered;
		uint64_t runs = count_runs(t->round[i], t->pages, gap,
					   &covered);

		tide_bitmap_union(all, t->round[i], t->pages);
		s->pages += pages;
		s->runs += runs;
		s->least = pages < s->least ? pages : s->least;
		s->most = pages > s->most ? pages : s->most;
		json_array_append_new(list, json_pack(
		    "{s:i, s:I, s:I, s:I}", "round", (int)i, "pages",
		    (json_int_t)pages, "ranges", (json_int_t)runs, "covered",
		    (json_int_t)covered));
	}
	s->all = tide_bitmap_count(all, t->pages);
	return list;
}

static void print_info(const struct trace *t, const struct sums *s,
		       uint64_t gap)
{
	double rounds = t->rounds;

	printf("%s%s%s\n", text_of(t, "workload"),
	       *text_of(t, "description") ? ": " : "",
	       text_of(t, "description"));
	printf("%" PRIu64 " pages of %" PRIu64 " bytes, %u rounds\n", t->pages,
	       t->page_bytes, t->rounds);
	printf("written a round: %.1f (%" PRIu64 " to %" PRIu64 "), %.2f %% "
	       "of all\n", (double)s->pages / rounds, s->least, s->most,
	       100.0 * (double)s->pages / rounds / (double)t->pages);
	printf("ranges a round: %.1f, %.2f pages each", (double)s->runs / rounds,
	       s->runs ? (double)s->pages / (double)s->runs : 0.0);
	printf(gap ? " (joined over %" PRIu64 " clean pages)\n" : "\n", gap);
	printf("ever written: %" PRIu64 "\n", s->all);
}

static int run_info(const struct cli_parsed *p)
{
	uint64_t gap = cli_number(p, "gap"), *all;
	struct sums s = { 0 };
	struct trace t;
	int code = load(p, &t);
	json_t *rounds;

	if (code != CLI_OK)
		return code;
	all = calloc((t.pages + 63) / 64, sizeof(*all));
	if (!all) {
		trace_free(&t);
		return cli_fail(p->command, CLI_FAILED, "no memory");
	}
	rounds = rounds_json(&t, gap, &s, all);
	if (cli_flag(p, "json")) {
		json_t *j = json_pack(
		    "{s:s, s:I, s:I, s:I, s:O}", "workload",
		    text_of(&t, "workload"), "pages", (json_int_t)t.pages,
		    "page_bytes", (json_int_t)t.page_bytes, "ever_written",
		    (json_int_t)s.all, "rounds", rounds);

		json_dumpf(j, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(j);
	} else {
		print_info(&t, &s, gap);
	}
	json_decref(rounds);
	free(all);
	trace_free(&t);
	return CLI_OK;
}

/* --- replay --- */

static void mark_round(struct tide_set *set, const uint64_t *bits,
		       uint64_t pages)
{
	for (uint64_t w = 0; w < (pages + 63) / 64; w++)
		for (uint64_t left = bits[w]; left; left &= left - 1)
			tide_set_mark(set, w * 64 +
				      (uint64_t)__builtin_ctzll(left));
}

/* Clear the epoch's pages in @left; whatever is not as recorded is wrong. */
static uint64_t compare(const struct tide_epoch *epoch, uint64_t *left,
			uint64_t pages)
{
	static struct tide_range r[BATCH];
	uint64_t cursor = 0, wrong = 0;
	size_t n;

	while ((n = tide_epoch_next(epoch, &cursor, r, BATCH)))
		for (size_t i = 0; i < n; i++)
			for (uint64_t k = r[i].first;
			     k < r[i].first + r[i].count; k++) {
				wrong += !(left[k / 64] >> (k % 64) & 1);
				left[k / 64] &= ~(UINT64_C(1) << (k % 64));
			}
	return wrong + tide_bitmap_count(left, pages);
}

static void replay_round(struct tide_set *set, const struct trace *t,
			 uint32_t i, uint64_t *left, struct sums *s)
{
	static struct tide_range r[BATCH];
	uint64_t t0 = tide__now_ns(), t1, t2, cursor = 0;
	struct tide_epoch *epoch;
	size_t n;

	mark_round(set, t->round[i], t->pages);
	t1 = tide__now_ns();
	if (tide_set_cut(set, &epoch, NULL))
		return;
	t2 = tide__now_ns();
	while ((n = tide_epoch_next(epoch, &cursor, r, BATCH)))
		s->runs += n;
	s->mark_ns += t1 - t0;
	s->cut_ns += t2 - t1;
	s->read_ns += tide__now_ns() - t2;
	s->pages += tide_epoch_count(epoch);
	memcpy(left, t->round[i], (t->pages + 63) / 64 * 8);
	s->wrong += compare(epoch, left, t->pages);
	tide_epoch_commit(epoch);
}

static void print_replay(const struct cli_parsed *p, const struct trace *t,
			 const struct sums *s)
{
	double rounds = t->rounds, pages = s->pages ? (double)s->pages : 1;

	if (cli_flag(p, "json")) {
		printf("{ \"workload\": \"%s\", \"rounds\": %u, \"pages\": %"
		       PRIu64 ", \"ranges\": %" PRIu64 ", \"mark_ns_per_page\""
		       ": %.2f, \"cut_us_per_round\": %.2f, "
		       "\"read_us_per_round\": %.2f, \"wrong_pages\": %" PRIu64
		       " }\n", text_of(t, "workload"), t->rounds, s->pages,
		       s->runs, (double)s->mark_ns / pages,
		       (double)s->cut_ns / rounds / 1e3,
		       (double)s->read_ns / rounds / 1e3, s->wrong);
		return;
	}
	printf("%u rounds, %" PRIu64 " pages, %" PRIu64 " ranges: marking "
	       "%.1f ns a page; cut %.1f us, reading %.1f us a round\n",
	       t->rounds, s->pages, s->runs, (double)s->mark_ns / pages,
	       (double)s->cut_ns / rounds / 1e3,
	       (double)s->read_ns / rounds / 1e3);
	printf(s->wrong ? "%" PRIu64 " pages differ from the record\n" :
			  "every page as recorded\n", s->wrong);
}

static int run_replay(const struct cli_parsed *p)
{
	struct tide_set *set = NULL;
	struct sums s = { 0 };
	struct tide_error err;
	uint64_t *left = NULL;
	struct trace t;
	int code = load(p, &t);

	if (code != CLI_OK)
		return code;
	left = calloc((t.pages + 63) / 64, sizeof(*left));
	if (!left || tide_set_create(&set, t.pages, &err)) {
		code = cli_fail(p->command, CLI_FAILED, "no memory");
	} else {
		for (uint32_t i = 0; i < t.rounds; i++)
			replay_round(set, &t, i, left, &s);
		print_replay(p, &t, &s);
		code = s.wrong ? CLI_UNVERIFIED : CLI_OK;
	}
	tide_set_destroy(set);
	free(left);
	trace_free(&t);
	return code;
}

/* --- record: the VM's process does the work --- */

static int run_record(const struct cli_parsed *p)
{
	const char *control = cli_text(p, "control");
	struct tide_error err;
	char *folder = NULL;
	json_t *reply;
	int fd, code = CLI_OK;

	if (p->argc != 1 || !control)
		return cli_fail(p->command, CLI_USAGE,
				"--control and one folder are needed; see "
				"--help");
	folder = realpath(p->argv[0], NULL);
	if (!folder)
		return cli_fail(p->command, CLI_FAILED,
				"%s: %s; make the folder first", p->argv[0],
				strerror(errno));
	fd = client_open(control, &err);
	if (fd < 0) {
		free(folder);
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	}
	reply = client_ask(fd, json_pack(
	    "{s:s, s:s, s:I, s:I}", "command", "record", "folder", folder,
	    "rounds", (json_int_t)cli_number(p, "rounds"), "interval_ms",
	    (json_int_t)cli_number(p, "interval")), -1);
	close(fd);
	free(folder);
	if (!reply)
		return cli_fail(p->command, CLI_FAILED,
				"the VM closed the control socket without an "
				"answer");
	if (json_object_get(reply, "error"))
		code = cli_fail(p->command, CLI_REFUSED, "%s",
				client_text(reply, "error"));
	else if (cli_flag(p, "json"))
		json_dumpf(reply, stdout, JSON_INDENT(2)), putchar('\n');
	else
		printf("%lld rounds, %lld pages written\n",
		       client_integer(reply, "rounds"),
		       client_integer(reply, "pages"));
	json_decref(reply);
	return code;
}

static const struct cli_option info_options[] = {
	{ "gap", "N", CLI_COUNT, "0",
	  "join ranges with at most so many clean pages between them" },
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

static const struct cli_option replay_options[] = {
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

static const struct cli_option record_options[] = {
	{ "control", "PATH", CLI_TEXT, NULL, "the VM's control socket" },
	{ "rounds", "N", CLI_COUNT, "20", "rounds to record", 1, 10000 },
	{ "interval", "MS", CLI_MILLISECONDS, "100", "length of a round", 1 },
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_trace_info = {
	.name = "trace info",
	.summary = "Show what a recorded trace of dirty pages looks like",
	.words = "FOLDER",
	.options = info_options,
	.run = run_info,
};

const struct cli_command cli_trace_replay = {
	.name = "trace replay",
	.summary = "Play a trace through the dirty set, timed and compared",
	.words = "FOLDER",
	.options = replay_options,
	.run = run_replay,
};

const struct cli_command cli_trace_record = {
	.name = "trace record",
	.summary = "Record which pages a running guest writes",
	.words = "FOLDER",
	.options = record_options,
	.run = run_record,
};
