/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one request of a move that cannot be taken back: after it the source has
 * the disk no more. Its answer may get lost, and then either may be so. Who
 * believes that it failed has two disks, and who believes that it happened
 * none.
 *
 * So the source is asked what it is: another release, without a move, ends a
 * hold that still lasts; if there is none, the checkpoint of the last round
 * tells: a disk that has moved has no points that can be used. A release that
 * is still under way is waited for: a hold is refused as long as it is.
 */
#ifndef TIDE_MIRROR_RELEASE_H
#define TIDE_MIRROR_RELEASE_H

#include "mirror/bitmaps.h"

enum mirror_outcome {
	MIRROR_MOVED,
	MIRROR_STAYS, /* for good: its clients go on there */
	MIRROR_UNKNOWN /* the source does not answer any more */
};

/*
 * mirror_release: the held disk of @from has moved to the export @to. @since is
 * a checkpoint of it. @err says why unless it is MIRROR_MOVED.
 */
enum mirror_outcome mirror_release(const struct mirror_end *from,
				   const char *to, const char *since,
				   struct tide_error *err);
/* It has not moved: its clients go on. Nobody there is no error: they do. */
void mirror_let_go(const struct mirror_end *from);

#endif
