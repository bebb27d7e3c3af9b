/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that snapshots are written into. */
#ifndef CLI_SNAPSHOT_FILES_H
#define CLI_SNAPSHOT_FILES_H

#include "cli/options.h"
#include "cli/output.h"
#include "snapshot/lazy.h"

int snapshot_write_all(int fd, const unsigned char *at, size_t n,
		       uint64_t offset, const char *path,
		       struct tide_error *err);
/* The memory, from @offset on; zeroes are holes. */
int snapshot_write_memory(struct snap_chain *c, const struct output_file *o,
			  uint64_t offset, struct tide_error *err);
/* The order of a lazy restore's faults. */
int snapshot_write_order(const struct lazy *l, const char *path,
			 struct tide_error *err);
/* snapshot restore --lazy. */
int snapshot_restore_lazily(const struct cli_parsed *p);
/* snapshot restore --cloud-hypervisor. */
int snapshot_restore_cloud(const struct cli_parsed *p);

#endif
