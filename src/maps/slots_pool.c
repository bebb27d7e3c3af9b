/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/slots_pool.h"

#include <stdlib.h>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__	/* who uses what was put back is to be seen */
#include <sanitizer/asan_interface.h>
#define HIDE(thing, bytes) ASAN_POISON_MEMORY_REGION((thing), (bytes))
#define SHOW(thing, bytes) ASAN_UNPOISON_MEMORY_REGION((thing), (bytes))
#else
#define HIDE(thing, bytes) ((void)0)
#define SHOW(thing, bytes) ((void)0)
#endif

#define ALIGN 64u
#define BIG_PAGE_BYTES ((size_t)2 << 20)

struct tide__block {
	struct tide__block *older;
} __attribute__((aligned(ALIGN)));

void tide__pool_init(struct tide__pool *pool, size_t bytes)
{
	bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	*pool = (struct tide__pool){ .bytes = bytes, .block_bytes = 4096 };
	while (pool->block_bytes < sizeof(struct tide__block) + bytes)
		pool->block_bytes *= 2;
}

void tide__pool_fini(struct tide__pool *pool)
{
	while (pool->blocks) {
		struct tide__block *older = pool->blocks->older;

		free(pool->blocks);
		pool->blocks = older;
	}
}

static int add_block(struct tide__pool *pool)
{
	size_t bytes = pool->block_bytes;
	struct tide__block *block;
	void *memory;

	if (posix_memalign(&memory,
			   bytes < BIG_PAGE_BYTES ? ALIGN : BIG_PAGE_BYTES,
			   bytes))
		return -1;
	if (bytes >= BIG_PAGE_BYTES)
		madvise(memory, bytes, MADV_HUGEPAGE);
	else	/* soon: what lies in small pages stays there */
		pool->block_bytes = bytes * 8 < BIG_PAGE_BYTES ? bytes * 8
							       : BIG_PAGE_BYTES;
	block = memory;
	block->older = pool->blocks;
	pool->blocks = block;
	pool->next = (char *)(block + 1);
	pool->left = bytes - sizeof(*block);
	return 0;
}

void *tide__pool_take(struct tide__pool *pool)
{
	void *thing = pool->unused;

	if (thing) {
		SHOW(thing, pool->bytes);
		pool->unused = *(void **)thing;
		return thing;
	}
	if (pool->left < pool->bytes && add_block(pool))
		return NULL;
	thing = pool->next;
	pool->next += pool->bytes;
	pool->left -= pool->bytes;
	return thing;
}

void tide__pool_put(struct tide__pool *pool, void *thing)
{
	*(void **)thing = pool->unused;
	pool->unused = thing;
	HIDE(thing, pool->bytes);
}
