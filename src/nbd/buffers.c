/* SPDX-License-Identifier: BSD-2-Clause */
#include "nbd/buffers.h"

#include <assert.h>
#include <stdlib.h>

#include "nbd/proto.h"

#define SMALLEST_BITS 12u

struct nbd_free_buffer {
	struct nbd_free_buffer *next;
};

static_assert(UINT64_C(1) << (SMALLEST_BITS + NBD_BUFFER_SIZES - 1) ==
		      NBD_LARGEST_PAYLOAD,
	      "the largest buffer holds the largest payload");

static unsigned int size_of(uint64_t length)
{
	unsigned int size = 0;

	while (UINT64_C(1) << (SMALLEST_BITS + size) < length)
		size++;
	assert(size < NBD_BUFFER_SIZES);
	return size;
}

uint8_t *nbd_buffers_get(struct nbd_buffers *b, uint64_t length)
{
	unsigned int size = size_of(length);
	struct nbd_free_buffer *buffer = b->free[size];
	void *fresh;

	if (buffer) {
		b->free[size] = buffer->next;
		b->kept_bytes -= UINT64_C(1) << (SMALLEST_BITS + size);
		return (uint8_t *)buffer;
	}
	if (posix_memalign(&fresh, 1u << SMALLEST_BITS,
			   (size_t)1 << (SMALLEST_BITS + size)))
		return NULL;
	return fresh;
}

void nbd_buffers_put(struct nbd_buffers *b, uint8_t *buffer, uint64_t length)
{
	struct nbd_free_buffer *kept = (struct nbd_free_buffer *)buffer;
	unsigned int size = size_of(length);
	uint64_t bytes = UINT64_C(1) << (SMALLEST_BITS + size);

	if (!buffer)
		return;
	if (b->kept_bytes + bytes > b->max_kept_bytes) {
		free(buffer);
		return;
	}
	kept->next = b->free[size];
	b->free[size] = kept;
	b->kept_bytes += bytes;
}

void nbd_buffers_fini(struct nbd_buffers *b)
{
	struct nbd_free_buffer *next;

	for (unsigned int i = 0; i < NBD_BUFFER_SIZES; i++)
		for (struct nbd_free_buffer *at = b->free[i]; at; at = next) {
			next = at->next;
			free(at);
		}
}
