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
#include "cli/json_out.h"
#include "cli/options.h"
#include "tidemark/dirty.h"
#include "tidemark/scan.h"
#include "cli/trace/file.h"
#include "cli/trace/record_pid.h"

#define BATCH 1024

struct sums {
	uint64_t pages, runs, min, max, all; /* all: of the union */
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

/* What one round holds; the sums, and @all, grow by it. */
static void add_round(const struct trace *t, uint32_t i, uint64_t gap,
		      struct sums *s, uint64_t *all, struct cli_json *j)
{
	uint64_t pages = tide_bitmap_count(t->round[i], t->pages), covered;
	uint64_t runs = count_runs(t->round[i], t->pages, gap, &covered);

	tide_bitmap_union(all, t->round[i], t->pages);
	s->pages += pages;
	s->runs += runs;
	s->min = pages < s->min ? pages : s->min;
	s->max = pages > s->max ? pages : s->max;
	if (!j)
		return;
	cli_json_object(j, NULL);
	cli_json_number(j, "round", i);
	cli_json_number(j, "pages", pages);
	cli_json_number(j, "ranges", runs);
	cli_json_number(j, "covered", covered);
	cli_json_close(j);
}

static void add_rounds(const struct trace *t, uint64_t gap, struct sums *s,
		       uint64_t *all, struct cli_json *j)
{
	s->min = UINT64_MAX;
	for (uint32_t i = 0; i < t->rounds; i++)
		add_round(t, i, gap, s, all, j);
	s->all = tide_bitmap_count(all, t->pages);
}

static int info_json(const struct cli_parsed *p, const struct trace *t,
		     uint64_t gap, uint64_t *all)
{
	struct sums s = { 0 };
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_text(&j, "workload", text_of(t, "workload"));
	cli_json_number(&j, "pages", t->pages);
	cli_json_number(&j, "page_bytes", t->page_bytes);
	cli_json_array(&j, "rounds");
	add_rounds(t, gap, &s, all, &j);
	cli_json_close(&j);
	cli_json_number(&j, "ever_written", s.all);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static void print_info(const struct trace *t, const struct sums *s,
		       uint64_t gap)
{
	double rounds = t->rounds;
	char workload[CLI_SHOWN], about[CLI_SHOWN];

	printf("%s%s%s\n", cli_show(workload, text_of(t, "workload")),
	       *text_of(t, "description") ? ": " : "",
	       cli_show(about, text_of(t, "description")));
	printf("%" PRIu64 " pages of %" PRIu64 " bytes, %u rounds\n", t->pages,
	       t->page_bytes, t->rounds);
	printf("written a round: %.1f (%" PRIu64 " to %" PRIu64 "), %.2f %% "
	       "of all\n", (double)s->pages / rounds, s->min, s->max,
	       100.0 * (double)s->pages / rounds / (double)t->pages);
	printf("ranges a round: %.1f, %.2f pages each",
	       (double)s->runs / rounds,
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

	if (code != CLI_OK)
		return code;
	all = calloc((t.pages + 63) / 64, sizeof(*all));
	if (!all) {
		trace_free(&t);
		return cli_fail(p->command, CLI_FAILED, "no memory");
	}
	if (cli_flag(p, "json")) {
		code = info_json(p, &t, gap, all);
	} else {
		add_rounds(&t, gap, &s, all, NULL);
		print_info(&t, &s, gap);
	}
	free(all);
	trace_free(&t);
	return code;
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

static int replay_json(const struct cli_parsed *p, const struct trace *t,
		       const struct sums *s)
{
	double rounds = t->rounds, pages = s->pages ? (double)s->pages : 1;
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_text(&j, "workload", text_of(t, "workload"));
	cli_json_number(&j, "rounds", t->rounds);
	cli_json_number(&j, "pages", s->pages);
	cli_json_number(&j, "ranges", s->runs);
	cli_json_real(&j, "mark_ns_per_page", (double)s->mark_ns / pages);
	cli_json_real(&j, "cut_us_per_round", (double)s->cut_ns / rounds / 1e3);
	cli_json_real(&j, "read_us_per_round",
		      (double)s->read_ns / rounds / 1e3);
	cli_json_number(&j, "wrong_pages", s->wrong);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static void print_replay(const struct trace *t, const struct sums *s)
{
	double rounds = t->rounds, pages = s->pages ? (double)s->pages : 1;

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
		if (cli_flag(p, "json"))
			code = replay_json(p, &t, &s);
		else
			print_replay(&t, &s);
		if (code == CLI_OK && s.wrong)
			code = CLI_UNVERIFIED;
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

	if (p->argc != 1 || !control == !cli_text(p, "pid"))
		return cli_fail(p->command, CLI_USAGE,
				"--control or --pid, and one folder are "
				"needed; see --help");
	folder = realpath(p->argv[0], NULL);
	if (!folder)
		return cli_fail(p->command, CLI_FAILED,
				"%s: %s; make the folder first", p->argv[0],
				strerror(errno));
	if (!control) {
		code = trace_record_pid(p, folder);
		free(folder);
		return code;
	}
	fd = client_open(control, &err);
	if (fd < 0) {
		free(folder);
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	}
	reply = client_ask(fd, json_pack(
	    "{s:s, s:s, s:b, s:I, s:I}", "command", "record", "folder", folder,
	    "force", cli_flag(p, "force"), "rounds",
	    (json_int_t)cli_number(p, "rounds"), "interval_ms",
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
		code = cli_json_answer(reply, p->command);
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
	{ "pid", "N", CLI_COUNT, NULL,
	  "any running VM, or another process, from outside", 1, 4194304 },
	{ "rounds", "N", CLI_COUNT, "20", "rounds to record", 1, 10000 },
	{ "interval", "MS", CLI_MILLISECONDS, "100", "length of a round", 1 },
	{ "force", NULL, CLI_FLAG, NULL,
	  "replace a recording that is in the folder already" },
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
