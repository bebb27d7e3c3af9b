/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making an image consistent again without touching what the guest stored.
 *
 * Repaired: refcounts, leaks, COPIED flags, a cut last cluster, dirty and
 * corrupt bits; bitmaps that keep the reference tool from opening the image
 * are salvaged where nothing is in doubt, else dropped.
 *
 * Entries of L1 and L2 tables of which it is known what they mean, in spite of
 * reserved bits, are put right, too.
 *
 * Repaired only if the loss is accepted: snapshots whose tables cannot be
 * found, and references that lead nowhere or onto other metadata. Else they
 * stay as they are, and so does what seems to be leaked: it may be what they
 * meant. What can be read is not given up: where two claims are good, the
 * cluster is copied for one of them; a table that proves itself wins over a
 * stray pointer; the disk as it is now wins over a snapshot.
 *
 * Every write leaves the image no worse than before it: the order is that of
 * repair.c. Nobody else may have the image open.
 */
#ifndef TIDE_QCOW2_CHECK_REPAIR_H
#define TIDE_QCOW2_CHECK_REPAIR_H

#include <stdbool.h>

#include "disk/disk.h"
#include "qcow2/check/check.h"

struct qcow2_writer {
	int (*pwrite)(void *opaque, uint64_t offset_bytes, const void *buf,
		      uint64_t bytes, struct tide_error *err);
	/* What was written before is durable before what comes after. */
	int (*sync)(void *opaque, struct tide_error *err);
	/* Zeroes up to @size_bytes; the size is never made less. */
	int (*extend)(void *opaque, uint64_t size_bytes,
		      struct tide_error *err);
	void *opaque;
};

/* A range of guest addresses that can no longer be read as it was meant. */
struct qcow2_loss {
	const char *snapshot; /* whose disk, by name; NULL: the one as it is
			       * now, or of snapshots that are not known */
	bool active; /* of the disk as it is now */
	uint64_t guest_bytes, length_bytes; /* on that disk */
	const char *why;
};
typedef void qcow2_loss_fn(void *opaque, const struct qcow2_loss *loss);

struct qcow2_repair_options {
	bool accept_loss;
	/* May be NULL. Called for all that will go, before the first write. */
	qcow2_loss_fn *loss;
	void *loss_opaque;
};

/* One thing that was done, as a sentence. */
typedef void qcow2_repair_fn(void *opaque, const char *what);

/*
 * qcow2_repair: @r is read again after each step, and its size kept up to
 * date. 0 if all that can be repaired was: check again to know what is left.
 * -errno: reading or writing failed (the image is no worse), or -ERANGE when
 * the refcounts are too narrow for the references there are.
 */
int qcow2_repair(struct qcow2_reader *r, const struct qcow2_writer *w,
		 const struct qcow2_repair_options *options,
		 qcow2_repair_fn *done, void *opaque, struct tide_error *err);

/*
 * repair_disk.c: repair the image at @path, opened as @options say (open_file,
 * direct, no_lock). qcow2_repair_path: nothing that could be a loss is
 * accepted.
 */
int qcow2_repair_at(const char *path, const struct tide_disk_options *options,
		    const struct qcow2_repair_options *how,
		    qcow2_repair_fn *done, void *opaque,
		    struct tide_error *err);
int qcow2_repair_path(const char *path, const struct tide_disk_options *options,
		      struct tide_error *err);

#endif
