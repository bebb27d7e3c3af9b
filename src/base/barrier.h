/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asymmetric barriers: who passes often pays nothing, who passes rarely makes
 * every thread of the process pass a full barrier, by membarrier(2), private
 * and expedited. Threads that run get an interrupt for it, some microseconds;
 * for those that do not run, being switched away was one.
 */
#ifndef TIDE_BASE_BARRIER_H
#define TIDE_BASE_BARRIER_H

#include <linux/membarrier.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Before the first tide__barrier_all. False: not here; use fences. */
static inline bool tide__barrier_register(void)
{
#ifdef __SANITIZE_THREAD__	/* which knows no membarrier */
	return false;
#else
	return !syscall(SYS_membarrier,
			MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
#endif
}

/* False: there was no barrier. A child of fork() may have to register anew. */
static inline bool tide__barrier_all(void)
{
	int command = MEMBARRIER_CMD_PRIVATE_EXPEDITED;

	return !syscall(SYS_membarrier, command, 0, 0) ||
	       (tide__barrier_register() &&
		!syscall(SYS_membarrier, command, 0, 0));
}

#endif
