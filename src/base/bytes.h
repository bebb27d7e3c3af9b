/* SPDX-License-Identifier: BSD-2-Clause */
/* Little-endian integers at any address: what leaves or enters the process. */
#ifndef TIDE_BASE_BYTES_H
#define TIDE_BASE_BYTES_H

#include <stdint.h>

static inline void tide__put_le(unsigned char *at, uint64_t value,
				unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		at[i] = (unsigned char)(value >> (8 * i));
}

static inline uint64_t tide__get_le(const unsigned char *at, unsigned int bytes)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

#endif
