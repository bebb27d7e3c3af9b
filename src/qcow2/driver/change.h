/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One write of guest data, from its mapping to the entry that points to it:
 * what a write that may wait (write.c) and one that must not (start.c) do
 * alike. Between begin and end, without the lock, the caller brings the data
 * to where begin said.
 *
 *	begin	looked up, registered; where new clusters are needed: the table
 *		made our own, its page in hand, clusters counted; guard asked
 *	end	entries point to the new clusters, old ones are given back
 *		later; or, after a failure, the new ones at once
 */
#ifndef TIDE_QCOW2_DRIVER_CHANGE_H
#define TIDE_QCOW2_DRIVER_CHANGE_H

#include "qcow2/driver/qcow2.h"

struct qcow2_change {
	/* Filled by the caller. */
	uint64_t offset; /* guest */
	uint64_t length; /* waiting: a piece of it may be what is begun */
	uint32_t flags; /* TIDE_FUA */
	bool wait; /* for others, for metadata, for the file to grow */

	/*
	 * Filled by begin. [from, to) is what the write has to make good: the
	 * chunk itself in place, else whole clusters or subclusters. Guest byte
	 * `base` is at `host` of the data file, and what follows it, follows.
	 */
	uint64_t from, to;
	uint64_t base, host;
	uint64_t clusters; /* to be linked; 0: in place */
	bool fresh; /* they were allocated for this */
	bool zeroed; /* and read as zeroes */
	bool to_flush; /* TIDE_FUA asks for more than durable data */

	struct qcow2_extent e;
	struct qcow2_range range;
	struct qcow2_entry entry;
};

/*
 * Lock held; dropped and taken again where it waits. 0; or an error, and
 * nothing was done. -EAGAIN only without `wait`: it would have to.
 */
int qcow2_change_begin(struct qcow2 *q, struct qcow2_change *c,
		       struct tide_error *err);
/* Does what surrounds the data within [from, to) have to be written, too? */
bool qcow2_change_has_edges(const struct qcow2 *q,
			    const struct qcow2_change *c);
/* Lock held. @result: of bringing the data; what became of it all. */
int qcow2_change_end(struct qcow2 *q, struct qcow2_change *c, int result,
		     struct tide_error *err);

#endif
