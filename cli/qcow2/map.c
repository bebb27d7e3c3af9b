/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark qcow2 map: what lies where in the file, in runs of clusters that
 * are used for the same; as text, JSON or a picture. Or, with --guest, where
 * the disk of the guest lies.
 */
#include "cli/output.h"
#include "cli/qcow2/map.h"

#include <errno.h>
#include <stdio.h>

#include "cli/json_out.h"
#include "qcow2/format/guest.h"

const char *qcow2_use_name(uint32_t use)
{
	if (use == QCOW2_USE_DATA)
		return "data";
	if (use == QCOW2_USE_PACKED)
		return "compressed data";
	return qcow2_section_name((enum qcow2_section)use);
}

/* "L2 table + snapshot's L2 table" */
static void uses_text(uint32_t uses, char *to, size_t room)
{
	size_t at = 0;

	to[0] = 0;
	if (!uses)
		snprintf(to, room, "free");
	for (uint32_t i = 0; i < QCOW2_USES && at < room; i++)
		if (uses >> i & 1)
			at += (size_t)snprintf(to + at, room - at, "%s%s",
					       at ? " + " : "",
					       qcow2_use_name(i));
}

/* One line, or one object of the array that is open in @j. */
static void put_run(struct cli_json *j, uint32_t uses, uint64_t offset,
		    uint64_t bytes)
{
	char text[200];

	if (!j) {
		uses_text(uses, text, sizeof(text));
		printf("%16llu %16llu  %s\n", (unsigned long long)offset,
		       (unsigned long long)bytes, text);
		return;
	}
	cli_json_object(j, NULL);
	cli_json_number(j, "offset", offset);
	cli_json_number(j, "length", bytes);
	cli_json_array(j, "uses");
	for (uint32_t i = 0; i < QCOW2_USES; i++)
		if (uses >> i & 1)
			cli_json_text(j, NULL, qcow2_use_name(i));
	cli_json_close(j);
	cli_json_close(j);
}

static void put_runs(const struct qcow2_image *image,
		     const struct qcow2_census *c, struct cli_json *j)
{
	uint64_t cluster = qcow2_cluster_bytes(&image->header), from = 0, i;
	uint32_t uses, now;

	if (!j)
		printf("%16s %16s  %s\n", "offset", "length", "used for");
	for (from = 0; from < c->clusters; from = i) {
		uses = qcow2_census_uses(c, from);
		for (i = from + 1; i < c->clusters; i++) {
			/* Where nothing was counted, a whole page is free. */
			if (!uses && !c->pages[i / CENSUS_PAGE_CLUSTERS])
				i |= CENSUS_PAGE_CLUSTERS - 1;
			if (i >= c->clusters)
				break;
			now = qcow2_census_uses(c, i);
			if (now != uses)
				break;
		}
		if (i > c->clusters)
			i = c->clusters;
		put_run(j, uses, from * cluster, (i - from) * cluster);
	}
}

static int put_layout(const struct cli_parsed *p,
		      const struct qcow2_image *image,
		      const struct qcow2_census *census)
{
	struct cli_json j;

	if (cli_text(p, "svg"))
		return qcow2_map_svg(p, image, census, cli_text(p, "svg"));
	if (!cli_flag(p, "json")) {
		put_runs(image, census, NULL);
		return CLI_OK;
	}
	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_text(&j, "image", image->path);
	cli_json_number(&j, "cluster_size_bytes",
			qcow2_cluster_bytes(&image->header));
	cli_json_array(&j, "runs");
	put_runs(image, census, &j);
	cli_json_close(&j);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

static int map_layout(const struct cli_parsed *p,
		      const struct qcow2_image *image)
{
	struct qcow2_census census = { 0 };
	struct qcow2_check check;
	struct tide_error err;
	int code;

	if (qcow2_check(&image->reader, &image->header, NULL, NULL, &check,
			&census, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	code = put_layout(p, image, &census);
	if (!code && qcow2_check_corruptions(&check))
		fprintf(stderr, "tidemark %s: the image is damaged: see "
			"tidemark qcow2 check\n", p->command->name);
	qcow2_census_fini(&census);
	return code;
}

static int put_guest_run(void *opaque, const struct qcow2_guest_run *r)
{
	struct cli_json *j = opaque;

	if (!j) {
		printf("%16llu %16llu  %-10s",
		       (unsigned long long)r->guest_bytes,
		       (unsigned long long)r->length_bytes,
		       qcow2_guest_name(r->type));
		if (r->has_host)
			printf(" %llu", (unsigned long long)r->host_bytes);
		/* Whoever does not listen any more need not be told. */
		return putchar('\n') == EOF ? -EIO : 0;
	}
	cli_json_object(j, NULL);
	cli_json_number(j, "start", r->guest_bytes);
	cli_json_number(j, "length", r->length_bytes);
	cli_json_text(j, "type", qcow2_guest_name(r->type));
	if (r->has_host)
		cli_json_number(j, "offset", r->host_bytes);
	cli_json_close(j);
	return ferror(j->to) ? -EIO : 0;
}

/* The array of runs ends early only with the command's failure. */
static int map_guest_json(const struct cli_parsed *p,
			  const struct qcow2_image *image)
{
	struct tide_error err;
	struct cli_json j;

	tide_error_clear(&err);
	cli_json_begin(&j, stdout);
	cli_json_object(&j, NULL);
	cli_json_text(&j, "image", image->path);
	cli_json_array(&j, "runs");
	if (qcow2_guest_walk(&image->reader, &image->header, put_guest_run, &j,
			     &err) && err.code)
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	cli_json_close(&j);
	cli_json_close(&j);
	return cli_json_end(&j, p->command);
}

int qcow2_map_guest(const struct cli_parsed *p, const struct qcow2_image *image)
{
	struct tide_error err;

	if (cli_flag(p, "json"))
		return map_guest_json(p, image);
	tide_error_clear(&err);
	printf("%16s %16s  %-10s %s\n", "start", "length", "type", "offset");
	if (qcow2_guest_walk(&image->reader, &image->header, put_guest_run,
			     NULL, &err) && err.code)
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return CLI_OK; /* an output that failed is main's to see */
}

static int run(const struct cli_parsed *p)
{
	struct qcow2_image image;
	int code = qcow2_image_open(p, false, &image);

	if (code)
		return code;
	code = cli_flag(p, "guest") ? qcow2_map_guest(p, &image) :
				      map_layout(p, &image);
	qcow2_image_close(&image);
	return code;
}

static const struct cli_option options[] = {
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	QCOW2_FORCE_SHARE,
	{ "svg", "FILE", CLI_TEXT, NULL, "draw a picture into a file" },
	OPT_FORCE,
	{ "guest", NULL, CLI_FLAG, NULL,
	  "where the disk of the guest lies, not what lies in the file" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_qcow2_map = {
	.name = "qcow2 map",
	.summary = "Show what lies where in a qcow2 image",
	.words = "IMAGE",
	.options = options,
	.run = run,
};
