/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/top/svg.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json_out.h"
#include "cli/output.h"

#define CELL 3u			/* high */
#define RATE 40u		/* that, too */
#define PANEL (TOP_CELLS * CELL + RATE + 48u)
#define WIDEST 1200.0
#define LEFT 8u

bool top_picture_add(struct top_picture *p, const struct top_vm *v)
{
	struct top_seen *s;

	if (p->count == TOP_MAX_LOOKS)
		return true;
	if (p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 256;
		void *more = realloc(p->seen, room * sizeof(*p->seen));

		if (!more)
			return false;
		p->seen = more;
		p->room = room;
	}
	s = &p->seen[p->count++];
	*s = (struct top_seen){ .pid = v->pid, .started = v->started,
				.memory_bytes = v->memory_bytes,
				.rate = top_vm_rate(v) };
	memcpy(s->program, v->program, sizeof(s->program));
	memcpy(s->cell, v->cell, sizeof(s->cell));
	return true;
}

void top_picture_free(struct top_picture *p)
{
	free(p->seen);
	*p = (struct top_picture){ NULL, 0, 0, 0 };
}

static bool same(const struct top_seen *a, const struct top_seen *b)
{
	return a->pid == b->pid && a->started == b->started;
}

static bool is_first(const struct top_picture *p, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (same(&p->seen[k], &p->seen[i]))
			return false;
	return true;
}

/* A program's name is what somebody chose. */
static void put_escaped(FILE *f, const char *text)
{
	char shown[CLI_SHOWN];

	for (const char *at = cli_show(shown, text); *at; at++)
		if (strchr("<>&\"'", *at))
			fprintf(f, "&#%d;", *at);
		else
			putc(*at, f);
}

struct panel {
	const struct top_picture *p;
	const struct top_seen *of;
	size_t looks;
	double max, width;	/* rate, and a look's */
	unsigned int top;
};

static void measure(struct panel *n)
{
	n->looks = 0;
	n->max = 0;
	for (size_t i = 0; i < n->p->count; i++) {
		const struct top_seen *s = &n->p->seen[i];

		if (!same(s, n->of))
			continue;
		n->looks++;
		if (s->rate > n->max)
			n->max = s->rate;
	}
	n->width = WIDEST / (double)n->looks;
	if (n->width > 24)
		n->width = 24;
}

static void draw_look(FILE *f, const struct panel *n, const struct top_seen *s,
		      size_t column)
{
	double x = LEFT + (double)column * n->width;
	double high = n->max > 0 ? s->rate / n->max * RATE : 0;

	for (unsigned int c = 0; c < TOP_CELLS; c++)
		if (s->cell[c])
			fprintf(f, "<rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" "
				"height=\"%u\" fill=\"#b00020\" "
				"fill-opacity=\"%.2f\"/>\n", x,
				n->top + 20 + c * CELL, n->width, CELL,
				0.2 + 0.8 * s->cell[c] / 100);
	fprintf(f, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" "
		"height=\"%.2f\" fill=\"#1a56a0\"/>\n", x,
		n->top + 28 + TOP_CELLS * CELL + RATE - high, n->width, high);
}

static void draw_panel(FILE *f, struct panel *n)
{
	size_t column = 0;

	measure(n);
	fprintf(f, "<text x=\"%u\" y=\"%u\">", LEFT, n->top + 14);
	put_escaped(f, n->of->program);
	fprintf(f, " (%d), %" PRIu64 " MiB from top to bottom, %.1f s from left "
		"to right; below, what is written a second: at most %.1f MiB"
		"</text>\n<rect x=\"%u\" y=\"%u\" width=\"%.2f\" height=\"%u\" "
		"fill=\"#e8eaed\"/>\n", n->of->pid,
		n->of->memory_bytes >> 20,
		(double)n->looks * n->p->interval_s, n->max / 1048576, LEFT,
		n->top + 20, (double)n->looks * n->width, TOP_CELLS * CELL);
	for (size_t i = 0; i < n->p->count; i++)
		if (same(&n->p->seen[i], n->of))
			draw_look(f, n, &n->p->seen[i], column++);
}

static void draw(FILE *f, const struct top_picture *p)
{
	unsigned int panels = 0, at = 0;

	for (size_t i = 0; i < p->count; i++)
		panels += is_first(p, i);
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u "
		"%u\" font-family=\"sans-serif\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		(unsigned int)WIDEST + 2 * LEFT, (panels ? panels : 1) * PANEL);
	for (size_t i = 0; i < p->count; i++) {
		struct panel n = { .p = p, .of = &p->seen[i] };

		if (!is_first(p, i))
			continue;
		n.top = at++ * PANEL;
		draw_panel(f, &n);
	}
	fprintf(f, "</svg>\n");
}

int top_picture_write(const struct top_picture *p, const char *path,
		      bool force, struct tide_error *err)
{
	struct output_file o;
	int ret = output_open(&o, path, force, err);

	if (ret)
		return ret;
	draw(o.file, p);
	return output_close(&o, err);
}
