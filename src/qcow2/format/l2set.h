/* SPDX-License-Identifier: BSD-2-Clause */
/* The distinct L2 tables of all L1 tables, and how often each is meant. */
#ifndef TIDE_QCOW2_FORMAT_L2SET_H
#define TIDE_QCOW2_FORMAT_L2SET_H

#include "qcow2/format/layout.h"

struct qcow2_l2set {
	struct qcow2_l2_ref *slots; /* owned; offset 0: free */
	uint64_t room; /* a power of two, or 0 */
	uint64_t count;
};

/* -ENOMEM. */
int qcow2_l2set_add(struct qcow2_l2set *set, uint64_t offset_bytes,
		    bool active, uint32_t l1_index, uint64_t from);
/* The slots become an array of count, by offset; no more may be added. */
void qcow2_l2set_sort(struct qcow2_l2set *set);
void qcow2_l2set_fini(struct qcow2_l2set *set);

#endif
