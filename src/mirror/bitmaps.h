/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bitmaps and checkpoints of a disk, on their way to another server: each
 * arrives as a bitmap of the same name and granularity that says the same, and
 * records if it did. While they are sent nobody writes.
 */
#ifndef TIDE_MIRROR_BITMAPS_H
#define TIDE_MIRROR_BITMAPS_H

#include <stdint.h>

#include "tidemark/error.h"

struct mirror_end {
	const char *control; /* the server's socket */
	const char *disk;
};

/*
 * mirror_bitmaps_send: all but @except (a prefix) and what is inconsistent. On
 * failure those that were sent are removed again.
 */
int mirror_bitmaps_send(const struct mirror_end *from,
			const struct mirror_end *to, const char *except,
			uint32_t *count, struct tide_error *err);
/* Those that were sent are removed again: the disk has not moved after all. */
void mirror_bitmaps_take_back(const struct mirror_end *from,
			      const struct mirror_end *to,
			      const char *except);
/* How many there are to send; -errno. */
int mirror_bitmaps_count(const struct mirror_end *from, const char *except,
			 struct tide_error *err);

#endif
