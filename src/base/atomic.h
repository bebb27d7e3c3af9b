/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The only door to atomic memory access in Tidemark.
 *
 * The names state the memory ordering, and each use says in a comment which
 * other access it pairs with. `volatile`
 * is never used for synchronisation. The operations are the C11 ones through
 * the compiler's builtins, which take plain (not _Atomic) objects: bitmaps
 * are shared with kernels and other languages as plain words.
 */
#ifndef TIDE_BASE_ATOMIC_H
#define TIDE_BASE_ATOMIC_H

#define tide__load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define tide__load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define tide__load_seqcst(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define tide__store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define tide__store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define tide__store_seqcst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

#define tide__add_relaxed(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define tide__add_seqcst(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define tide__or_seqcst(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define tide__and_seqcst(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
#define tide__swap_seqcst(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)

/* True and *p = want if *p was `expected`, an lvalue; else it is updated. */
#define tide__cas_seqcst(p, expected, want)                                    \
	__atomic_compare_exchange_n((p), &(expected), (want), 0,               \
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* Orders for the compiler only; the other side does the machine's part. */
#define tide__fence_compiler() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#define tide__fence_seqcst() __atomic_thread_fence(__ATOMIC_SEQ_CST)

#endif
