/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a thread is borrowed so that our death cannot hurt it.
 *
 * A tracer that changes a thread's registers and then dies leaves it running
 * somewhere else. So nothing is ever changed that does not find its own way
 * back. Below the stack of the thread, in memory that is dead, a chain of two
 * frames is laid (arch.h): unmap a page of code, own registers. The one step
 * that starts it sets the registers to "map that page, then take the first
 * frame". If we die there, the thread maps a page, unmaps it, and goes on as if
 * nothing had been.
 *
 *   stopped -> mmap -> [frame 0: munmap] -> [frame 1: own registers]
 *               |            ^
 *               +-> the stub +
 *
 * Where the first call returns we stop the thread once more, write the stub
 * into the page, and send the thread there instead, in one step again; then we
 * let go of it altogether. The stub makes the userfaultfd, waits a while to be
 * told that it was fetched (pidfd_getfd), closes it whether told or not, and
 * takes frame 0. Signals are held off up to frame 1; those that came meanwhile
 * are delivered after it.
 *
 * A thread is not borrowed where that would be noticed: in a restartable
 * sequence, on a stack that is none (a goroutine's, a fibre's on the heap).
 * The next thread is tried, or the same one later. A call that can only go on
 * with EINTR is left alone for half a second, then accepted.
 *
 * All this runs in a thread of our own that ends afterwards: with it ends
 * whatever ptrace still held.
 */
#include "attach/borrow.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "attach/borrow_parts.h"
#include "attach/threads.h"
#include "base/clock.h"

#define MAX_THREADS 1024
/*
 * Others who attach hold a thread for a moment each, on a busy machine for a
 * longer one. Who may not trace at all was told so when its memory was opened.
 */
#define OTHERS_NS (2000 * TIDE__MS)
#define EINTR_NS (500 * TIDE__MS)

static const char origin[] = "attach";

void tide__borrow_at(const struct tide__borrow *b, int point)
{
	if (b->step)
		b->step->at(b->step->opaque, point);
}

int tide__borrow_fail(struct tide__borrow *b, int ret, const char *what)
{
	return tide_error_set(b->err, ret, origin, TIDE_NO_OFFSET,
			      "process %d: %s: %s", b->target->pid, what,
			      strerror(-ret));
}

int tide__borrow_peek(const struct tide__borrow *b, uint64_t at, void *to,
		      size_t n)
{
	struct iovec here = { to, n }, there = { (void *)(uintptr_t)at, n };
	ssize_t got = process_vm_readv(b->target->pid, &here, 1, &there, 1, 0);

	return got == (ssize_t)n ? 0 : got < 0 ? -errno : -EFAULT;
}

int tide__borrow_poke(const struct tide__borrow *b, uint64_t at,
		      const void *from, size_t n)
{
	struct iovec here = { (void *)from, n };
	struct iovec there = { (void *)(uintptr_t)at, n };
	ssize_t put = process_vm_writev(b->target->pid, &here, 1, &there, 1, 0);

	return put == (ssize_t)n ? 0 : put < 0 ? -errno : -EFAULT;
}

/* -EAGAIN: not this thread, or not now. */
static int try_thread(struct tide__borrow *b)
{
	int ret = tide__borrow_seize(b);

	b->saved = NULL;
	if (!ret)
		ret = tide__arch_save(b->tid, &b->saved);
	if (!ret && (tide__borrow_in_sequence(b) ||
		     (tide__arch_would_notice(b->saved) && !b->accept_eintr)))
		ret = -EAGAIN;
	if (!ret)
		ret = tide__borrow_lay_chain(b);
	if (ret)
		goto out;
	ret = tide__borrow_map_code(b);
	if (ret) {
		if (ret != -EAGAIN && ret != -ESRCH)
			tide__borrow_fail(b, ret, "cannot map a page of code (a policy "
			     "against executable memory?)");
		goto out;
	}
	ret = tide__borrow_start_stub(b);
	if (ret)
		tide__borrow_fail(b, ret, "cannot start its thread");
	else
		ret = tide__borrow_fetch(b);
out:
	tide__borrow_let_go(b);
	if (!ret)
		b->out->stopped_ns = tide__now_ns() - b->since_ns;
	tide__borrow_at(b, 16);
	tide__arch_free(b->saved);
	b->saved = NULL;
	return ret;
}

/* -EAGAIN from the end of the last thread on. */
static int try_all(struct tide__borrow *b)
{
	struct tide__thread *thread = calloc(MAX_THREADS, sizeof(*thread));
	int ret = -EAGAIN;
	size_t n;

	if (!thread)
		return tide__borrow_fail(b, -ENOMEM, "no memory");
	tide__maps_free(&b->maps);
	ret = tide__maps_read(&b->maps, b->target->pid, b->err);
	n = ret ? 0 : tide__threads_list(b->target->pid, thread, MAX_THREADS);
	if (!ret)
		ret = n ? -EAGAIN : -ESRCH;
	for (size_t i = 0; i < n && i < 16; i++) {
		b->tid = thread[i].tid;
		b->out->tries++;
		b->code = tide__borrow_place(b);
		b->cookie = b->code ^ tide__now_ns() << 12;
		ret = try_thread(b);
		if (b->stuck || (ret != -EAGAIN && ret != -ESRCH))
			break;
	}
	free(thread);
	return ret;
}

static int refusal(struct tide__borrow *b, int ret)
{
	struct tide__target now;

	if (tide__target_look(&now, b->target->pid, b->target->pid, b->err))
		return -ESRCH;
	if (tide__target_judge(&now, b->err))
		return b->err ? b->err->code : ret;
	if (ret == -EAGAIN)
		return tide_error_set(b->err, ret, origin, TIDE_NO_OFFSET,
				      "process %d: none of its threads stood "
				      "at a place where it may be borrowed, in "
				      "%u ms; try again", b->target->pid,
				      b->patience_ms);
	if (ret == -EPERM && b->target->seccomp)
		return tide_error_set(b->err, ret, origin, TIDE_NO_OFFSET,
				      "process %d has a seccomp filter; it "
				      "takes CAP_SYS_ADMIN to get past it",
				      b->target->pid);
	if (ret == -EPERM)
		return tide_error_set(b->err, ret, origin, TIDE_NO_OFFSET,
				      "process %d may not be traced; it takes "
				      "the same user, or CAP_SYS_PTRACE, and "
				      "Yama's leave (kernel.yama.ptrace_scope)",
				      b->target->pid);
	return b->err->code ? ret : tide__borrow_fail(b, ret, "cannot attach");
}

/* The thread that was tried last, by another who attaches as we do? */
static bool is_traced(const struct tide__borrow *b)
{
	struct tide__target thread;

	return !tide__target_look(&thread, b->target->pid, b->tid, NULL) &&
	       thread.tracer;
}

static void *run(void *opaque)
{
	struct tide__borrow *b = opaque;
	uint64_t patience = b->patience_ms * TIDE__MS;
	struct timespec nap = { 0, 1000000 };

	b->stuck = false;
	tide__maps_free(&b->maps);
	b->ret = tide__maps_read(&b->maps, b->target->pid, b->err);
	if (!b->ret)
		b->ret = tide__gadgets_find(&b->gadgets, b->target->pid,
					    &b->maps, b->err);
	if (b->ret)
		return NULL;
	for (;;) {
		uint64_t spent = tide__now_ns() - b->start_ns;

		tide_error_clear(b->err);
		b->accept_eintr = spent >= EINTR_NS || spent >= patience / 2;
		b->ret = try_all(b);
		/* Another who attaches holds a thread for a moment. */
		if (b->ret != -EAGAIN &&
		    (b->ret != -EPERM || (spent > OTHERS_NS && !is_traced(b))))
			break;
		if (b->stuck || spent >= patience)
			break;
		nanosleep(&nap, NULL);
	}
	return NULL;
}

/* In a thread of its own, which lets go of everything when it ends. */
static int run_apart(struct tide__borrow *b)
{
	pthread_t thread;
	int ret = -pthread_create(&thread, NULL, run, b);

	if (ret)
		return tide__borrow_fail(b, ret, "no thread");
	pthread_join(thread, NULL);
	return b->ret;
}

int tide__borrow_uffd(struct tide__borrowed *out,
		      const struct tide__target *target, int pidfd,
		      unsigned int patience_ms, bool kernel_faults,
		      const struct tide__borrow_step *steps,
		      struct tide_error *err)
{
	struct tide_error own;
	struct tide__borrow b = {
		.target = target, .step = steps, .pidfd = pidfd,
		.patience_ms = patience_ms, .out = out,
		.kernel_faults = kernel_faults,
		.err = err ? err : &own,
	};
	char path[32];
	int ret;

	*out = (struct tide__borrowed){ .uffd = -1 };
	tide_error_clear(b.err);
	b.start_ns = tide__now_ns();
	snprintf(path, sizeof(path), "/proc/%d/mem", target->pid);
	b.mem = open(path, O_RDWR | O_CLOEXEC);
	if (b.mem < 0)
		return refusal(&b, errno == EACCES ? -EPERM : -errno);
	do
		ret = run_apart(&b);
	while (ret == -EAGAIN && b.stuck &&
	       tide__now_ns() - b.start_ns < patience_ms * TIDE__MS);
	close(b.mem);
	tide__maps_free(&b.maps);
	if (ret && (!b.err->code || ret == -EPERM))
		ret = refusal(&b, ret);
	return ret;
}
