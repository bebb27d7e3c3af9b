/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two panels, bytes upwards on a logarithmic scale: what backups copy and what
 * the bitmap takes over the granularity; what a move sends over the chunk size,
 * at the granularity that is recommended.
 */
#include "cli/bitmap_estimate_svg.h"

#include <inttypes.h>
#include <math.h>

#define WIDTH 380
#define HEIGHT 260
#define LEFT 60
#define TOP 40
/* Decades from 10 bytes to 10 TB. */
#define FIRST 1
#define LAST 13

static double height_of(uint64_t bytes)
{
	double decade = log10((double)(bytes > 10 ? bytes : 10));

	return TOP + HEIGHT - (decade - FIRST) / (LAST - FIRST) * HEIGHT;
}

static void frame(FILE *f, int x, const char *title)
{
	fprintf(f, "<text x=\"%d\" y=\"20\">%s</text>\n", x, title);
	for (int d = FIRST; d <= LAST; d += 3)
		fprintf(f, "<path d=\"M%d %.1fh%d\" stroke=\"#ddd\"/>\n"
			"<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">1e%d"
			"</text>\n", x, height_of((uint64_t)pow(10, d)),
			WIDTH, x - 4, height_of((uint64_t)pow(10, d)) + 4, d);
}

static void label(FILE *f, int x, uint64_t bytes)
{
	bool large = bytes >= 1024;

	fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%" PRIu64
		"%s</text>\n", x, TOP + HEIGHT + 16,
		large ? bytes >> 10 : bytes, large ? "K" : "");
}

static void line(FILE *f, int x, const uint64_t *values, size_t n,
		 const char *colour, const char *name, size_t best)
{
	int step = WIDTH / (int)n;

	fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" points=\"", colour);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%d,%.1f ", x + step / 2 + step * (int)i,
			height_of(values[i]));
	fprintf(f, "\"/>\n<text x=\"%d\" y=\"%.1f\" fill=\"%s\">%s</text>\n",
		x + step / 2, height_of(values[0]) - 6, colour, name);
	fprintf(f, "<circle cx=\"%d\" cy=\"%.1f\" r=\"4\" fill=\"%s\"><title>%"
		PRIu64 " bytes</title></circle>\n", x + step / 2 +
		step * (int)best, height_of(values[best]), colour,
		values[best]);
}

void estimate_draw(FILE *to, const struct estimate *e)
{
	const struct estimate_row *row = &e->row[e->best_row];
	uint64_t backups[ESTIMATE_SHIFTS], bitmaps[ESTIMATE_SHIFTS];
	int right = LEFT + WIDTH + LEFT;

	for (size_t i = 0; i < ESTIMATE_SHIFTS; i++) {
		backups[i] = e->row[i].backup_bytes;
		bitmaps[i] = e->row[i].bitmap_bytes;
	}
	fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" font-family=\"sans-serif\" font-size=\"10\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		right + WIDTH + 10, TOP + HEIGHT + 30);
	frame(to, LEFT, "bytes, by granularity");
	frame(to, right, "bytes that a move sends, by chunk");
	for (size_t i = 0; i < ESTIMATE_SHIFTS; i++)
		label(to, LEFT + WIDTH / 20 + WIDTH / 10 * (int)i,
		      UINT64_C(1) << estimate_shifts[i]);
	for (size_t c = 0; c < ESTIMATE_CHUNKS; c++)
		label(to, right + WIDTH / 20 + WIDTH / 10 * (int)c,
		      estimate_chunks[c]);
	line(to, LEFT, backups, ESTIMATE_SHIFTS, "#06c", "backups copy",
	     e->best_row);
	line(to, LEFT, bitmaps, ESTIMATE_SHIFTS, "#c60", "bitmap",
	     e->best_row);
	line(to, right, row->sent_bytes, ESTIMATE_CHUNKS, "#06c", "in all",
	     e->best_chunk);
	line(to, right, row->stop_bytes, ESTIMATE_CHUNKS, "#c60",
	     "of it at the stop", e->best_chunk);
	fprintf(to, "</svg>\n");
}
