/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIMD kernels over words of bits, and run-time dispatch to those of this CPU.
 *
 * A scan looks for edges, not bits: with u the word and p the word before it,
 * e = u ^ (u << 1 | p >> 63) has a 1 where a run starts and a 1 just after it
 * ends. A run takes two steps, however long it is; all-zero and all-one words
 * have no edges and are both skipped.
 *
 * Work is done in blocks of 64 words. Phase one (find_edges) computes the
 * edge words of a block and a mask of those that are not 0, with SIMD.
 * Phase two (decode) turns edge words into page numbers without a branch for
 * each bit. They alternate start, end, start, end; pairs then makes each
 * (start, end) a (first, count) while they are still in the L1 cache.
 *
 * The tables are const, one for each instruction set. There is no state between
 * calls: tide__kernels_pick is a function of the CPU and of the
 * environment (TIDEMARK_ISA), called once for each scan or set.
 */
#ifndef TIDE_BITS_KERNELS_H
#define TIDE_BITS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define TIDE__BLOCK_WORDS 64u
#define TIDE__BLOCK_PAGES 4096u

struct tide__kernels {
	const char *name;
	/*
	 * Look at up to @blocks blocks of the union of @a and @b (may be the
	 * same) for the first that has edges. a[-1] and b[-1] are readable and
	 * precede the first word. Returns how many blocks without edges went
	 * before it (@blocks: none has any); @e and *@mask are of that block.
	 */
	size_t (*find_edges)(const uint64_t *a, const uint64_t *b,
			     size_t blocks, uint64_t *e, uint64_t *mask);
	/*
	 * Store the page numbers of the edges of the words in *@mask, @page
	 * being the block's first, from @out on, word by word while @out has
	 * not passed @limit; then at least 64 places must still be writable.
	 * Words that were done leave *@mask. Returns the end of what is valid.
	 */
	uint64_t *(*decode)(const uint64_t *e, uint64_t *mask, uint64_t page,
			    uint64_t *out, const uint64_t *limit);
	/* @ranges times (start, end) to (first, count), in place. */
	void (*pairs)(uint64_t *flat, size_t ranges);
	uint64_t (*count)(const uint64_t *words, size_t n);
	void (*merge)(uint64_t *into, const uint64_t *from, size_t n);
	/* Index of the first word that is not 0; @n if all are. */
	size_t (*find_first)(const uint64_t *words, size_t n);
	/*
	 * Bit i: word i of @n (8 to 64, by eights) is not 0. Each word is
	 * looked at once, behind all atomic operations that precede the call.
	 */
	uint64_t (*busy)(const uint64_t *words, size_t n);
	/* All bits of @n words. */
	void (*fill)(uint64_t *words, size_t n);
	/*
	 * Bit i of the @n @words: is age[i] above @limit? Reads 64 * @n ages.
	 * Returns the union of the words: 0 if none is.
	 */
	uint64_t (*above)(const uint16_t *age, uint16_t limit, uint64_t *words,
			  size_t n);
};

/* The others' where vectors cannot do better. */
uint64_t tide__busy_scalar(const uint64_t *words, size_t n);

extern const struct tide__kernels tide__kernels_scalar;
extern const struct tide__kernels tide__kernels_avx2;	/* x86-64 only */
extern const struct tide__kernels tide__kernels_avx512;	/* x86-64 only */
extern const struct tide__kernels tide__kernels_neon;	/* aarch64 only */

/* NULL if there is no such kernel, or this CPU cannot run it. */
const struct tide__kernels *tide__kernels_named(const char *name);

/* TIDEMARK_ISA if it names a usable one, else the best that is tested. */
const struct tide__kernels *tide__kernels_pick(void);

#endif
