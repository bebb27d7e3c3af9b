/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Before the first write. An image that was opened for writing and not written
 * stays byte for byte what it was, and so do the files that it names: whoever
 * made it does not get to change them by having it opened.
 *
 * In this order, each durable or harmless: features that other writers added
 * and that a write would make untrue lose their bits; bitmaps that this driver
 * does not mark say so (bitmaps_touch.c); the file ends with a whole cluster;
 * a data file is as long as the disk.
 */
#include "qcow2/driver/qcow2.h"

#define AUTOCLEAR_KNOWN (QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW_EXTERNAL)

static int clear_unknown(struct qcow2 *q, struct tide_error *err)
{
	if (q->header.version < 3 ||
	    !(q->header.autoclear & ~(uint64_t)AUTOCLEAR_KNOWN))
		return 0;
	q->header.autoclear &= AUTOCLEAR_KNOWN;
	return qcow2_header_store(q, err);
}

static int whole_clusters(struct qcow2 *q, struct tide_error *err)
{
	if (!q->growable || tide_disk_size(q->file) >= q->touched_end)
		return 0;
	return tide_disk_resize(q->file, q->touched_end, err);
}

static int reach_data(struct qcow2 *q, struct tide_error *err)
{
	if (!q->external || tide_disk_size(q->data) >= q->disk.size_bytes)
		return 0;
	return tide_disk_resize(q->data, q->disk.size_bytes, err);
}

int qcow2_first_write(struct qcow2 *q, struct tide_error *err)
{
	int ret = clear_unknown(q, err);

	if (ret == 0)
		ret = qcow2_bitmaps_touch(q, err);
	if (ret == 0)
		ret = whole_clusters(q, err);
	if (ret == 0)
		ret = reach_data(q, err);
	q->prepared = ret == 0;
	return ret;
}
