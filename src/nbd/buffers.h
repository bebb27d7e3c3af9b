/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for the data of requests: blocks of 4 KiB to 32 MiB in powers of two,
 * aligned for O_DIRECT. Returned blocks are kept for reuse, up to a bound, so
 * that a busy loop never calls malloc and an idle one holds little. Belongs to
 * one loop: no locks.
 */
#ifndef TIDE_NBD_BUFFERS_H
#define TIDE_NBD_BUFFERS_H

#include <stddef.h>
#include <stdint.h>

#define NBD_BUFFER_SIZES 14u

struct nbd_buffers {
	struct nbd_free_buffer *free[NBD_BUFFER_SIZES];
	uint64_t kept_bytes, max_kept_bytes;
};

/* NULL: no memory. At least @length bytes, at most 32 MiB. */
uint8_t *nbd_buffers_get(struct nbd_buffers *b, uint64_t length);
/* Of the same @length as it was asked for. NULL is fine. */
void nbd_buffers_put(struct nbd_buffers *b, uint8_t *buffer, uint64_t length);
void nbd_buffers_fini(struct nbd_buffers *b);

#endif
