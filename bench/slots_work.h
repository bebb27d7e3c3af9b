/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workloads for whatever maps guest addresses to slots: a layout of slots, and
 * addresses to look up in it.
 *
 * Made ones are named by their shares of misses, RAM hits and hits of small
 * slots. A layout of n slots has a few of RAM and many small ones (4 to 64
 * KiB), with gaps of the same sizes between them, where the misses go.
 * "uniform" draws each target anew; "local" stays with a target for eight
 * lookups on average, and draws nine of ten targets from a hot set of eight
 * that changes slowly. Recorded ones come from traces of real guests.
 */
#ifndef BENCH_SLOTS_WORK_H
#define BENCH_SLOTS_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/slots.h"

struct slots_mix {
	const char *name;
	unsigned int miss, ram; /* per cent; the rest hits small slots */
};

extern const struct slots_mix slots_mixes[];
#define SLOTS_MIXES 5

struct slots_work {
	struct tide_slot *slots; /* sorted */
	uint32_t n, ram;
	uint64_t *gpa;
	size_t lookups;
};

/* 0, or -ENOMEM. Free with slots_work_fini. */
int slots_work_make(struct slots_work *w, const struct slots_mix *mix,
		    bool local, uint32_t n, size_t lookups, uint64_t seed);
/*
 * The trace in folder @path: lookups.csv.zst and slots.json. At most @max
 * lookups. 0, -ENOENT, -EINVAL (not such a trace), -ENOMEM.
 */
int slots_work_load(struct slots_work *w, const char *path, size_t max);
void slots_work_fini(struct slots_work *w);

#endif
