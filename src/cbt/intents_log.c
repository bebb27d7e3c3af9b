/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring of intent blocks. Each block names all active regions, so a single
 * write is a complete statement: if it is torn, the block before it counts,
 * which lacks only regions that no write was let into yet.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "cbt/store.h"

int cbt_intents_write(struct cbt_store *s, uint64_t sequence,
		      uint32_t region_shift, const uint64_t *regions,
		      uint32_t count)
{
	uint8_t b[CBT_BLOCK_BYTES] __attribute__((aligned(4096))) = { 0 };
	struct iovec v = { .iov_base = b, .iov_len = sizeof(b) };
	uint64_t block = CBT_INTENT_BLOCK + sequence % CBT_INTENT_BLOCKS;
	ssize_t n;

	memcpy(b, "TIDEINTN", 8);
	tide__put_le(b + 8, sequence, 8);
	memcpy(b + 16, s->super.uuid, 16);
	tide__put_le(b + 32, count, 4);
	tide__put_le(b + 40, region_shift, 4);
	for (uint32_t i = 0; i < count; i++)
		tide__put_le(b + 48 + i * 8, regions[i], 8);
	tide__put_le(b + 4088, XXH64(b, 4088, 0), 8);
	do
		n = pwritev2(s->fd, &v, 1, (off_t)(block * CBT_BLOCK_BYTES),
			     RWF_DSYNC);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(b) ? 0 : n < 0 ? -errno : -EIO;
}

int cbt_intents_read(struct cbt_store *s, uint64_t *sequence,
		     uint32_t *region_shift, uint64_t *regions,
		     uint32_t *count)
{
	int ret = -ENOENT;

	for (uint64_t i = 0; i < CBT_INTENT_BLOCKS; i++) {
		uint8_t b[CBT_BLOCK_BYTES];
		uint32_t n;

		if (cbt_store_read(s, CBT_INTENT_BLOCK + i, b, sizeof(b)) ||
		    memcmp(b, "TIDEINTN", 8) ||
		    memcmp(b + 16, s->super.uuid, 16) ||
		    tide__get_le(b + 4088, 8) != XXH64(b, 4088, 0))
			continue;
		n = (uint32_t)tide__get_le(b + 32, 4);
		if (n > CBT_MAX_REGIONS || (!ret &&
		    tide__get_le(b + 8, 8) < *sequence))
			continue;
		ret = 0;
		*sequence = tide__get_le(b + 8, 8);
		*region_shift = (uint32_t)tide__get_le(b + 40, 4);
		*count = n;
		for (uint32_t k = 0; k < n; k++)
			regions[k] = tide__get_le(b + 48 + k * 8, 8);
	}
	return ret;
}
