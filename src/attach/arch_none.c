/* SPDX-License-Identifier: BSD-2-Clause */
/* A processor for which nobody wrote down how a thread is borrowed. */
#include "attach/arch.h"

#include <errno.h>

const bool tide__arch_supported = false;
const uint64_t tide__arch_mmap_nr, tide__arch_munmap_nr;
const unsigned char tide__stub_start[1], tide__stub_end[1];

bool tide__arch_search(struct tide__gadgets *g, const unsigned char *code,
		       size_t length, uint64_t address)
{
	(void)g, (void)code, (void)length, (void)address;
	return false;
}

int tide__arch_save(int tid, struct tide__saved **saved)
{
	(void)tid, (void)saved;
	return -EOPNOTSUPP;
}

void tide__arch_free(struct tide__saved *saved)
{
	(void)saved;
}

uint64_t tide__arch_stack(const struct tide__saved *saved)
{
	(void)saved;
	return 0;
}

uint64_t tide__arch_pc(const struct tide__saved *saved)
{
	(void)saved;
	return 0;
}

bool tide__arch_would_notice(const struct tide__saved *saved)
{
	(void)saved;
	return true;
}

size_t tide__arch_chain_bytes(const struct tide__saved *saved, int calls)
{
	(void)saved, (void)calls;
	return 0;
}

void tide__arch_chain(const struct tide__saved *saved,
		      const struct tide__gadgets *g, unsigned char *to,
		      uint64_t at, int calls, const uint64_t call[][7],
		      uint64_t frame[])
{
	(void)saved, (void)g, (void)to, (void)at, (void)calls, (void)call;
	(void)frame;
}

int tide__arch_call(int tid, const struct tide__saved *s,
		    const struct tide__gadgets *g, const uint64_t call[7],
		    uint64_t frame)
{
	(void)tid;
	(void)s;
	(void)g;
	(void)call;
	(void)frame;
	return -EOPNOTSUPP;
}

int tide__arch_take(int tid, const struct tide__saved *saved,
		    const struct tide__gadgets *g, uint64_t frame)
{
	(void)tid, (void)saved, (void)g, (void)frame;
	return -EOPNOTSUPP;
}

int tide__arch_run_stub(int tid, const struct tide__saved *saved,
			uint64_t code, uint64_t data, uint64_t stack)
{
	(void)tid, (void)saved, (void)code, (void)data, (void)stack;
	return -EOPNOTSUPP;
}

int tide__arch_result(int tid, const struct tide__gadgets *g, bool *there,
		      int64_t *result)
{
	(void)tid, (void)g, (void)there, (void)result;
	return -EOPNOTSUPP;
}

uint64_t tide__arch_exit_frame(uint64_t frame)
{
	return frame;
}
