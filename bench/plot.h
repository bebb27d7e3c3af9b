/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pictures of the tables: one SVG each, rows from left to right, one line for
 * each contestant, time upwards on a logarithmic scale.
 */
#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

#include <stdbool.h>
#include <stdio.h>

#include "tidemark/error.h"

/* Remember a point; tables, rows and names are copied. */
void bench_plot_add(const char *table, const char *row, const char *name,
		    double median_ns, double low_ns, double high_ns);
/*
 * Write FOLDER/TABLE.svg for each table that has points, and forget them. 0,
 * or -errno with the path. A picture that is there is replaced if @force.
 */
int bench_plot_write(const char *folder, bool force, struct tide_error *err);
/* The tables as HTML, each with its picture. */
void bench_plot_page(FILE *f);
/* @text as HTML or SVG has it. */
void bench_plot_text(FILE *f, const char *text);

#endif
