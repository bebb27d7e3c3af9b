/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TIDE_CBT_KEPT_H
#define TIDE_CBT_KEPT_H

#include "cbt/cbt.h"

/* After cbt_open, before any write: bitmaps of the format become points. */
int cbt_take_kept(struct cbt *c, struct tide_error *err);
/* Nobody writes any more, the disk is still open: and back. */
int cbt_give_kept(struct cbt *c, struct tide_error *err);

#endif
