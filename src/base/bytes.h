/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unaligned integers in an explicit byte order, for all data that leaves or
 * enters the process. Our own formats are little-endian; qcow2 and NBD are
 * big-endian.
 */
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

static inline void tide__put_be(unsigned char *at, uint64_t value,
				unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		at[i] = (unsigned char)(value >> (8 * (bytes - 1 - i)));
}

static inline uint64_t tide__get_be(const unsigned char *at, unsigned int bytes)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

#endif
