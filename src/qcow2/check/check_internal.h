/* SPDX-License-Identifier: BSD-2-Clause */
/* Between check.c, check_l2.c and check_counts.c only. */
#ifndef TIDE_QCOW2_CHECK_CHECK_INTERNAL_H
#define TIDE_QCOW2_CHECK_CHECK_INTERNAL_H

#include <stdbool.h>

#include "qcow2/check/check.h"

struct refblock {
	uint64_t index; /* in the refcount table */
	uint64_t offset_bytes;
};

struct check {
	const struct qcow2_reader *r;
	const struct qcow2_header *h;
	qcow2_problem_fn *each;
	void *opaque;
	struct tide_error *err;
	uint64_t cluster;
	bool external; /* guest data is in another file */
	struct qcow2_check out;
	struct qcow2_census census;
	struct refblock *blocks; /* owned; by index */
	uint64_t block_count;
};

void check_say(struct check *c, enum qcow2_problem_type type, uint64_t offset,
	       const char *format, ...) __attribute__((format(printf, 4, 5)));
/* False once so many of a type were said that the next is only counted. */
bool check_will_say(const struct check *c, enum qcow2_problem_type type);
int check_no_memory(struct check *c);
/* Count references of all clusters of a range; says what overlaps. */
int check_count(struct check *c, uint64_t offset, uint64_t bytes,
		uint64_t refs, uint32_t use, uint64_t from);

/* check_l2.c: pass 1 counts, pass 2 judges COPIED flags. */
int check_l2_count(void *opaque, const struct qcow2_l2_ref *ref,
		   const uint8_t *table);
int check_copied(struct check *c);

/* check_counts.c: refcounts on disk against those counted. */
int check_counts(struct check *c);

#endif
