/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a thread is borrowed so that our death cannot hurt it.
 *
 * A tracer that changes a thread's registers and then dies leaves it running
 * somewhere else. So nothing is ever changed that does not find its own way
 * back. Below the stack of the thread, in memory that is dead, a chain of three
 * frames is laid (arch.h): map one page of code, unmap it, own registers. The
 * one step that starts it sets the registers to "take the first frame". If we
 * die there, the thread maps a page, unmaps it, and goes on as if nothing had
 * been.
 *
 *   stopped -> [frame 0: mmap] -> [frame 1: munmap] -> [frame 2: own registers]
 *                    |                  ^
 *                    +--> the stub -----+
 *
 * Where the call of frame 0 returns we stop the thread once more, write the
 * stub into the page, and send the thread there instead, in one step again; then
 * we let go of it altogether. The stub makes the userfaultfd, waits a while to
 * be told that it was fetched (pidfd_getfd), closes it whether told or not,
 * and takes frame 1. Signals are held off from frame 0 to frame 2; those that
 * came meanwhile are delivered after it.
 *
 * A thread is not borrowed where that would be noticed: in a restartable
 * sequence, on a stack that is none (a goroutine's, a fibre's on the heap).
 * The next thread is tried, or the same one later. A call that can only go on
 * with EINTR is left alone for half of the patience, then accepted.
 *
 * All this runs in a thread of our own that ends afterwards: with it ends
 * whatever ptrace still held.
 */
#include "attach/borrow.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attach/arch.h"
#include "attach/gadgets.h"
#include "attach/maps.h"
#include "attach/threads.h"
#include "base/clock.h"
#include "sources/uffd_abi.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#define GET_RSEQ_CONFIGURATION 0x420f
#define SUSPEND_SECCOMP (1 << 21)
#define NOREPLACE 0x100000	/* MAP_FIXED_NOREPLACE */
#define SYSCALL_STOP (SIGTRAP | 0x80)
#define MS UINT64_C(1000000)
#define MAX_THREADS 1024
#define MAX_GUARD 65536
#define CODE_BYTES 4096
#define OTHERS_NS (150 * MS)

static const char origin[] = "attach";

struct borrow {
	const struct tide__target *target;
	const struct tide__borrow_step *step;
	int pidfd;
	unsigned int patience_ms;
	struct tide__borrowed *out;
	struct tide_error *err;
	int rc;

	struct tide__maps maps;
	struct tide__gadgets gadgets;
	bool accept_eintr;
	bool stuck;		/* a thread did not come when it was called */
	uint64_t start_ns;
	/* of the thread at hand */
	int tid;
	bool attached, stopped;
	struct tide__saved *saved;
	uint64_t code, data, frame[3], since_ns;
};

static void step(const struct borrow *b, int point)
{
	if (b->step)
		b->step->at(b->step->opaque, point);
}

static int fail(struct borrow *b, int rc, const char *what)
{
	return tide_error_set(b->err, rc, origin, TIDE_NO_OFFSET,
			      "process %d: %s: %s", b->target->pid, what,
			      strerror(-rc));
}

static int target_read(const struct borrow *b, uint64_t at, void *to, size_t n)
{
	struct iovec here = { to, n }, there = { (void *)(uintptr_t)at, n };
	ssize_t got = process_vm_readv(b->target->pid, &here, 1, &there, 1, 0);

	return got == (ssize_t)n ? 0 : got < 0 ? -errno : -EFAULT;
}

static int target_write(const struct borrow *b, uint64_t at, const void *from,
			size_t n)
{
	struct iovec here = { (void *)from, n };
	struct iovec there = { (void *)(uintptr_t)at, n };
	ssize_t put = process_vm_writev(b->target->pid, &here, 1, &there, 1, 0);

	return put == (ssize_t)n ? 0 : put < 0 ? -errno : -EFAULT;
}

/*
 * Awake at first, for the other side needs microseconds; but on its processor
 * as on ours it goes first. (A higher priority for us made it ten times slower.)
 */
static void wait_a_little(unsigned int *turn)
{
	struct timespec nap = { 0, 30000 };

	if ((*turn)++ < 200)
		sched_yield();
	else
		nanosleep(&nap, NULL);
}

static int resume(struct borrow *b, long how, int signal)
{
	b->stopped = false;
	return ptrace((enum __ptrace_request)how, b->tid, 0,
		      (long)signal) < 0 ? -errno : 0;
}

/*
 * The next stop of the thread within 100 ms: its status. Signals that arrive
 * are passed on; a stop of the whole process is not ours to lift.
 */
static int next_stop(struct borrow *b, long how, int *status)
{
	uint64_t end = tide__now_ns() + 100 * MS;
	unsigned int turn = 0;
	int rc;

	for (;;) {
		pid_t got = waitpid(b->tid, status, __WALL | WNOHANG);

		if (got < 0 && errno != EINTR)
			return errno == ECHILD ? -ESRCH : -errno;
		if (got <= 0) {
			if (tide__now_ns() > end)
				return -EAGAIN;
			wait_a_little(&turn);
			continue;
		}
		if (!WIFSTOPPED(*status)) {
			b->attached = false;
			return -ESRCH;
		}
		b->stopped = true;
		if (*status >> 16 == PTRACE_EVENT_STOP)
			return WSTOPSIG(*status) == SIGTRAP ? 0 : -EAGAIN;
		if (WSTOPSIG(*status) == SYSCALL_STOP)
			return 0;
		rc = resume(b, how, WSTOPSIG(*status));
		if (rc)
			return rc;
	}
}

/* One that waits for a processor, or a device, is left to the end of ours. */
static void let_go(struct borrow *b)
{
	int status;

	if (b->attached && !b->stopped &&
	    !ptrace(PTRACE_INTERRUPT, b->tid, 0, 0))
		next_stop(b, PTRACE_CONT, &status);
	if (b->attached && b->stopped)
		ptrace(PTRACE_DETACH, b->tid, 0, 0);
	else if (b->attached)
		b->stuck = true;
	b->attached = b->stopped = false;
}

/* Under a filter it is switched off for the thread while it is ours. */
static int seize(struct borrow *b)
{
	long options = PTRACE_O_TRACESYSGOOD;
	int status, rc;

	if (b->target->seccomp)
		options |= SUSPEND_SECCOMP;
	if (ptrace(PTRACE_SEIZE, b->tid, 0, options) < 0)
		return -errno;
	b->attached = true;
	step(b, 1);
	b->since_ns = tide__now_ns();
	if (ptrace(PTRACE_INTERRUPT, b->tid, 0, 0) < 0)
		return -errno;
	rc = next_stop(b, PTRACE_CONT, &status);
	step(b, 2);
	return rc;
}

/* Inside of a restartable sequence the kernel must see the interruption. */
static bool in_sequence(const struct borrow *b)
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
	if (target_read(b, rseq.area + 8, &at, sizeof(at)) || !at ||
	    target_read(b, at, &cs, sizeof(cs)))
		return false;
	return tide__arch_pc(b->saved) - cs.start < cs.length;
}

/*
 * Is [sp - bytes, sp) the dead end of a stack? The main thread's is called so;
 * one that a thread library made has a guard below it. Stacks of other makers
 * may have somebody's data where ours would go.
 */
static bool is_stack(const struct borrow *b, uint64_t sp, uint64_t bytes)
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
static uint64_t lonely_page(const struct borrow *b)
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

static int lay_chain(struct borrow *b)
{
	const uint64_t calls[2][7] = {
		{ tide__arch_mmap_nr, b->code, CODE_BYTES,
		  PROT_READ | PROT_EXEC,
		  MAP_PRIVATE | MAP_ANONYMOUS | NOREPLACE, UINT64_MAX, 0 },
		{ tide__arch_munmap_nr, b->code, CODE_BYTES },
	};
	size_t bytes = tide__arch_chain_bytes(b->saved, 2);
	uint64_t sp = tide__arch_stack(b->saved);
	uint64_t at = (sp - bytes) & ~UINT64_C(63);
	struct tide__stub_data data = {
		.flags = O_CLOEXEC | O_NONBLOCK | TIDE__UFFD_USER_MODE_ONLY,
		.nap = { 0, 20000 },
		.sigreturn = b->gadgets.sigreturn,
	};
	unsigned char *chain;
	int rc;

	b->data = at - 128;
	if (!is_stack(b, sp, sp - b->data + 4096))
		return -EAGAIN;
	chain = calloc(1, bytes);
	if (!chain)
		return -ENOMEM;
	tide__arch_chain(b->saved, &b->gadgets, chain, at, 2, calls, b->frame);
	data.frame = tide__arch_exit_frame(b->frame[1]);
	rc = target_write(b, at, chain, bytes);
	if (!rc)
		rc = target_write(b, b->data, &data, sizeof(data));
	free(chain);
	step(b, 3);
	return rc;
}

/* From frame 0 to where its call has returned. */
static int map_code(struct borrow *b)
{
	int64_t result = 0;
	bool there = false;
	int status, rc;

	rc = tide__arch_take(b->tid, b->saved, &b->gadgets, b->frame[0]);
	step(b, 4);
	/*
	 * In and out of the sigreturn, in and out of the call. A signal that
	 * came before has its handler run first, with calls of its own.
	 */
	for (int i = 0; !rc && !there && i < 1000; i++) {
		rc = resume(b, PTRACE_SYSCALL, 0);
		if (!rc)
			rc = next_stop(b, PTRACE_SYSCALL, &status);
		if (!rc)
			rc = tide__arch_result(b->tid, &b->gadgets, &there,
					       &result);
		if (!rc)
			step(b, i < 2 ? 5 + i : there ? 8 : 7);
	}
	if (!rc && !there)
		rc = -EAGAIN;
	if (rc || (uint64_t)result == b->code)
		return rc;
	/* Not ours to unmap, then. */
	tide__arch_take(b->tid, b->saved, &b->gadgets, b->frame[2]);
	if (result == -EEXIST)
		return -EAGAIN;
	return result < 0 && result > -4096 ? (int)result : -EIO;
}

static int write_code(struct borrow *b)
{
	size_t bytes = (size_t)(tide__stub_end - tide__stub_start);
	char path[32];
	ssize_t put;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", b->target->pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	put = pwrite(fd, tide__stub_start, bytes, (off_t)b->code);
	close(fd);
	step(b, 9);
	return put == (ssize_t)bytes ? 0 : -EIO;
}

/* Nobody holds the thread any more, or, under a filter, we still do. */
static int start_stub(struct borrow *b)
{
	int rc = write_code(b);

	if (!rc)
		rc = tide__arch_run_stub(b->tid, b->saved, b->code, b->data,
					 b->data);
	step(b, 10);
	if (rc)
		return rc;
	if (b->target->seccomp)
		return resume(b, PTRACE_CONT, 0);
	if (ptrace(PTRACE_DETACH, b->tid, 0, 0) < 0)
		return -errno;
	b->attached = b->stopped = false;
	step(b, 11);
	return 0;
}

/* Signals of a thread that we still hold are passed on. */
static void pass_signals(struct borrow *b)
{
	int status;

	if (!b->attached || waitpid(b->tid, &status, __WALL | WNOHANG) <= 0)
		return;
	if (!WIFSTOPPED(status))
		b->attached = false;
	else if (status >> 16 == PTRACE_EVENT_STOP)
		resume(b, PTRACE_CONT, 0);
	else
		resume(b, PTRACE_CONT, WSTOPSIG(status));
}

/* Until the stub says @state, at most 60 ms. */
static int await(struct borrow *b, uint32_t state, struct tide__stub_data *d)
{
	uint64_t end = tide__now_ns() + 60 * MS;
	unsigned int turn = 0;

	for (;;) {
		int rc = target_read(b, b->data, d, sizeof(*d));

		if (rc)
			return rc;
		if (d->state >= state)
			return 0;
		if (tide__now_ns() > end)
			return -ETIMEDOUT;
		pass_signals(b);
		wait_a_little(&turn);
	}
}

static bool still_waits(const struct borrow *b, int32_t fd)
{
	struct tide__stub_data d;

	return !target_read(b, b->data, &d, sizeof(d)) && d.state == 1 &&
	       d.fd == fd;
}

static int fetch(struct borrow *b)
{
	const uint32_t done = 1;
	struct tide__stub_data d;
	int fd, rc = await(b, 1, &d);

	if (rc)
		return fail(b, rc, "its thread does not answer");
	step(b, 12);
	/* It waited long enough, and has closed it: once more. */
	if (d.state != 1)
		return -EAGAIN;
	if (d.fd < 0)
		return fail(b, d.fd, "userfaultfd");
	fd = (int)syscall(SYS_pidfd_getfd, b->pidfd, d.fd, 0);
	rc = fd < 0 ? -errno : 0;
	step(b, 13);
	/*
	 * It still waits, so the number was still that file's. Else it may be
	 * any other's by now, one that somebody else borrowed it for, too.
	 */
	if (!still_waits(b, d.fd)) {
		if (fd >= 0)
			close(fd);
		return -EAGAIN;
	}
	target_write(b, b->data + offsetof(struct tide__stub_data, done),
		     &done, sizeof(done));
	step(b, 14);
	/* Late or not, it goes its way: that is no failure of ours. */
	await(b, 2, &d);
	step(b, 15);
	if (rc)
		return fail(b, rc, "pidfd_getfd");
	b->out->uffd = fd;
	return 0;
}

/* -EAGAIN: not this thread, or not now. */
static int try_thread(struct borrow *b)
{
	int rc = seize(b);

	b->saved = NULL;
	if (!rc)
		rc = tide__arch_save(b->tid, &b->saved);
	if (!rc && (in_sequence(b) || (tide__arch_would_notice(b->saved) &&
				       !b->accept_eintr)))
		rc = -EAGAIN;
	if (!rc)
		rc = lay_chain(b);
	if (rc)
		goto out;
	rc = map_code(b);
	if (rc) {
		if (rc != -EAGAIN && rc != -ESRCH)
			fail(b, rc, "cannot map a page of code (a policy "
			     "against executable memory?)");
		goto out;
	}
	rc = start_stub(b);
	if (rc)
		fail(b, rc, "cannot start its thread");
	else
		rc = fetch(b);
out:
	let_go(b);
	if (!rc)
		b->out->stopped_ns = tide__now_ns() - b->since_ns;
	step(b, 16);
	tide__arch_free(b->saved);
	b->saved = NULL;
	return rc;
}

/* -EAGAIN from the end of the last thread on. */
static int try_all(struct borrow *b)
{
	struct tide__thread *thread = calloc(MAX_THREADS, sizeof(*thread));
	int rc = -EAGAIN;
	size_t n;

	if (!thread)
		return fail(b, -ENOMEM, "no memory");
	tide__maps_free(&b->maps);
	rc = tide__maps_read(&b->maps, b->target->pid, b->err);
	n = rc ? 0 : tide__threads_list(b->target->pid, thread, MAX_THREADS);
	if (!rc)
		rc = n ? -EAGAIN : -ESRCH;
	for (size_t i = 0; i < n && i < 16; i++) {
		b->tid = thread[i].tid;
		b->out->tries++;
		b->code = lonely_page(b);
		rc = try_thread(b);
		if (b->stuck || (rc != -EAGAIN && rc != -ESRCH))
			break;
	}
	free(thread);
	return rc;
}

static int refusal(struct borrow *b, int rc)
{
	struct tide__target now;

	if (tide__target_look(&now, b->target->pid, b->target->pid, b->err))
		return -ESRCH;
	if (tide__target_judge(&now, b->err))
		return b->err ? b->err->code : rc;
	if (rc == -EAGAIN)
		return tide_error_set(b->err, rc, origin, TIDE_NO_OFFSET,
				      "process %d: none of its threads stood "
				      "at a place where it may be borrowed, in "
				      "%u ms; try again", b->target->pid,
				      b->patience_ms);
	if (rc == -EPERM && b->target->seccomp)
		return tide_error_set(b->err, rc, origin, TIDE_NO_OFFSET,
				      "process %d has a seccomp filter; it "
				      "takes CAP_SYS_ADMIN to get past it",
				      b->target->pid);
	if (rc == -EPERM)
		return tide_error_set(b->err, rc, origin, TIDE_NO_OFFSET,
				      "process %d may not be traced; it takes "
				      "the same user, or CAP_SYS_PTRACE, and "
				      "Yama's leave (kernel.yama.ptrace_scope)",
				      b->target->pid);
	return rc;
}

static void *run(void *opaque)
{
	struct borrow *b = opaque;
	uint64_t patience = b->patience_ms * MS;
	struct timespec nap = { 0, 1000000 };

	b->stuck = false;
	tide__maps_free(&b->maps);
	b->rc = tide__maps_read(&b->maps, b->target->pid, b->err);
	if (!b->rc)
		b->rc = tide__gadgets_find(&b->gadgets, b->target->pid,
					   &b->maps, b->err);
	if (b->rc)
		return NULL;
	for (;;) {
		uint64_t spent = tide__now_ns() - b->start_ns;

		tide_error_clear(b->err);
		b->accept_eintr = spent >= patience / 2;
		b->rc = try_all(b);
		/* Another who attaches holds a thread for a moment. */
		if (b->rc != -EAGAIN &&
		    (b->rc != -EPERM || spent > OTHERS_NS))
			break;
		if (b->stuck || spent >= patience)
			break;
		nanosleep(&nap, NULL);
	}
	return NULL;
}

/* In a thread of its own, which lets go of everything when it ends. */
static int run_apart(struct borrow *b)
{
	pthread_t thread;
	int rc = -pthread_create(&thread, NULL, run, b);

	if (rc)
		return fail(b, rc, "no thread");
	pthread_join(thread, NULL);
	return b->rc;
}

int tide__borrow_uffd(struct tide__borrowed *out,
		      const struct tide__target *target, int pidfd,
		      unsigned int patience_ms,
		      const struct tide__borrow_step *steps,
		      struct tide_error *err)
{
	struct tide_error own;
	struct borrow b = {
		.target = target, .step = steps, .pidfd = pidfd,
		.patience_ms = patience_ms, .out = out,
		.err = err ? err : &own,
	};
	int rc;

	*out = (struct tide__borrowed){ .uffd = -1 };
	tide_error_clear(b.err);
	b.start_ns = tide__now_ns();
	do
		rc = run_apart(&b);
	while (rc == -EAGAIN && b.stuck &&
	       tide__now_ns() - b.start_ns < patience_ms * MS);
	tide__maps_free(&b.maps);
	if (rc && (!b.err->code || rc == -EPERM))
		rc = refusal(&b, rc);
	return rc;
}
