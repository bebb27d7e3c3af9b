/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving a disk, with its bitmaps, from one server to another while its clients
 * write.
 *
 *   bulk    a checkpoint, then all of the disk
 *   dirty   a checkpoint, then what changed since the one before; again
 *   stop    the source holds its clients' changes; what is left, a flush, the
 *           bitmaps; a command of the operator's turns names over; the source
 *           closes its connections, and who asks again finds the target
 *
 * The stop begins only if what is left would take less than the downtime that
 * was asked for, at the speed of the rounds so far. Where it never does the
 * verdict says both speeds (-ELOOP). The source holds for a stated time at
 * most; if that is over before the end, its clients went on, and the disk has
 * not moved. Whatever fails: the source is as it was, without our checkpoints,
 * and goes on recording; the target has no bitmaps of ours.
 *
 * A bitmap's dirty bitmap, which others keep beside it to know which of its
 * parts to send again, is here already: what a recording bitmap gains is what
 * the disk's next epoch marks, and that is what the next round copies. So
 * bitmaps travel once, at the stop.
 */
#ifndef TIDE_MIRROR_MIRROR_H
#define TIDE_MIRROR_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

struct mirror_round {
	uint32_t number; /* 0: bulk */
	bool stop;
	uint64_t copied_bytes, elapsed_ns;
	uint64_t left_bytes; /* dirty when it ended */
	uint64_t predicted_ns; /* to copy those */
};

struct mirror_options {
	const char *source, *target; /* NBD URIs */
	const char *source_control, *target_control; /* NULL: they say it */
	uint32_t jobs;
	uint64_t bytes_per_s; /* 0: no limit; not at the stop */
	uint64_t downtime_ns, hold_ms;
	uint32_t max_rounds;
	bool no_bitmaps; /* they stay behind, and are inconsistent then */
	const char *switch_command; /* NULL: none */
	/* After each round; the first that is not NULL. */
	void (*round)(void *opaque, const struct mirror_round *round);
	void *opaque;
	const bool *stop; /* atomic */
};

struct mirror_result {
	uint32_t rounds, bitmaps;
	uint64_t copied_bytes, held_ns, elapsed_ns;
	uint64_t write_bytes_per_s, copy_bytes_per_s; /* of the last round */
};

/*
 * mirror_run: 0: moved. -ELOOP: it would not converge; -ENOTSUP: the source is
 * no tracked disk of a tidemark server, or the target cannot have its bitmaps;
 * -ESTALE: the hold was over too early; -EOWNERDEAD: it may have moved or not,
 * and @err says how to find out; -EINTR: called off; and what either server
 * says. Blocks.
 */
int mirror_run(const struct mirror_options *options,
	       struct mirror_result *result, struct tide_error *err);

#endif
