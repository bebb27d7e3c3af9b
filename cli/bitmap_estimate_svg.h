/* SPDX-License-Identifier: BSD-2-Clause */
/* What an estimate found, and its picture. */
#ifndef CLI_BITMAP_ESTIMATE_SVG_H
#define CLI_BITMAP_ESTIMATE_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ESTIMATE_SHIFTS 10u
#define ESTIMATE_CHUNKS 10u

extern const uint32_t estimate_shifts[ESTIMATE_SHIFTS];
extern const uint32_t estimate_chunks[ESTIMATE_CHUNKS];

struct estimate_row {
	uint64_t backup_bytes, bitmap_bytes;
	uint64_t sent_bytes[ESTIMATE_CHUNKS], stop_bytes[ESTIMATE_CHUNKS];
};

struct estimate {
	struct estimate_row row[ESTIMATE_SHIFTS];
	size_t best_row, best_chunk;
	bool once; /* the bitmap is small */
};

void estimate_draw(FILE *to, const struct estimate *e);

#endif
