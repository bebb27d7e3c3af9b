/* SPDX-License-Identifier: BSD-2-Clause */
/* Between capture.c and capture_open.c. */
#ifndef TIDE_SNAPSHOT_CAPTURE_PARTS_H
#define TIDE_SNAPSHOT_CAPTURE_PARTS_H

#include "snapshot/capture.h"

/*
 * Before each snapshot. Memory that was plugged in since, or mapped anew, is
 * not watched: what was known holds no more. Of another shape it is a new
 * chain, too.
 */
int snap_capture_look(struct snap_capture *c, struct tide_error *err);
/*
 * It stands: is its memory what is watched? A process maps what it likes; a
 * VMM that names its memory has it plugged by somebody who can wait.
 */
int snap_capture_judge(const struct snap_capture *c, struct tide_error *err);

#endif
