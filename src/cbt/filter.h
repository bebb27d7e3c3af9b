/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A filter disk that tells a tracker of every change: it stands above any
 * other disk and is one itself.
 *
 * A write is marked before it is passed on, since the write of a killed
 * process may still reach the disk. It passes the gate on its way down and
 * back, so that a cut is an instant that no write straddles. In power mode it
 * may have to wait for an intent; then it leaves the gate and tries again.
 * What failed stays marked. Discards, zeroes and resizes count as writes.
 */
#ifndef TIDE_CBT_FILTER_H
#define TIDE_CBT_FILTER_H

#include "cbt/cbt.h"
#include "disk/disk.h"

/*
 * cbt_filter_create: @below and @c are its own from here on, and are closed
 * with it: the disk first, then the tracker. -ENOMEM: they stay the caller's.
 */
int cbt_filter_create(struct tide_disk *below, struct cbt *c,
		      struct tide_disk **out, struct tide_error *err);

#endif
