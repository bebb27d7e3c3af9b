/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Borrowing a thread on x86-64.
 *
 * rt_sigreturn takes the frame from 8 bytes below the stack pointer, where a
 * handler's return address was. A `syscall; ret` whose stack pointer stands at
 * a frame therefore returns into that frame's first word; if that is the
 * address of `mov $15, %eax; syscall`, as in the restorer that each C library
 * has, the frame is taken.
 *
 * The frame restores the vector registers from a copy of the state that
 * ptrace gives; all frames point to the same copy. It would also restore the
 * alternate signal stack, which nobody can read: an invalid mode there makes
 * the kernel leave it alone.
 */
#include "attach/arch.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "attach/restart.h"

#ifndef NT_X86_XSTATE
#define NT_X86_XSTATE 0x202
#endif
#define GETSIGMASK 0x420a
#define MAX_XSTATE 16384
#define USER_CS 0x33
#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u
#define FP_XSTATE 1u
#define SIGCONTEXT_SS 2u
#define STRICT_RESTORE_SS 4u
#define NO_SUCH_MODE 7	/* of an alternate stack: left as it is */

const bool tide__arch_supported = true;
const uint64_t tide__arch_mmap_nr = SYS_mmap;
const uint64_t tide__arch_munmap_nr = SYS_munmap;

struct frame {
	uint64_t return_to;
	uint64_t flags, link;
	uint64_t alt_sp;
	uint32_t alt_flags, alt_pad;
	uint64_t alt_size;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
	uint64_t sigmask;
	uint64_t pad;
};
_Static_assert(offsetof(struct frame, sigmask) == 304, "the kernel's layout");
_Static_assert(sizeof(struct frame) % 64 == 0, "frames stay aligned");

struct tide__saved {
	struct user_regs_struct regs;
	uint64_t sigmask;
	size_t xstate_bytes;
	unsigned char xstate[MAX_XSTATE];
};

static bool matches(const unsigned char *at, const char *pattern, size_t n)
{
	return !memcmp(at, pattern, n);
}

bool tide__arch_search(struct tide__gadgets *g, const unsigned char *code,
		       size_t length, uint64_t address)
{
	for (size_t i = 0; i + 9 <= length; i++) {
		if (!g->call && matches(code + i, "\x0f\x05\xc3", 3))
			g->call = address + i;
		if (!g->sigreturn &&
		    (matches(code + i, "\x48\xc7\xc0\x0f\0\0\0\x0f\x05", 9) ||
		     matches(code + i, "\xb8\x0f\0\0\0\x0f\x05", 7)))
			g->sigreturn = address + i;
		if (g->call && g->sigreturn)
			return true;
	}
	return false;
}

int tide__arch_save(int tid, struct tide__saved **out)
{
	struct tide__saved *s = calloc(1, sizeof(*s));
	struct iovec regs = { .iov_len = sizeof(s->regs) };
	struct iovec xstate = { .iov_len = MAX_XSTATE };
	int ret = 0;

	if (!s)
		return -ENOMEM;
	regs.iov_base = &s->regs;
	xstate.iov_base = s->xstate;
	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &regs) < 0 ||
	    ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &xstate) < 0 ||
	    ptrace(GETSIGMASK, tid, sizeof(s->sigmask), &s->sigmask) < 0)
		ret = -errno;
	else if (s->regs.cs != USER_CS || regs.iov_len != sizeof(s->regs))
		ret = -EOPNOTSUPP;	/* 32-bit code */
	else if (xstate.iov_len < 576 || xstate.iov_len > MAX_XSTATE - 4)
		ret = -EOPNOTSUPP;
	s->xstate_bytes = xstate.iov_len;
	if (ret)
		free(s);
	else
		*out = s;
	return ret;
}

void tide__arch_free(struct tide__saved *s)
{
	free(s);
}

uint64_t tide__arch_stack(const struct tide__saved *s)
{
	return s->regs.rsp - 128;	/* leaf functions use what is below */
}

uint64_t tide__arch_pc(const struct tide__saved *s)
{
	return s->regs.rip;
}

bool tide__arch_would_notice(const struct tide__saved *s)
{
	return (int64_t)s->regs.orig_rax >= 0 &&
	       (int64_t)s->regs.rax == -TIDE__ERESTART_RESTARTBLOCK;
}

static size_t xstate_room(const struct tide__saved *s)
{
	return (s->xstate_bytes + 4 + 63) / 64 * 64;
}

/* The frames come first, the state of the vector unit behind them. */
static size_t frames_room(int calls)
{
	return ((size_t)(calls + 1) * sizeof(struct frame) + 63) / 64 * 64;
}

size_t tide__arch_chain_bytes(const struct tide__saved *s, int calls)
{
	return frames_room(calls) + xstate_room(s);
}

/* The first word of the software's bytes is the mask of features. */
static void put_xstate(const struct tide__saved *s, unsigned char *to)
{
	uint32_t magic1 = MAGIC1, magic2 = MAGIC2;
	uint32_t all = (uint32_t)s->xstate_bytes + 4;
	uint32_t bytes = (uint32_t)s->xstate_bytes;
	uint64_t features;

	memcpy(&features, s->xstate + 464, 8);
	memcpy(to, s->xstate, s->xstate_bytes);
	memset(to + 464, 0, 48);
	memcpy(to + 464, &magic1, 4);
	memcpy(to + 468, &all, 4);
	memcpy(to + 472, &features, 8);
	memcpy(to + 480, &bytes, 4);
	memcpy(to + s->xstate_bytes, &magic2, 4);
}

/* The registers as they were; a call that was cut off starts again. */
static void put_own(const struct tide__saved *s, struct frame *f)
{
	const struct user_regs_struct *r = &s->regs;
	int64_t result = (int64_t)r->rax;

	*f = (struct frame){
		.r8 = r->r8, .r9 = r->r9, .r10 = r->r10, .r11 = r->r11,
		.r12 = r->r12, .r13 = r->r13, .r14 = r->r14, .r15 = r->r15,
		.rdi = r->rdi, .rsi = r->rsi, .rbp = r->rbp, .rbx = r->rbx,
		.rdx = r->rdx, .rax = r->rax, .rcx = r->rcx, .rsp = r->rsp,
		.rip = r->rip, .eflags = r->eflags, .cs = (uint16_t)r->cs,
		.ss = (uint16_t)r->ss, .sigmask = s->sigmask,
	};
	if ((int64_t)r->orig_rax < 0)
		return;
	if (result == -TIDE__ERESTART_RESTARTBLOCK) {
		f->rax = (uint64_t)-EINTR;
	} else if (tide__restarts(result)) {
		f->rax = r->orig_rax;
		f->rip -= 2;	/* the syscall instruction again */
	}
}

/*
 * All that frames still to come need lies above the thread's stack pointer: who
 * borrows it again before it has taken the last one lays his chain below that,
 * and spoils nothing. (With the vector state below the frames, one attach in
 * 2,500 found a busy thread there, and its registers were zero afterwards.)
 */
void tide__arch_chain(const struct tide__saved *s,
		      const struct tide__gadgets *g, unsigned char *to,
		      uint64_t at, int calls, const uint64_t call[][7],
		      uint64_t frame[])
{
	size_t state = frames_room(calls);

	put_xstate(s, to + state);
	for (int i = 0; i <= calls; i++) {
		size_t offset = (size_t)i * sizeof(struct frame);
		struct frame f;

		put_own(s, &f);
		if (i < calls) {
			f.rax = call[i][0];
			f.rdi = call[i][1];
			f.rsi = call[i][2];
			f.rdx = call[i][3];
			f.r10 = call[i][4];
			f.r8 = call[i][5];
			f.r9 = call[i][6];
			f.rip = g->call;
			f.rsp = at + offset + sizeof(f);
			f.sigmask = UINT64_MAX;
		}
		f.return_to = g->sigreturn;
		f.flags = FP_XSTATE | SIGCONTEXT_SS | STRICT_RESTORE_SS;
		f.alt_flags = NO_SUCH_MODE;
		f.fpstate = at + state;
		memcpy(to + offset, &f, sizeof(f));
		frame[i] = at + offset;
	}
}

uint64_t tide__arch_exit_frame(uint64_t frame)
{
	return frame + 8;
}

static int set(int tid, struct user_regs_struct *regs)
{
	struct iovec iov = { regs, sizeof(*regs) };

	regs->orig_rax = UINT64_MAX;	/* no call to start again */
	return ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov) < 0 ? -errno
								     : 0;
}

int tide__arch_take(int tid, const struct tide__saved *s,
		    const struct tide__gadgets *g, uint64_t frame)
{
	struct user_regs_struct regs = s->regs;

	regs.rip = g->sigreturn;
	regs.rsp = tide__arch_exit_frame(frame);
	return set(tid, &regs);
}

int tide__arch_call(int tid, const struct tide__saved *s,
		    const struct tide__gadgets *g, const uint64_t call[7],
		    uint64_t frame)
{
	struct user_regs_struct regs = s->regs;

	regs.rax = call[0];
	regs.rdi = call[1];
	regs.rsi = call[2];
	regs.rdx = call[3];
	regs.r10 = call[4];
	regs.r8 = call[5];
	regs.r9 = call[6];
	regs.rip = g->call;
	regs.rsp = frame;	/* its first word is where the call returns */
	return set(tid, &regs);
}

int tide__arch_run_stub(int tid, const struct tide__saved *s, uint64_t code,
			uint64_t data, uint64_t stack)
{
	struct user_regs_struct regs = s->regs;

	regs.rip = code;
	regs.rbx = data;
	regs.rsp = stack;
	return set(tid, &regs);
}

/* On the way into a call its result reads -ENOSYS. */
int tide__arch_result(int tid, const struct tide__gadgets *g, bool *there,
		      int64_t *result)
{
	struct user_regs_struct regs;
	struct iovec iov = { &regs, sizeof(regs) };

	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov) < 0)
		return -errno;
	*result = (int64_t)regs.rax;
	*there = regs.rip == g->call + 2 && regs.orig_rax == SYS_mmap &&
		 *result != -ENOSYS;
	return 0;
}

/*
 * The stub: a userfaultfd, wait to be told that it was fetched (a short while
 * awake, then 800 naps), close it, and out over the frames that are left. %rbx
 * points to struct tide__stub_data. It uses no stack.
 */
__asm__(".pushsection .rodata\n"
	".globl tide__stub_start, tide__stub_end\n"
	".hidden tide__stub_start, tide__stub_end\n"
	"tide__stub_start:\n"
	"	mov $323, %eax\n"		/* userfaultfd */
	"	mov 12(%rbx), %edi\n"
	"	syscall\n"
	"	mov %eax, 4(%rbx)\n"
	"	movl $1, (%rbx)\n"
	"	test %eax, %eax\n"
	"	js 4f\n"
	"	mov $2000, %r12d\n"
	"1:	cmpl $0, 8(%rbx)\n"
	"	jne 3f\n"
	"	pause\n"
	"	dec %r12d\n"
	"	jnz 1b\n"
	"	mov $800, %r12d\n"
	"2:	cmpl $0, 8(%rbx)\n"
	"	jne 3f\n"
	"	mov $35, %eax\n"		/* nanosleep */
	"	lea 16(%rbx), %rdi\n"
	"	xor %esi, %esi\n"
	"	syscall\n"
	"	dec %r12d\n"
	"	jnz 2b\n"
	"3:	movl $2, (%rbx)\n"		/* before the number is free */
	"	mov $3, %eax\n"			/* close */
	"	mov 4(%rbx), %edi\n"
	"	syscall\n"
	"4:	movl $3, (%rbx)\n"
	"	mov 32(%rbx), %rsp\n"
	"	jmp *40(%rbx)\n"
	"tide__stub_end:\n"
	".popsection\n");
_Static_assert(offsetof(struct tide__stub_data, frame) == 32 &&
	       offsetof(struct tide__stub_data, sigreturn) == 40,
	       "the stub counts on it");
