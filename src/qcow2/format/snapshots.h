/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of internal snapshots, as a list in memory. */
#ifndef TIDE_QCOW2_FORMAT_SNAPSHOTS_H
#define TIDE_QCOW2_FORMAT_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "qcow2/format/header.h"
#include "qcow2/format/reader.h"

#define QCOW2_SNAPSHOT_FIXED_BYTES 40u
/* Extra data that version 3 demands: sizes of the VM's state and the disk. */
#define QCOW2_SNAPSHOT_EXTRA_V3_BYTES 16u

struct qcow2_snapshot {
	uint64_t l1_offset; /* not checked against the file */
	uint32_t l1_entries; /* no more than 32 MiB of them */
	uint32_t date_s;
	uint32_t date_ns;
	uint64_t vm_clock_ns;
	uint64_t vm_state_bytes;
	uint64_t disk_size_bytes; /* 0: not said, as by version 2 */
	uint64_t entry_offset; /* in the file */
	uint32_t entry_bytes; /* without the padding */
	uint32_t id_bytes, name_bytes, extra_bytes; /* as they ought to be */
	bool lengths_guessed; /* tolerant: in the file they are wrong */
	bool incomplete; /* version 3 wants more extra data */
	const char *broken; /* tolerant: why the L1 table cannot be walked */
	const char *note; /* worth saying, and harmless */
	char *id, *name; /* owned */
};

struct qcow2_snapshots {
	struct qcow2_snapshot *items; /* owned */
	uint32_t count;
	uint64_t table_bytes; /* of the entries in items */
	bool broken; /* tolerant: what follows the items could not be read */
};

/*
 * qcow2_snapshots_read: all entries, bounded: at most 65536, each with at most
 * 1024 bytes of extra data, 64 MiB together, all within the file. -EINVAL
 * names the entry. If @tolerant, each entry is judged by itself: one whose
 * lengths are wrong ends where the others go on, one whose L1 table cannot be
 * walked is ->broken; only when entries cannot be told apart, that is said in
 * @err and out->broken, the entries before are kept, and 0 is returned. Free
 * with _fini.
 */
int qcow2_snapshots_read(const struct qcow2_reader *r,
			 const struct qcow2_header *h, bool tolerant,
			 struct qcow2_snapshots *out, struct tide_error *err);
void qcow2_snapshots_fini(struct qcow2_snapshots *s);

#endif
