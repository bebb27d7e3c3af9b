/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/slots_pool.h"

#include <stdint.h>
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
	size_t bytes;
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

		if (pool->blocks->bytes < BIG_PAGE_BYTES) {
			free(pool->blocks);
		} else {
			/* Its addresses may be anybody's next. */
			SHOW(pool->blocks, pool->blocks->bytes);
			munmap(pool->blocks, pool->blocks->bytes);
		}
		pool->blocks = older;
	}
}

/*
 * Not from malloc: that gives out again what it got back, and memory that is
 * in small pages stays there, whatever is asked of it afterwards.
 */
static void *big_block(size_t bytes)
{
	char *memory = mmap(NULL, bytes + BIG_PAGE_BYTES,
			    PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t ahead;

	if (memory == MAP_FAILED)
		return NULL;
	ahead = -(uintptr_t)memory & (BIG_PAGE_BYTES - 1);
	if (ahead)
		munmap(memory, ahead);
	munmap(memory + ahead + bytes, BIG_PAGE_BYTES - ahead);
	madvise(memory + ahead, bytes, MADV_HUGEPAGE);
	return memory + ahead;
}

static int add_block(struct tide__pool *pool)
{
	size_t bytes = pool->block_bytes;
	struct tide__block *block;
	void *memory = NULL;

	if (bytes >= BIG_PAGE_BYTES)
		memory = big_block(bytes);
	else if (posix_memalign(&memory, ALIGN, bytes))
		return -1;
	if (!memory)
		return -1;
	if (bytes < BIG_PAGE_BYTES)	/* soon: see above */
		pool->block_bytes = bytes * 8 < BIG_PAGE_BYTES ? bytes * 8
							       : BIG_PAGE_BYTES;
	block = memory;
	block->older = pool->blocks;
	block->bytes = bytes;
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
