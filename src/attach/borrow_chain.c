/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The chain of frames: where it may lie, what is in it, and the step that makes
 * a thread go down it. That step sets the registers to the first call, with the
 * stack pointer at the frame behind it, in one: from then on the thread finds
 * its own way back. Signals are held off right after that; one that comes
 * before finds a stack below the frames that it may use.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "attach/borrow_parts.h"
#include "sources/uffd_abi.h"

#define GET_RSEQ_CONFIGURATION 0x420f
#define SETSIGMASK 0x420b
#define NOREPLACE 0x100000	/* MAP_FIXED_NOREPLACE */
#define MAX_GUARD 65536
#define CODE_BYTES 4096

/* Inside of a restartable sequence the kernel must see the interruption. */
bool tide__borrow_in_sequence(const struct tide__borrow *b)
{
	struct {
		uint64_t area;
		uint32_t bytes, signature, flags, pad;
	} rseq = { 0 };
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} cs;
	uint64_t at = 0;

	if (ptrace((enum __ptrace_request)GET_RSEQ_CONFIGURATION, b->tid,
		   sizeof(rseq), &rseq) < 0 || !rseq.area)
		return false;
	if (tide__borrow_peek(b, rseq.area + 8, &at, sizeof(at)) || !at ||
	    tide__borrow_peek(b, at, &cs, sizeof(cs)))
		return false;
	return tide__arch_pc(b->saved) - cs.start < cs.length;
}

/*
 * Is [sp - bytes, sp) the dead end of a stack? The main thread's is called so;
 * one that a thread library made has a guard below it. Stacks of other makers
 * may have somebody's data where ours would go.
 */
static bool is_stack(const struct tide__borrow *b, uint64_t sp, uint64_t bytes)
{
	const struct tide__map *below = NULL;

	for (size_t i = 0; i < b->maps.count; below = &b->maps.map[i++]) {
		const struct tide__map *m = &b->maps.map[i];

		if (sp < m->start || sp >= m->end)
			continue;
		if (!m->readable || !m->writable || sp - m->start < bytes)
			return false;
		if (!strcmp(m->name, "[stack]"))
			return true;
		return m->kind == TIDE__MAP_ANONYMOUS && !m->shared && below &&
		       below->end == m->start && !below->readable &&
		       !below->writable && !below->executable &&
		       below->end - below->start <= MAX_GUARD;
	}
	return false;
}

/* A page nobody is near: whoever maps without saying where does not come. */
uint64_t tide__borrow_place(const struct tide__borrow *b)
{
	uint64_t from = UINT64_C(0x100000000), best = 0, at = 0;

	for (size_t i = 0; i < b->maps.count; i++) {
		const struct tide__map *m = &b->maps.map[i];

		if (m->start > from && m->start < UINT64_C(0x7fffffffffff) &&
		    m->start - from > best) {
			best = m->start - from;
			at = from + best / 3;
		}
		if (m->end > from)
			from = m->end;
	}
	/* Two who do this at once should not meet, nor two tries. */
	at += (((uint64_t)getpid() << 16 | (uint64_t)b->out->tries) *
	       UINT64_C(0x9e3779b97f4a7c15)) % (best / 4 + 1);
	return at & ~UINT64_C(0xfff);
}

int tide__borrow_lay_chain(struct tide__borrow *b)
{
	const uint64_t unmap[1][7] = {
		{ tide__arch_munmap_nr, b->code, CODE_BYTES },
	};
	size_t bytes = tide__arch_chain_bytes(b->saved, 1);
	uint64_t sp = tide__arch_stack(b->saved);
	uint64_t at = (sp - bytes) & ~UINT64_C(63);
	struct tide__stub_data data = {
		.flags = O_CLOEXEC | O_NONBLOCK | (b->kernel_faults ? 0 :
				TIDE__UFFD_USER_MODE_ONLY),
		.nap = { 0, 20000 },
		.sigreturn = b->gadgets.sigreturn,
		.cookie = b->cookie,
	};
	unsigned char *chain;
	int ret;

	b->data = at - 128;
	if (!is_stack(b, sp, sp - b->data + 4096))
		return -EAGAIN;
	chain = calloc(1, bytes);
	if (!chain)
		return -ENOMEM;
	tide__arch_chain(b->saved, &b->gadgets, chain, at, 1, unmap, b->frame);
	data.frame = tide__arch_exit_frame(b->frame[0]);
	ret = tide__borrow_poke(b, at, chain, bytes);
	if (!ret)
		ret = tide__borrow_poke(b, b->data, &data, sizeof(data));
	free(chain);
	tide__borrow_at(b, 3);
	return ret;
}

/* From the first call to where it has returned. */
static int call_and_stop(struct tide__borrow *b, int64_t *result)
{
	const uint64_t map[7] = {
		tide__arch_mmap_nr, b->code, CODE_BYTES, PROT_READ | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS | NOREPLACE, UINT64_MAX, 0
	};
	uint64_t all = UINT64_MAX;
	bool there = false;
	int ret = tide__arch_call(b->tid, b->saved, &b->gadgets, map,
				  b->frame[0]);

	tide__borrow_at(b, 4);
	if (!ret && ptrace((enum __ptrace_request)SETSIGMASK, b->tid,
			   sizeof(all), &all) < 0)
		ret = -errno;
	tide__borrow_at(b, 5);
	/* In and out of the call. */
	for (int i = 0; !ret && !there && i < 1000; i++) {
		ret = tide__borrow_continue(b, PTRACE_SYSCALL, 0);
		if (!ret)
			ret = tide__borrow_next_stop(b, PTRACE_SYSCALL);
		if (!ret)
			ret = tide__arch_result(b->tid, &b->gadgets, &there,
						result);
		tide__borrow_at(b, i ? 7 : 6);
	}
	tide__borrow_at(b, 8);
	return ret || there ? ret : -EAGAIN;
}

int tide__borrow_map_code(struct tide__borrow *b)
{
	int64_t result = 0;
	int ret = call_and_stop(b, &result);

	if (ret || (uint64_t)result == b->code)
		return ret;
	/* Not ours to unmap, then. */
	tide__arch_take(b->tid, b->saved, &b->gadgets, b->frame[1]);
	if (result == -EEXIST)
		return -EAGAIN;
	return result < 0 && result > -4096 ? (int)result : -EIO;
}
