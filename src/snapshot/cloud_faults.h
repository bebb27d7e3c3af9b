/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page faults of a Cloud Hypervisor, answered by writing into the memfds
 * that it maps. Between them what is missing is written, too, first what an
 * earlier run was recorded to touch.
 */
#ifndef TIDE_SNAPSHOT_CLOUD_FAULTS_H
#define TIDE_SNAPSHOT_CLOUD_FAULTS_H

#include "snapshot/cloud_restore.h"
#include "vmm/cloud_config.h"

struct cloud_faults {
	struct snap_cloud *r;
	const struct cloud_config *config;
	const int *memory;	/* of config->slot[i] */
	int fd;			/* where it asks; -1: it does so no more */
	unsigned char *state;	/* a byte a page of the snapshot */
	uint64_t absent;	/* neither there nor zeroes */
	uint64_t lowest;	/* that it has not asked for */
	size_t order_at;
	uint64_t next;
	unsigned char *bytes;
	uint64_t start_ns;
	bool over, gave_up;	/* it asks no more; nothing unasked any more */
};

/* Every page is missing. 0 or -ENOMEM. */
int cloud_faults_init(struct cloud_faults *f, struct tide_error *err);
void cloud_faults_fini(struct cloud_faults *f);
/*
 * cloud_faults_serve: until it says something on @control, or, with -1,
 * until it asks no more. 0; -EBADMSG the snapshot is damaged, and it was told.
 */
int cloud_faults_serve(struct cloud_faults *f, int control,
		       struct tide_error *err);
/* Pages [@page, +@count) of the snapshot, which lie in one slot. */
int cloud_write_pages(struct snap_chain *chain,
		      const struct cloud_config *config, const int *memory,
		      uint64_t page, uint64_t count, unsigned char *bytes,
		      struct tide_error *err);

#endif
