/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Borrowing a thread on arm64. Written from the kernel's documentation and
 * headers; it compiles, and has not run on such a machine yet.
 *
 * rt_sigreturn takes the frame from where the stack pointer stands. A `svc;
 * ret` returns to x30, which is set to the vDSO's `mov x8, #139; svc`. A call
 * that was cut off is seen here as if it had not begun: the kernel turns the
 * registers back before a debugger sees them, so they are simply restored.
 *
 * The frame carries the 128-bit vector registers. A thread whose longer ones
 * (SVE) are in use is not borrowed at that moment; inside of a system call they
 * never are.
 */
#include "attach/arch.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define SYSTEM_CALL_SET 0x404	/* NT_ARM_SYSTEM_CALL */
#define SVE_SET 0x405		/* NT_ARM_SVE */
#define SVE_IN_USE 1
#define GETSIGMASK 0x420a
#define FPSIMD_MAGIC 0x46508001u
#define FPSIMD_BYTES 528u
#define NO_SUCH_MODE 7	/* of an alternate stack: left as it is */

const bool tide__arch_supported = true;
const uint64_t tide__arch_mmap_nr = SYS_mmap;
const uint64_t tide__arch_munmap_nr = SYS_munmap;

struct registers {
	uint64_t x[31], sp, pc, pstate;
};

struct vectors {
	uint64_t v[64];
	uint32_t fpsr, fpcr, pad[2];
};

struct frame {
	unsigned char info[128];
	uint64_t flags, link, alt_sp;
	uint32_t alt_flags, alt_pad;
	uint64_t alt_size;
	uint64_t sigmask;
	unsigned char unused[120], align[8];
	uint64_t fault_address;
	struct registers regs;
	unsigned char align2[8];
	uint32_t magic, bytes, fpsr, fpcr;
	uint64_t v[64];
	uint32_t end_magic, end_bytes, pad[10];
};
_Static_assert(offsetof(struct frame, sigmask) == 168, "kernel's layout");
_Static_assert(offsetof(struct frame, fault_address) == 304, "kernel's layout");
_Static_assert(offsetof(struct frame, magic) == 592, "kernel's layout");
_Static_assert(offsetof(struct frame, end_magic) ==
	       592 + FPSIMD_BYTES, "kernel's layout");
_Static_assert(sizeof(struct frame) % 16 == 0, "frames stay aligned");

struct tide__saved {
	struct registers regs;
	struct vectors vectors;
	uint64_t sigmask;
};

bool tide__arch_search(struct tide__gadgets *g, const unsigned char *code,
		       size_t length, uint64_t address)
{
	static const uint32_t call[] = { 0xd4000001, 0xd65f03c0 };
	static const uint32_t sigreturn[] = { 0xd2801168, 0xd4000001 };

	for (size_t i = 0; i + 8 <= length; i += 4) {
		if (!g->call && !memcmp(code + i, call, 8))
			g->call = address + i;
		if (!g->sigreturn && !memcmp(code + i, sigreturn, 8))
			g->sigreturn = address + i;
		if (g->call && g->sigreturn)
			return true;
	}
	return false;
}

static int get(int tid, long set, void *to, size_t n)
{
	struct iovec iov = { to, n };

	return ptrace(PTRACE_GETREGSET, tid, set, &iov) < 0 ? -errno : 0;
}

static int put(int tid, long set, void *from, size_t n)
{
	struct iovec iov = { from, n };

	return ptrace(PTRACE_SETREGSET, tid, set, &iov) < 0 ? -errno : 0;
}

static bool sve_in_use(int tid)
{
	struct {
		uint32_t bytes, max_bytes;
		uint16_t vl, max_vl, flags, reserved;
	} head = { 0 };

	return !get(tid, SVE_SET, &head, sizeof(head)) &&
	       head.flags & SVE_IN_USE;
}

int tide__arch_save(int tid, struct tide__saved **out)
{
	struct tide__saved *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	ret = get(tid, NT_PRSTATUS, &s->regs, sizeof(s->regs));
	if (!ret)
		ret = get(tid, NT_PRFPREG, &s->vectors, sizeof(s->vectors));
	if (!ret && ptrace(GETSIGMASK, tid, sizeof(s->sigmask),
			   &s->sigmask) < 0)
		ret = -errno;
	if (!ret && s->regs.pstate & 0x10)
		ret = -EOPNOTSUPP;	/* 32-bit code */
	if (!ret && sve_in_use(tid))
		ret = -EAGAIN;
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
	return s->regs.sp;
}

uint64_t tide__arch_pc(const struct tide__saved *s)
{
	return s->regs.pc;
}

/* It cannot be told any more; such threads are asked last (threads.c). */
bool tide__arch_would_notice(const struct tide__saved *s)
{
	(void)s;
	return false;
}

size_t tide__arch_chain_bytes(const struct tide__saved *s, int calls)
{
	(void)s;
	return (size_t)(calls + 1) * sizeof(struct frame);
}

static void put_own(const struct tide__saved *s, struct frame *f)
{
	memset(f, 0, sizeof(*f));
	f->regs = s->regs;
	f->sigmask = s->sigmask;
	f->alt_flags = NO_SUCH_MODE;
	f->magic = FPSIMD_MAGIC;
	f->bytes = FPSIMD_BYTES;
	f->fpsr = s->vectors.fpsr;
	f->fpcr = s->vectors.fpcr;
	memcpy(f->v, s->vectors.v, sizeof(f->v));
}

void tide__arch_chain(const struct tide__saved *s,
		      const struct tide__gadgets *g, unsigned char *to,
		      uint64_t at, int calls, const uint64_t call[][7],
		      uint64_t frame[])
{
	for (int i = 0; i <= calls; i++) {
		size_t offset = (size_t)i * sizeof(struct frame);
		struct frame f;

		put_own(s, &f);
		if (i < calls) {
			f.regs.x[8] = call[i][0];
			memcpy(f.regs.x, &call[i][1], 6 * sizeof(uint64_t));
			f.regs.x[30] = g->sigreturn;
			f.regs.pc = g->call;
			f.regs.sp = at + offset + sizeof(f);
			f.sigmask = UINT64_MAX;
		}
		memcpy(to + offset, &f, sizeof(f));
		frame[i] = at + offset;
	}
}

uint64_t tide__arch_exit_frame(uint64_t frame)
{
	return frame;
}

static int set(int tid, struct registers *regs)
{
	int none = -1;	/* no call to start again */
	int ret = put(tid, SYSTEM_CALL_SET, &none, sizeof(none));

	return ret ? ret : put(tid, NT_PRSTATUS, regs, sizeof(*regs));
}

int tide__arch_take(int tid, const struct tide__saved *s,
		    const struct tide__gadgets *g, uint64_t frame)
{
	struct registers regs = s->regs;

	regs.pc = g->sigreturn;
	regs.sp = frame;
	return set(tid, &regs);
}

int tide__arch_call(int tid, const struct tide__saved *s,
		    const struct tide__gadgets *g, const uint64_t call[7],
		    uint64_t frame)
{
	struct registers regs = s->regs;

	for (int i = 0; i < 6; i++)
		regs.x[i] = call[1 + i];
	regs.x[8] = call[0];
	regs.x[30] = g->sigreturn;
	regs.pc = g->call;
	regs.sp = frame;
	return set(tid, &regs);
}

int tide__arch_run_stub(int tid, const struct tide__saved *s, uint64_t code,
			uint64_t data, uint64_t stack)
{
	struct registers regs = s->regs;

	regs.pc = code;
	regs.x[19] = data;
	regs.sp = stack;
	return set(tid, &regs);
}

/* x7 tells the way out of a call (1) from the way in (0). */
int tide__arch_result(int tid, const struct tide__gadgets *g, bool *there,
		      int64_t *result)
{
	struct registers regs;
	int nr, ret = get(tid, NT_PRSTATUS, &regs, sizeof(regs));

	if (!ret)
		ret = get(tid, SYSTEM_CALL_SET, &nr, sizeof(nr));
	if (ret)
		return ret;
	*result = (int64_t)regs.x[0];
	*there = regs.x[7] == 1 && regs.pc == g->call + 4 && nr == SYS_mmap;
	return 0;
}

/*
 * The stub: as on x86-64 (arch_x86_64.c); x19 points to struct
 * tide__stub_data. It leaves by `ret`, which needs no landing pad.
 */
__asm__(".pushsection .rodata\n"
	".balign 4\n"
	".globl tide__stub_start, tide__stub_end\n"
	".hidden tide__stub_start, tide__stub_end\n"
	"tide__stub_start:\n"
	"	mov x8, #282\n"			/* userfaultfd */
	"	ldr w0, [x19, #12]\n"
	"	svc #0\n"
	"	str w0, [x19, #4]\n"
	"	mov w1, #1\n"
	"	dmb ish\n"
	"	str w1, [x19]\n"
	"	tbnz w0, #31, 4f\n"
	"	mov w20, #2000\n"
	"1:	ldr w1, [x19, #8]\n"
	"	cbnz w1, 3f\n"
	"	yield\n"
	"	subs w20, w20, #1\n"
	"	b.ne 1b\n"
	"	mov w20, #800\n"
	"2:	ldr w1, [x19, #8]\n"
	"	cbnz w1, 3f\n"
	"	mov x8, #101\n"			/* nanosleep */
	"	add x0, x19, #16\n"
	"	mov x1, #0\n"
	"	svc #0\n"
	"	subs w20, w20, #1\n"
	"	b.ne 2b\n"
	"3:	mov w1, #2\n"			/* before the number is free */
	"	str w1, [x19]\n"
	"	dmb ish\n"
	"	mov x8, #57\n"			/* close */
	"	ldr w0, [x19, #4]\n"
	"	svc #0\n"
	"4:	mov w1, #3\n"
	"	str w1, [x19]\n"
	"	ldr x1, [x19, #32]\n"
	"	ldr x2, [x19, #40]\n"
	"	mov sp, x1\n"
	"	ret x2\n"
	"tide__stub_end:\n"
	".popsection\n");
_Static_assert(offsetof(struct tide__stub_data, frame) == 32 &&
	       offsetof(struct tide__stub_data, sigreturn) == 40,
	       "the stub counts on it");
