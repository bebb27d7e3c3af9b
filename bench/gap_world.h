/* SPDX-License-Identifier: BSD-2-Clause */
/* What the steps of bench gap share: a wire, two memories, timed sendings. */
#ifndef BENCH_GAP_WORLD_H
#define BENCH_GAP_WORLD_H

#include <stdint.h>
#include <stdlib.h>

#include "gap_wire.h"
#include "measure.h"

#define PAGE_BYTES 4096u

struct gap_world {
	const struct gap_socket *socket;
	enum gap_way way;
	struct gap_wire *wire;
	uint64_t pages;
	unsigned char *from, *to;	/* memory of the source, the receiver */
	int ret;		/* first error; -EBADMSG: a page is wrong */
};

struct gap_spread {
	double median, low, high;	/* low, high: quartiles */
};

/* One dirty map, sent with one gap. */
struct gap_sending {
	const uint64_t *dirty;
	uint64_t gap;
	/* results */
	uint64_t pages, ranges;		/* that were received */
	double ns[BENCH_MAX_REPS];	/* in the order of the repetitions */
	struct gap_spread spread;
};

/* What a range and a page cost, and what the library makes of it. */
struct gap_model {
	double range_ns, page_ns;
	struct gap_spread pages; /* range_ns / page_ns: joining pays below */
	uint64_t gap_pages;		/* tide_gap_pages() of them */
};

/* 0 or -errno; no close after an error. */
int gap_world_open(struct gap_world *w, const struct gap_socket *socket,
		   enum gap_way way, uint64_t pages);
/* 0, or the first error there was. */
int gap_world_close(struct gap_world *w);

/* A bitmap of the world's pages, clean; for free(). NULL: no memory, in ret. */
uint64_t *gap_map(struct gap_world *w);

struct gap_spread gap_spread(const double *values, unsigned int n);
struct gap_spread gap_ratio(const struct gap_sending *s,
			    const struct gap_sending *to, unsigned int reps);

/* Send all @n in turn, @reps times, and once before that counts for nothing. */
void gap_measure(struct gap_world *w, struct gap_sending *sendings, size_t n,
		 unsigned int reps);

/* Step 3: what the model's choice costs on maps of guests. 0 or -errno. */
int gap_choice(const struct bench_options *o, const struct gap_socket *socket,
	       enum gap_way way, const struct gap_model *model);

#endif
