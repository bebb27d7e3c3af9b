/* SPDX-License-Identifier: BSD-2-Clause */
/* Drawing the tables; plain SVG, readable on white and on dark paper. */
#include "plot.h"

#include "cli/output.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX 32 /* rows of a table, and names */
#define WIDTH 960
#define HEIGHT 520
#define LEFT 80
#define RIGHT 250
#define TOP 40
#define BOTTOM 70

struct point {
	char table[32], row[32], name[48];
	double median, low, high;
};

static struct point *points;
static size_t count, room;

static const char *const colours[] = { "#d62728", "#1f77b4", "#2ca02c",
				       "#9467bd", "#ff7f0e", "#17becf",
				       "#8c564b", "#e377c2", "#7f7f7f",
				       "#bcbd22" };
#define COLOURS (sizeof(colours) / sizeof(*colours))

void bench_plot_add(const char *table, const char *row, const char *name,
		    double median_ns, double low_ns, double high_ns)
{
	struct point *p;

	if (!(median_ns > 0))
		return;
	if (count == room) {
		room = room ? 2 * room : 256;
		p = realloc(points, room * sizeof(*points));
		if (!p) {
			room = count;
			return;
		}
		points = p;
	}
	p = &points[count++];
	snprintf(p->table, sizeof(p->table), "%s", table);
	snprintf(p->row, sizeof(p->row), "%s", row);
	snprintf(p->name, sizeof(p->name), "%s", name);
	p->median = median_ns;
	p->low = low_ns > 0 ? low_ns : median_ns;
	p->high = high_ns > 0 ? high_ns : median_ns;
}

/* Distinct rows and names of a table, in order of appearance. */
struct axes {
	const char *row[MAX], *name[MAX];
	int rows, names;
	double bottom, top; /* log10 of ns, whole */
};

static int index_of(const char **list, int *n, const char *text)
{
	for (int i = 0; i < *n; i++)
		if (!strcmp(list[i], text))
			return i;
	if (*n == MAX)
		return -1;
	list[*n] = text;
	return (*n)++;
}

static struct axes find_axes(const char *table)
{
	struct axes a = { .bottom = 99, .top = -99 };

	for (size_t i = 0; i < count; i++) {
		const struct point *p = &points[i];

		if (strcmp(p->table, table))
			continue;
		index_of(a.row, &a.rows, p->row);
		index_of(a.name, &a.names, p->name);
		a.bottom = fmin(a.bottom, floor(log10(p->low)));
		a.top = fmax(a.top, ceil(log10(p->high)));
	}
	if (a.top <= a.bottom)
		a.top = a.bottom + 1;
	return a;
}

static double x_of(const struct axes *a, int row)
{
	double span = WIDTH - LEFT - RIGHT;

	return LEFT + (a->rows > 1 ? span * row / (a->rows - 1) : span / 2);
}

static double y_of(const struct axes *a, double ns)
{
	double share = (log10(ns) - a->bottom) / (a->top - a->bottom);

	return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

void bench_plot_text(FILE *f, const char *text)
{
	for (; *text; text++)
		if (*text == '<' || *text == '&')
			fputs(*text == '<' ? "&lt;" : "&amp;", f);
		else
			fputc(*text, f);
}

static void put_text(FILE *f, double x, double y, const char *how,
		     const char *text)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, how);
	bench_plot_text(f, text);
	fputs("</text>\n", f);
}

static void put_scales(FILE *f, const struct axes *a)
{
	static const char *const units[] = { "1 ns",  "10 ns",	"100 ns",
					     "1 us",  "10 us",	"100 us",
					     "1 ms",  "10 ms",	"100 ms",
					     "1 s",   "10 s",	"100 s" };

	for (double e = a->bottom; e <= a->top; e++) {
		double y = y_of(a, pow(10, e));
		char text[32];

		fprintf(f, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" "
			   "x2=\"%d\" y2=\"%.1f\"/>\n",
			LEFT, y, WIDTH - RIGHT, y);
		if (e >= 0 && e < 12)
			snprintf(text, sizeof(text), "%s", units[(int)e]);
		else
			snprintf(text, sizeof(text), "1e%.0f ns", e);
		put_text(f, LEFT - 8, y + 4, "text-anchor=\"end\"", text);
	}
	for (int r = 0; r < a->rows; r++) {
		double x = x_of(a, r), y = HEIGHT - BOTTOM + 14;
		char how[80];

		snprintf(how, sizeof(how), "text-anchor=\"end\" transform="
					   "\"rotate(-30 %.1f %.1f)\"", x, y);
		put_text(f, x, y, how, a->row[r]);
	}
}

static void put_line(FILE *f, const struct axes *a, const char *table,
		     int name)
{
	const char *colour = colours[(size_t)name % COLOURS];
	const char *dash = (size_t)name >= COLOURS ? " stroke-dasharray=\"5 3\""
						   : "";
	double legend = TOP + 10 + 18.0 * name;
	bool first = true;

	fprintf(f, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"%s "
		   "d=\"", colour, name ? "1.5" : "3", dash);
	for (size_t i = 0; i < count; i++) {
		const struct point *p = &points[i];
		struct axes copy = *a;

		if (strcmp(p->table, table) || strcmp(p->name, a->name[name]))
			continue;
		fprintf(f, "%c%.1f %.1f", first ? 'M' : 'L',
			x_of(a, index_of(copy.row, &copy.rows, p->row)),
			y_of(a, p->median));
		first = false;
	}
	fputs("\"/>\n", f);
	for (size_t i = 0; i < count; i++) {
		const struct point *p = &points[i];
		struct axes copy = *a;
		double x;

		if (strcmp(p->table, table) || strcmp(p->name, a->name[name]))
			continue;
		x = x_of(a, index_of(copy.row, &copy.rows, p->row));
		fprintf(f, "<line stroke=\"%s\" x1=\"%.1f\" y1=\"%.1f\" "
			   "x2=\"%.1f\" y2=\"%.1f\"/><circle fill=\"%s\" "
			   "cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n",
			colour, x, y_of(a, p->low), x, y_of(a, p->high),
			colour, x, y_of(a, p->median));
	}
	fprintf(f, "<line stroke=\"%s\" stroke-width=\"3\"%s x1=\"%d\" "
		   "y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>\n",
		colour, dash, WIDTH - RIGHT + 16, legend, WIDTH - RIGHT + 40,
		legend);
	put_text(f, WIDTH - RIGHT + 46, legend + 4, "", a->name[name]);
}

static void put_picture(FILE *f, const char *table)
{
	struct axes a = find_axes(table);

	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d "
		"%d\" font-family=\"sans-serif\" font-size=\"12\">\n"
		"<style>text{fill:#444}.grid{stroke:#8884}"
		"@media(prefers-color-scheme:dark){text{fill:#bbb}}</style>\n",
		WIDTH, HEIGHT);
	put_text(f, LEFT, 22, "font-size=\"15\"", table);
	put_text(f, LEFT + 50 + 8 * (int)strlen(table), 22, "",
		 "median, quartiles as bars; lower is better");
	put_scales(f, &a);
	/* Ours is the first name, drawn last: on top. */
	for (int n = a.names - 1; n >= 0; n--)
		put_line(f, &a, table, n);
	fputs("</svg>\n", f);
}

static int write_table(const char *folder, const char *table, bool force,
		       struct tide_error *err)
{
	struct output_file out;
	char path[4096];
	int ret;

	snprintf(path, sizeof(path), "%s/%s.svg", folder, table);
	ret = output_open(&out, path, force, err);
	if (ret < 0)
		return ret;
	put_picture(out.file, table);
	return output_close(&out, err);
}

/* The table of point @i has none before it. */
static bool is_first(size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (!strcmp(points[k].table, points[i].table))
			return false;
	return true;
}

static void put_time(FILE *f, double ns)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	int unit = 0;

	for (; unit < 3 && ns >= 1000; unit++)
		ns /= 1000;
	fprintf(f, ns < 10 ? "%.2f %s" : ns < 100 ? "%.1f %s" : "%.0f %s", ns,
		units[unit]);
}

static void put_cell(FILE *f, const char *table, const char *row,
		     const char *name)
{
	fputs("<td>", f);
	for (size_t i = 0; i < count; i++) {
		const struct point *p = &points[i];

		if (strcmp(p->table, table) || strcmp(p->row, row) ||
		    strcmp(p->name, name))
			continue;
		put_time(f, p->median);
		fputs(" [", f);
		put_time(f, p->low);
		fputs(", ", f);
		put_time(f, p->high);
		fputs("]", f);
		break;
	}
	fputs("</td>", f);
}

void bench_plot_page(FILE *f)
{
	for (size_t i = 0; i < count; i++) {
		struct axes a;

		if (!is_first(i))
			continue;
		a = find_axes(points[i].table);
		fputs("<h2>", f);
		bench_plot_text(f, points[i].table);
		fputs("</h2>\n<table>\n<tr><th></th>", f);
		for (int n = 0; n < a.names; n++) {
			fputs("<th>", f);
			bench_plot_text(f, a.name[n]);
			fputs("</th>", f);
		}
		fputs("</tr>\n", f);
		for (int r = 0; r < a.rows; r++) {
			fputs("<tr><th>", f);
			bench_plot_text(f, a.row[r]);
			fputs("</th>", f);
			for (int n = 0; n < a.names; n++)
				put_cell(f, points[i].table, a.row[r],
					 a.name[n]);
			fputs("</tr>\n", f);
		}
		fputs("</table>\n", f);
		put_picture(f, points[i].table);
	}
}

int bench_plot_write(const char *folder, bool force, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < count; i++)
		if (is_first(i))
			ret = write_table(folder, points[i].table, force,
					  err);
	free(points);
	points = NULL;
	count = room = 0;
	return ret;
}
