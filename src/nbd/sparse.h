/* SPDX-License-Identifier: BSD-2-Clause */
/* What was read, cut into runs of zeroes and of data. */
#ifndef TIDE_NBD_SPARSE_H
#define TIDE_NBD_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#define NBD_MAX_RUNS 64u

struct nbd_run {
	uint64_t length_bytes;
	bool zero;
};

/*
 * nbd_sparse_runs: the runs of @length (> 0) bytes that were read at @offset,
 * into @runs, which has NBD_MAX_RUNS. Returns how many, at least one.
 */
uint32_t nbd_sparse_runs(const uint8_t *bytes, uint64_t offset,
			 uint64_t length, struct nbd_run *runs);

#endif
