/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of `bench slots` share. */
#ifndef BENCH_SLOTS_BENCH_H
#define BENCH_SLOTS_BENCH_H

#include "benches.h"
#include "rivals/slots/slotmap.h"
#include "slots_work.h"

/* The library's own map behind the candidates' interface. */
extern const struct slotmap slotmap_tidemark;

/* Cost of a change, of the first lookups after it, and memory. */
int bench_slots_change(const struct bench_options *o,
		       const struct slotmap *const *maps, size_t n_maps,
		       const uint32_t *counts, size_t n_counts);
/* Throughput of readers while a writer changes a slot every millisecond. */
int bench_slots_readers(const struct bench_options *o);

#endif
