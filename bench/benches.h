/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables that `tidemark bench` prints; each returns 0 or 1. */
#ifndef BENCH_BENCHES_H
#define BENCH_BENCHES_H

#include "measure.h"

int bench_scan(const struct bench_options *options);
int bench_cut(const struct bench_options *options);
int bench_mark(const struct bench_options *options);
int bench_compact(const struct bench_options *options);
int bench_slots(const struct bench_options *options);
int bench_disk(const struct bench_options *options);
int bench_tracked(const struct bench_options *options);
int bench_gap(const struct bench_options *options);
int bench_travel(const struct bench_options *options);
int bench_kinds(const struct bench_options *options);

#endif
