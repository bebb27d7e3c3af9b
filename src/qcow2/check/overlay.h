/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an image would be after some writes that are not done: they are kept in
 * memory, and read from there. Repair tries a field's other value on it, and
 * plays itself to the end, so that it can say what it gives up before anything
 * is written. Memory is that of the pages that are written. One owner.
 */
#ifndef TIDE_QCOW2_CHECK_OVERLAY_H
#define TIDE_QCOW2_CHECK_OVERLAY_H

#include "qcow2/check/repair.h"

struct overlay_page;

struct qcow2_overlay {
	const struct qcow2_reader *below; /* unchanged as long as this lives */
	struct qcow2_reader r; /* as the image would read */
	struct qcow2_writer w; /* into memory */
	struct overlay_page *pages; /* owned; ascending */
	uint64_t count, room;
};

void qcow2_overlay_init(struct qcow2_overlay *o,
			const struct qcow2_reader *below);
void qcow2_overlay_fini(struct qcow2_overlay *o);

#endif
