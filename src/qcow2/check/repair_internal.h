/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the files of repair only. */
#ifndef TIDE_QCOW2_CHECK_REPAIR_INTERNAL_H
#define TIDE_QCOW2_CHECK_REPAIR_INTERNAL_H

#include "qcow2/check/repair.h"

struct repair {
	struct qcow2_reader *r;
	const struct qcow2_writer *w;
	const struct qcow2_repair_options *options;
	qcow2_repair_fn *done;
	void *opaque;
	struct tide_error *err;
	struct qcow2_header h; /* as it is in the file now */
	struct qcow2_check found;
	struct qcow2_census census; /* of the file as it is now */
	uint64_t cluster;
	bool doubtful; /* nothing may be freed or given up */
	qcow2_loss_fn *loss; /* in a plan: what goes; else NULL */
	void *loss_opaque;
	uint64_t lost; /* ranges that went */
};

void repair_say(struct repair *x, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
int repair_no_memory(struct repair *x);
int repair_write(struct repair *x, uint64_t offset, const void *buf,
		 uint64_t bytes);
int repair_sync(struct repair *x);
/* The file must reach to @size_bytes. */
int repair_extend(struct repair *x, uint64_t size_bytes);
/* Header fields are changed in place, @bytes (1 to 8) at @at, and synced. */
int repair_field(struct repair *x, uint32_t at, uint64_t value,
		 unsigned int bytes);
/* Header and check anew. */
int repair_look(struct repair *x);
/* True if nothing but @use, once, is in the clusters of the range. */
bool repair_alone(const struct repair *x, uint64_t offset, uint64_t bytes,
		  uint32_t use);

/* Is there anything for repair_counts to do? */
bool repair_counts_wrong(const struct repair *x);

/* repair_doubts.c: may change the header; sets x->doubtful. */
int repair_doubts(struct repair *x);
/* Is every reference and every count right if the header is @h? */
int repair_fits(struct repair *x, const struct qcow2_header *h, bool *out);
/* repair_l1.c: by proof, and if loss is accepted with zeroes. */
int repair_l1_fields(struct repair *x);
int repair_l1(struct repair *x);
/* repair_snapshots.c: in place, and after references are resolved, anew. */
int repair_snapshots(struct repair *x);
int repair_snapshot_table(struct repair *x);
/* All steps, on what x->r and x->w are. */
int repair_run(struct repair *x);
/* Play it without writing, and say what will be lost. */
int repair_plan(struct repair *x);
/*
 * Entries by themselves. Until what lies on tables is @resolved, only of tables
 * that nothing else is in.
 */
int repair_mend(struct repair *x, bool resolved);
/* If loss is accepted: clusters with two uses, tables and then the guest's. */
int repair_claim_tables(struct repair *x);
int repair_claim_clusters(struct repair *x);
int repair_bitmaps(struct repair *x);
int repair_counts(struct repair *x);
int repair_rebuild(struct repair *x);
int repair_copied(struct repair *x);

#endif
