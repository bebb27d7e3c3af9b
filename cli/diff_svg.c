/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/diff_svg.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/output.h"

#define COLUMNS 128u
#define CELL 8u

void diff_picture_init(struct diff_picture *d, uint64_t size_bytes)
{
	*d = (struct diff_picture){ .size_bytes = size_bytes };
	d->cell_bytes = size_bytes / DIFF_CELLS + !!(size_bytes % DIFF_CELLS);
	if (d->cell_bytes < 512)
		d->cell_bytes = 512;
}

void diff_picture_add(struct diff_picture *d, uint64_t offset_bytes,
		      uint64_t length_bytes)
{
	uint64_t end = offset_bytes + length_bytes;

	d->changed_bytes += length_bytes;
	while (offset_bytes < end && offset_bytes < d->size_bytes) {
		uint64_t cell = offset_bytes / d->cell_bytes;
		uint64_t stop = (cell + 1) * d->cell_bytes;

		if (stop > end)
			stop = end;
		d->cells[cell] += stop - offset_bytes;
		offset_bytes = stop;
	}
}

/* From pale to dark; what changed at all is never as pale as what did not. */
static void draw_cell(FILE *f, const struct diff_picture *d, uint64_t cell)
{
	uint64_t changed = d->cells[cell];
	double share = (double)changed / (double)d->cell_bytes;

	fprintf(f, "<rect x=\"%" PRIu64 "\" y=\"%" PRIu64 "\" width=\"%u\" "
		"height=\"%u\" fill=\"%s\" fill-opacity=\"%.2f\"><title>"
		"offset %" PRIu64 ": %" PRIu64 " bytes changed</title>"
		"</rect>\n",
		cell % COLUMNS * CELL, cell / COLUMNS * CELL, CELL - 1,
		CELL - 1, changed ? "#b00020" : "#e8eaed",
		changed ? 0.25 + 0.75 * (share > 1 ? 1 : share) : 1.0,
		cell * d->cell_bytes, changed);
}

static void draw(FILE *f, const struct diff_picture *d)
{
	uint64_t cells = (d->size_bytes + d->cell_bytes - 1) / d->cell_bytes;
	uint64_t height = (cells + COLUMNS - 1) / COLUMNS * CELL;

	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u "
		"%" PRIu64 "\" width=\"%u\" height=\"%" PRIu64 "\" "
		"font-family=\"sans-serif\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		COLUMNS * CELL, height + 24, COLUMNS * CELL, height + 24);
	for (uint64_t i = 0; i < cells; i++)
		draw_cell(f, d, i);
	fprintf(f, "<text x=\"4\" y=\"%" PRIu64 "\">%" PRIu64 " of %" PRIu64
		" bytes changed, %" PRIu64 " bytes to a cell, from left to "
		"right and downwards</text>\n</svg>\n", height + 16,
		d->changed_bytes, d->size_bytes, d->cell_bytes);
}

int diff_picture_write(const struct diff_picture *d,
		       const struct cli_parsed *p, const char *path)
{
	struct output_file out;
	struct tide_error err;

	if (output_open(&out, path, cli_flag(p, "force"), &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	draw(out.file, d);
	if (output_close(&out, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return CLI_OK;
}
