/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bringing a change of the header to the file.
 *
 * Every field that changes while an image is open lies in its first 512 bytes,
 * which a disk writes as a whole or not at all. So a switch of the L1 table or
 * the refcount table is one atomic write, with a sync before it (what it
 * points to is there) and after it (who frees the old one may rely on it).
 * Longer changes, of extensions, rewrite the cluster and are the business of
 * the tools that work on images at rest.
 */
#include <errno.h>
#include <stdlib.h>

#include "qcow2/driver/qcow2.h"

#define SECTOR_BYTES 512u

int qcow2_header_store(struct qcow2 *q, struct tide_error *err)
{
	uint8_t *cluster = malloc(q->cluster_bytes);
	int ret;

	if (!cluster)
		return tide_error_set(err, -ENOMEM, "qcow2", 0,
				      "no memory for the header");
	ret = qcow2_header_encode(&q->header, cluster, q->cluster_bytes, err);
	if (ret == 0)
		ret = tide_disk_flush(q->file, err);
	if (ret == 0)
		ret = qcow2_guard(q, 0, SECTOR_BYTES, 1u << TIDE_KIND_HEADER,
				  "a header write", err);
	if (ret == 0)
		ret = tide_disk_write(q->file, 0, cluster, SECTOR_BYTES, err);
	if (ret == 0)
		ret = tide_disk_flush(q->file, err);
	free(cluster);
	return ret;
}
