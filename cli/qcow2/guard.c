/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark qcow2 guard: play the writes of a trace against the kind map of an
 * image, and say which of them would have landed on metadata. Nothing is
 * written. A trace names places on the guest's disk, which are followed through
 * the image's own tables (so a damaged table shows), or, with --file, places
 * in the file itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2/format/guest.h"
#include "qcow2/format/kinds_load.h"
#include "cli/json_out.h"
#include "cli/qcow2/image.h"

#define SHOWN_HITS 20u

struct hit {
	uint64_t t_us, trace_offset, length, file_offset;
	uint32_t kinds;
};

struct guard {
	const struct cli_parsed *p;
	struct qcow2_image image;
	struct tide_kinds *kinds;
	struct qcow2_guest_run *runs; /* owned; sorted by guest offset */
	uint64_t run_count;
	bool in_file, external;
	uint64_t writes, bytes, checks, hits, outside, unmapped;
	uint64_t refused; /* by the driver: the entry cannot be followed */
	uint64_t by_kind[TIDE_KIND_COUNT];
	struct hit shown[SHOWN_HITS];
};

static int keep_run(void *opaque, const struct qcow2_guest_run *run)
{
	struct guard *g = opaque;
	struct qcow2_guest_run *more;
	uint64_t n = g->run_count;

	if (!(n & (n - 1))) {
		more = reallocarray(g->runs, n ? 2 * n : 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		g->runs = more;
	}
	g->runs[g->run_count++] = *run;
	return 0;
}

static void check(struct guard *g, uint64_t t_us, uint64_t trace_offset,
		  uint64_t file_offset, uint64_t length)
{
	struct tide_kinds_hit hit;

	g->checks++;
	if (!tide_kinds_check(g->kinds, file_offset, length, 0, &hit))
		return;
	if (g->hits < SHOWN_HITS)
		g->shown[g->hits] = (struct hit){ t_us, trace_offset, length,
						  hit.offset_bytes,
						  hit.kinds };
	g->hits++;
	for (uint32_t k = 0; k < TIDE_KIND_COUNT; k++)
		g->by_kind[k] += hit.kinds >> k & 1;
}

/* The first run that ends behind @offset. */
static uint64_t find_run(const struct guard *g, uint64_t offset)
{
	uint64_t low = 0, high = g->run_count, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (g->runs[mid].guest_bytes + g->runs[mid].length_bytes <=
		    offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Only what has a cluster already is written in place; else it gets one. */
static void follow(struct guard *g, uint64_t t_us, uint64_t offset,
		   uint64_t length)
{
	uint64_t end = offset + length, skip, n;

	for (uint64_t i = find_run(g, offset); i < g->run_count && offset < end;
	     i++) {
		const struct qcow2_guest_run *r = &g->runs[i];

		skip = offset - r->guest_bytes;
		n = r->length_bytes - skip;
		if (n > end - offset)
			n = end - offset;
		if (r->type == QCOW2_GUEST_DAMAGED)
			g->refused++;
		else if (r->has_host && !g->external)
			check(g, t_us, offset, r->host_bytes + skip, n);
		else if (!r->has_host)
			g->unmapped++;
		offset += n;
	}
}

static void play(struct guard *g, uint64_t t_us, uint64_t offset,
		 uint64_t length)
{
	uint64_t size = g->in_file ? UINT64_MAX : g->image.header.size_bytes;

	g->writes++;
	g->bytes += length;
	if (offset >= size || length > size - offset) {
		g->outside++;
		return;
	}
	if (g->in_file)
		check(g, t_us, offset, offset, length);
	else
		follow(g, t_us, offset, length);
}

/* Digits only: no sign, no overflow. */
static bool take_number(const char **at, char end, uint64_t *value)
{
	char *stop;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*value = strtoull(*at, &stop, 10);
	if (errno ||
	    (*stop != end && !(end == '\n' && (!*stop || *stop == '\r'))))
		return false;
	*at = stop + 1;
	return true;
}

/* "t_us,op,offset,length" */
static bool parse_line(const char *line, uint64_t *t_us, char op[16],
		       uint64_t *offset, uint64_t *length)
{
	size_t letters;

	if (!take_number(&line, ',', t_us))
		return false;
	letters = strspn(line, "abcdefghijklmnopqrstuvwxyz");
	if (!letters || letters > 15 || line[letters] != ',')
		return false;
	memcpy(op, line, letters);
	op[letters] = '\0';
	line += letters + 1;
	return take_number(&line, ',', offset) &&
	       take_number(&line, '\n', length);
}

static int play_trace(struct guard *g, FILE *f, const char *path)
{
	uint64_t number = 0, t_us, offset, length;
	char line[256], op[16];

	while (fgets(line, sizeof(line), f)) {
		number++;
		if (number == 1 && !strncmp(line, "t_us,", 5))
			continue;
		if (!parse_line(line, &t_us, op, &offset, &length))
			return cli_fail(g->p->command, CLI_FAILED,
					"%s: line %llu is not "
					"t_us,op,offset,length", path,
					(unsigned long long)number);
		/* trim and flush write nothing. */
		if (length && (!strcmp(op, "write") || !strcmp(op, "zero")))
			play(g, t_us, offset, length);
	}
	if (ferror(f))
		return cli_fail(g->p->command, CLI_FAILED, "%s: %s", path,
				strerror(errno));
	return CLI_OK;
}

static int open_and_play(struct guard *g, const char *path)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
	int code;

	if (!f)
		return cli_fail(g->p->command, CLI_FAILED, "%s: %s", path,
				strerror(errno));
	code = play_trace(g, f, path);
	if (f != stdin)
		fclose(f);
	return code;
}

static void hit_json(struct cli_json *j, const struct hit *h)
{
	cli_json_object(j, NULL);
	cli_json_number(j, "t_us", h->t_us);
	cli_json_number(j, "offset", h->trace_offset);
	cli_json_number(j, "length", h->length);
	cli_json_number(j, "file_offset", h->file_offset);
	cli_json_array(j, "kinds");
	for (uint32_t k = 0; k < TIDE_KIND_COUNT; k++)
		if (h->kinds >> k & 1)
			cli_json_text(j, NULL,
				      tide_kind_name((enum tide_kind)k));
	cli_json_close(j);
	cli_json_close(j);
}

static int report_json(const struct guard *g)
{
	struct cli_json j;

	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_number(&j, "writes", g->writes);
	cli_json_number(&j, "bytes", g->bytes);
	cli_json_number(&j, "checks", g->checks);
	cli_json_number(&j, "hits", g->hits);
	cli_json_number(&j, "refused", g->refused);
	cli_json_number(&j, "outside", g->outside);
	cli_json_number(&j, "unmapped", g->unmapped);
	cli_json_number(&j, "map_bytes", tide_kinds_bytes(g->kinds));
	cli_json_object(&j, "by_kind");
	for (uint32_t k = 0; k < TIDE_KIND_COUNT; k++)
		cli_json_number(&j, tide_kind_name((enum tide_kind)k),
				g->by_kind[k]);
	cli_json_close(&j);
	cli_json_array(&j, "first_hits");
	for (uint64_t i = 0; i < g->hits && i < SHOWN_HITS; i++)
		hit_json(&j, &g->shown[i]);
	cli_json_close(&j);
	cli_json_close(&j);
	return cli_json_end(&j, g->p->command);
}

static void report_text(const struct guard *g)
{
	for (uint64_t i = 0; i < g->hits && i < SHOWN_HITS; i++)
		printf("t=%lluus: write of %llu bytes at %llu would hit the %s "
		       "at offset %llu of the file\n",
		       (unsigned long long)g->shown[i].t_us,
		       (unsigned long long)g->shown[i].length,
		       (unsigned long long)g->shown[i].trace_offset,
		       tide_kind_name((enum tide_kind)__builtin_ctz(
			       g->shown[i].kinds)),
		       (unsigned long long)g->shown[i].file_offset);
	if (g->hits > SHOWN_HITS)
		printf("... and %llu more\n",
		       (unsigned long long)(g->hits - SHOWN_HITS));
	for (uint32_t k = 0; k < TIDE_KIND_COUNT; k++)
		if (g->by_kind[k])
			printf("%s: %llu hits\n",
			       tide_kind_name((enum tide_kind)k),
			       (unsigned long long)g->by_kind[k]);
	printf("%llu writes, %llu checks, %llu hits; %llu outside of the disk, "
	       "%llu through damaged entries, %llu where nothing is allocated "
	       "yet\n",
	       (unsigned long long)g->writes, (unsigned long long)g->checks,
	       (unsigned long long)g->hits, (unsigned long long)g->outside,
	       (unsigned long long)g->refused, (unsigned long long)g->unmapped);
}

static int prepare(struct guard *g)
{
	const struct qcow2_header *h = &g->image.header;
	struct tide_error err;
	int ret;

	tide_error_clear(&err);
	ret = tide_kinds_create(&g->kinds, h->cluster_bits, &err);
	if (!ret)
		ret = qcow2_kinds_load(&g->image.reader, h, g->kinds, &err);
	if (!ret && !g->in_file)
		ret = qcow2_guest_walk(&g->image.reader, h, keep_run, g, &err);
	if (!ret)
		return CLI_OK;
	return cli_fail(g->p->command, CLI_FAILED, "%s",
			err.code ? err.text : "no memory");
}

static int run(const struct cli_parsed *p)
{
	struct guard g = { .p = p, .in_file = cli_flag(p, "file") };
	int code;

	if (p->argc != 2)
		return cli_fail(p->command, CLI_USAGE,
				"an image and a trace are needed; see --help");
	code = qcow2_image_open_path(p, p->argv[0], false, &g.image);
	if (code)
		return code;
	g.external = g.image.header.incompatible & QCOW2_INCOMPAT_DATA_FILE;
	code = prepare(&g);
	if (!code)
		code = open_and_play(&g, p->argv[1]);
	if (!code && cli_flag(p, "json"))
		code = report_json(&g);
	else if (!code)
		report_text(&g);
	/* Whatever the driver would refuse. */
	if (!code && (g.hits || g.refused || g.outside))
		code = QCOW2_CORRUPT;
	free(g.runs);
	tide_kinds_destroy(g.kinds);
	qcow2_image_close(&g.image);
	return code;
}

static const struct cli_option options[] = {
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	QCOW2_FORCE_SHARE,
	{ "file", NULL, CLI_FLAG, NULL,
	  "the trace names places in the file, not on the guest's disk" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_qcow2_guard = {
	.name = "qcow2 guard",
	.summary = "Say which writes of a trace would hit metadata",
	.words = "IMAGE TRACE",
	.options = options,
	.run = run,
};
