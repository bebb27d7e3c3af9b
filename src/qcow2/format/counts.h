/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reference counts as they lie in a block: numbers of 1 << order bits, 1 to 64.
 * Wide ones are big-endian, narrow ones fill a byte from its low end. For who
 * counts, who checks, and who makes an image.
 */
#ifndef TIDE_QCOW2_FORMAT_COUNTS_H
#define TIDE_QCOW2_FORMAT_COUNTS_H

#include <stdint.h>

#include "base/bytes.h"

static inline uint64_t qcow2_count_max(uint32_t order)
{
	return order == 6 ? UINT64_MAX : (1ull << (1u << order)) - 1;
}

static inline uint64_t qcow2_count_get(const uint8_t *block, uint64_t index,
				       uint32_t order)
{
	if (order >= 3)
		return tide__get_be(block + (index << (order - 3)),
				    1u << (order - 3));
	return block[index >> (3 - order)] >> ((index << order) & 7) &
	       qcow2_count_max(order);
}

static inline void qcow2_count_set(uint8_t *block, uint64_t index,
				   uint32_t order, uint64_t count)
{
	uint32_t shift = (uint32_t)(index << order) & 7, mask;
	uint8_t *at;

	if (order >= 3) {
		tide__put_be(block + (index << (order - 3)), count,
			     1u << (order - 3));
		return;
	}
	mask = (uint32_t)qcow2_count_max(order) << shift;
	at = block + (index >> (3 - order));
	*at = (uint8_t)((*at & ~mask) | ((uint32_t)count << shift & mask));
}

#endif
