/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is the image consistent? All references are counted anew and compared with
 * the refcounts that the image keeps; sections that overlap, references that
 * lead nowhere, wrong COPIED flags and leaks are said one by one.
 *
 * Reads only. Work, memory and what is said are bounded by the size of the
 * file, whatever it contains.
 */
#ifndef TIDE_QCOW2_CHECK_CHECK_H
#define TIDE_QCOW2_CHECK_CHECK_H

#include <stdint.h>

#include "qcow2/check/census.h"
#include "qcow2/format/layout.h"

enum qcow2_problem_type {
	QCOW2_PROBLEM_REFCOUNT, /* too low: data will be overwritten */
	QCOW2_PROBLEM_LEAK, /* too high: space is wasted, nothing else */
	QCOW2_PROBLEM_OVERLAP,
	QCOW2_PROBLEM_REFERENCE, /* leads nowhere, or reserved bits */
	QCOW2_PROBLEM_COPIED,
	QCOW2_PROBLEM_NOTE, /* no inconsistency, but worth saying */
	QCOW2_PROBLEM_COUNT
};

/* Of each type so many are said; all are counted. */
#define QCOW2_CHECK_SAID 200u

struct qcow2_problem {
	enum qcow2_problem_type type;
	uint64_t offset_bytes; /* of what is wrong, in the file */
	char text[208];
};

struct qcow2_check {
	uint64_t found[QCOW2_PROBLEM_COUNT];
	/*
	 * References that lead nowhere or onto something else, but for those
	 * of refcounts and of bitmaps: what they meant may be in clusters that
	 * seem to be free.
	 */
	uint64_t lost_refs;
	uint64_t mendable; /* references of which it is known what they mean */
	uint64_t count_defects; /* of the references: to refcounts */
	uint64_t copied_harmless; /* of the copied: no second reference */
	uint64_t cut_clusters; /* guest data that the end of the file cuts */
	uint64_t clusters; /* of the file */
	uint64_t used_clusters; /* that are referred to */
	uint64_t guest_clusters; /* of the disk as it is now, */
	uint64_t data_clusters; /* of which: in clusters of their own, */
	uint64_t packed_clusters; /* compressed, */
	uint64_t zero_clusters; /* marked as zeroes */
};

typedef void qcow2_problem_fn(void *opaque, const struct qcow2_problem *p);

const char *qcow2_problem_name(enum qcow2_problem_type type);
static inline uint64_t qcow2_check_corruptions(const struct qcow2_check *c)
{
	return c->found[QCOW2_PROBLEM_REFCOUNT] +
	       c->found[QCOW2_PROBLEM_OVERLAP] +
	       c->found[QCOW2_PROBLEM_REFERENCE] +
	       c->found[QCOW2_PROBLEM_COPIED];
}

/*
 * qcow2_check: @h as parsed tolerantly. @each may be NULL, and is called no
 * more than QCOW2_CHECK_SAID times for a type. @census, if not
 * NULL, receives the counts (fini it on success). 0 if the image could be
 * checked, whatever was found; -errno if not.
 */
int qcow2_check(const struct qcow2_reader *r, const struct qcow2_header *h,
		qcow2_problem_fn *each, void *opaque, struct qcow2_check *out,
		struct qcow2_census *census, struct tide_error *err);

/*
 * qcow2_check_names: add to *out, and tell @each, what of the names of backing
 * and data files leads back to the image at @path. -ENOMEM.
 */
int qcow2_check_names(const char *path, const struct qcow2_header *h,
		      qcow2_problem_fn *each, void *opaque,
		      struct qcow2_check *out, struct tide_error *err);

#endif
