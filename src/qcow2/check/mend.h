/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an entry of an L1 or L2 table ought to be, as far as the entry itself
 * and the length of the file tell. Check says why, repair writes it.
 */
#ifndef TIDE_QCOW2_CHECK_MEND_H
#define TIDE_QCOW2_CHECK_MEND_H

#include <stdbool.h>
#include <stdint.h>

#include "qcow2/format/header.h"

struct qcow2_mend {
	const char *why; /* NULL: it is in order */
	/*
	 * What it meant cannot be known. Else reading through it gives what
	 * it gave, or what nobody could read.
	 */
	bool doubt;
	uint64_t entry, subclusters; /* as they ought to be */
};

void qcow2_mend_l1(const struct qcow2_header *h, uint64_t file_bytes,
		   uint64_t entry, struct qcow2_mend *m);
void qcow2_mend_l2(const struct qcow2_header *h, uint64_t file_bytes,
		   uint64_t entry, uint64_t subclusters, struct qcow2_mend *m);

#endif
