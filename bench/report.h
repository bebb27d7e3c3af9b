/* SPDX-License-Identifier: BSD-2-Clause */
/* A page with everything that was measured. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "measure.h"
#include "tidemark/error.h"

/*
 * Write what bench_plot_add was given, and what machine it was, to @path;
 * before bench_plot_write, which forgets it. 0 or -errno.
 */
int bench_report_write(const char *path, bool force,
		       const struct bench_options *options,
		       struct tide_error *err);

#endif
