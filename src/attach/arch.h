/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What differs between processors when a thread of another process is borrowed.
 *
 * A *frame* is what the kernel puts on the stack for a signal handler, and
 * what rt_sigreturn takes all registers and the signal mask from, in one step.
 * borrow.c strings frames together: each makes one system call and ends in the
 * next one's rt_sigreturn; the last brings the thread's own registers back. So
 * whoever starts the first need not be alive for the last.
 */
#ifndef TIDE_ATTACH_ARCH_H
#define TIDE_ATTACH_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Code of the target's own that is used; addresses in the target. */
struct tide__gadgets {
	uint64_t call;		/* system call, then on to the next frame */
	uint64_t sigreturn;	/* rt_sigreturn */
};

/* A thread's own state, as it was when it was stopped. */
struct tide__saved;

/* What the stub and we say to each other; in the target's memory. */
struct tide__stub_data {
	uint32_t state;		/* 0, 1: fd is there, 2: not for long, 3: out */
	int32_t fd;		/* or -errno */
	uint32_t done;		/* set by us: close it and go */
	uint32_t flags;		/* for userfaultfd */
	int64_t nap[2];		/* a timespec */
	uint64_t frame;		/* where the way out lies */
	uint64_t sigreturn;	/* how to take it */
	uint64_t cookie;	/* it is still this: the thread is still ours */
};

/* False: this processor is not supported. */
extern const bool tide__arch_supported;

/* Patterns to look for in executable memory; true when both are known. */
bool tide__arch_search(struct tide__gadgets *g, const unsigned char *code,
		       size_t length, uint64_t address);

/* Of a stopped thread. -errno; -EAGAIN: not at this moment. */
int tide__arch_save(int tid, struct tide__saved **saved);
void tide__arch_free(struct tide__saved *saved);
uint64_t tide__arch_stack(const struct tide__saved *saved);
uint64_t tide__arch_pc(const struct tide__saved *saved);
/* Its system call was interrupted so that only EINTR can follow. */
bool tide__arch_would_notice(const struct tide__saved *saved);

/*
 * Bytes of the chain of @calls frames and the last; its place: aligned to 64.
 */
size_t tide__arch_chain_bytes(const struct tide__saved *saved, int calls);
/*
 * Write the chain for address @at into @to: @calls system calls with their
 * arguments ([0] is the number), all signals held off, then as it was. Where
 * frame i starts is *frame[i], i up to @calls.
 */
void tide__arch_chain(const struct tide__saved *saved,
		      const struct tide__gadgets *g, unsigned char *to,
		      uint64_t at, int calls, const uint64_t call[][7],
		      uint64_t frame[]);

/* Make the stopped thread make system call @call, then take @frame. */
int tide__arch_call(int tid, const struct tide__saved *saved,
		    const struct tide__gadgets *g, const uint64_t call[7],
		    uint64_t frame);
/* Make the stopped thread take frame @frame next. 0 or -errno. */
int tide__arch_take(int tid, const struct tide__saved *saved,
		    const struct tide__gadgets *g, uint64_t frame);
/* Make it run the stub at @code with its data at @data. 0 or -errno. */
int tide__arch_run_stub(int tid, const struct tide__saved *saved,
			uint64_t code, uint64_t data, uint64_t stack);
/*
 * At a stop of the thread: is it *@there, where that call, an mmap, has
 * returned, and what? 0 or -errno.
 */
int tide__arch_result(int tid, const struct tide__gadgets *g, bool *there,
		      int64_t *result);
/* What the frame of @g's call wants in the stub's data. */
uint64_t tide__arch_exit_frame(uint64_t frame);

extern const unsigned char tide__stub_start[], tide__stub_end[];
extern const uint64_t tide__arch_mmap_nr, tide__arch_munmap_nr;

#endif
