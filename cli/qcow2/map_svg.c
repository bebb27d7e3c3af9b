/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The picture: the file as rows of cells from its first byte to its last, each
 * cell so many clusters. A cell shows its uses side by side, by their share,
 * but no metadata is narrower than an eye can see. Below, the legend says how
 * much there is of each.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "cli/qcow2/map.h"

#define COLUMNS 128u
#define MAX_CELLS 8192u
#define CELL 8u
#define LEGEND_ROW 18u
#define FREE_COLOUR "#f4f4f4"

static const char *const colours[QCOW2_USES] = {
	"#000000", "#b00020", "#f28c28", "#00539c", "#3aa0e0",
	"#6a1b9a", "#d6336c", "#f7b267", "#1b5e20", "#43a047",
	"#a5d6a7", "#8d6e63", "#cfd8dc", "#90a4ae",
};

struct picture {
	FILE *f;
	const struct qcow2_census *c;
	uint64_t cluster_bytes;
	uint64_t per_cell; /* clusters */
	uint64_t cells;
	uint64_t total[QCOW2_USES + 1]; /* clusters; the last: free */
};

static void count_cell(struct picture *p, uint64_t cell,
		       uint64_t share[QCOW2_USES + 1])
{
	uint64_t from = cell * p->per_cell, to = from + p->per_cell;
	uint32_t uses;

	memset(share, 0, (QCOW2_USES + 1) * sizeof(*share));
	if (to > p->c->clusters)
		to = p->c->clusters;
	for (uint64_t i = from; i < to; i++) {
		/* Where nothing was counted, a whole page is free. */
		if (!p->c->pages[i / CENSUS_PAGE_CLUSTERS]) {
			uint64_t next = (i | (CENSUS_PAGE_CLUSTERS - 1)) + 1;

			share[QCOW2_USES] += (next < to ? next : to) - i;
			i = next - 1;
			continue;
		}
		uses = qcow2_census_uses(p->c, i);
		for (uint32_t u = 0; u < QCOW2_USES; u++)
			share[u] += uses >> u & 1;
		share[QCOW2_USES] += !uses;
	}
	for (uint32_t u = 0; u <= QCOW2_USES; u++)
		p->total[u] += share[u];
}

static void draw_cell(struct picture *p, uint64_t cell)
{
	uint64_t share[QCOW2_USES + 1], all = 0;
	double x = (double)(cell % COLUMNS * CELL), end = x + CELL - 1;
	uint64_t y = cell / COLUMNS * CELL;

	count_cell(p, cell, share);
	for (uint32_t u = 0; u < QCOW2_USES; u++)
		all += share[u];
	all += share[QCOW2_USES];
	fprintf(p->f, "<g><title>offset %llu:",
		(unsigned long long)(cell * p->per_cell * p->cluster_bytes));
	for (uint32_t u = 0; u < QCOW2_USES; u++)
		if (share[u])
			fprintf(p->f, " %s %llu", qcow2_use_name(u),
				(unsigned long long)share[u]);
	if (share[QCOW2_USES])
		fprintf(p->f, " free %llu",
			(unsigned long long)share[QCOW2_USES]);
	fputs("</title>", p->f);
	fprintf(p->f, "<rect x=\"%.1f\" y=\"%llu\" width=\"%u\" height=\"%u\" "
		"fill=\"" FREE_COLOUR "\"/>", x, (unsigned long long)y,
		CELL - 1, CELL - 1);
	for (uint32_t u = 0; u < QCOW2_USES && x < end; u++) {
		double width = (CELL - 1) * (double)share[u] / (double)all;

		if (!share[u])
			continue;
		if (width < 1.5 && u < QCOW2_USE_DATA)
			width = 1.5;
		if (width > end - x)
			width = end - x;
		fprintf(p->f, "<rect x=\"%.1f\" y=\"%llu\" width=\"%.2f\" "
			"height=\"%u\" fill=\"%s\"/>", x,
			(unsigned long long)y, width, CELL - 1, colours[u]);
		x += width;
	}
	fputs("</g>\n", p->f);
}

static void draw_legend(struct picture *p, uint64_t y)
{
	for (uint32_t u = 0; u <= QCOW2_USES; u++) {
		if (!p->total[u])
			continue;
		fprintf(p->f, "<rect x=\"4\" y=\"%llu\" width=\"12\" "
			"height=\"12\" fill=\"%s\" stroke=\"#888\" "
			"stroke-width=\"0.5\"/><text x=\"22\" y=\"%llu\">%s: "
			"%llu clusters, %llu bytes</text>\n",
			(unsigned long long)y,
			u < QCOW2_USES ? colours[u] : FREE_COLOUR,
			(unsigned long long)(y + 11),
			u < QCOW2_USES ? qcow2_use_name(u) : "free",
			(unsigned long long)p->total[u],
			(unsigned long long)(p->total[u] * p->cluster_bytes));
		y += LEGEND_ROW;
	}
}

static void draw(struct picture *p)
{
	uint64_t rows = (p->cells + COLUMNS - 1) / COLUMNS;
	uint64_t height = rows * CELL + 30 + (QCOW2_USES + 1) * LEGEND_ROW;

	fprintf(p->f, "<svg xmlns=\"http://www.w3.org/2000/svg\" "
		"viewBox=\"0 0 %u %llu\" width=\"%u\" height=\"%llu\" "
		"font-family=\"sans-serif\" font-size=\"12\">\n",
		COLUMNS * CELL, (unsigned long long)height, COLUMNS * CELL,
		(unsigned long long)height);
	fputs("<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n", p->f);
	for (uint64_t i = 0; i < p->cells; i++)
		draw_cell(p, i);
	fprintf(p->f, "<text x=\"4\" y=\"%llu\">%llu clusters of %llu bytes, "
		"%llu to a cell, from left to right and downwards</text>\n",
		(unsigned long long)(rows * CELL + 16),
		(unsigned long long)p->c->clusters,
		(unsigned long long)p->cluster_bytes,
		(unsigned long long)p->per_cell);
	draw_legend(p, rows * CELL + 26);
	fputs("</svg>\n", p->f);
}

int qcow2_map_svg(const struct cli_parsed *p, const struct qcow2_image *image,
		  const struct qcow2_census *census, const char *path)
{
	struct picture pic = {
		.c = census,
		.cluster_bytes = qcow2_cluster_bytes(&image->header),
		.per_cell = census->clusters / MAX_CELLS + 1,
	};
	struct output_file out;
	struct tide_error err;

	pic.cells = (census->clusters + pic.per_cell - 1) / pic.per_cell;
	if (output_open(&out, path, cli_flag(p, "force"), &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	pic.f = out.file;
	draw(&pic);
	if (output_close(&out, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return CLI_OK;
}
