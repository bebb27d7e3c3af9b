/* SPDX-License-Identifier: BSD-2-Clause */
#include "attach/gadgets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define PIECE (1u << 20)
#define OVERLAP 16	/* longer than what is looked for */

/* What cannot be read is passed over: it is not the only place to look. */
static void search_map(struct tide__gadgets *g, int pid,
		       const struct tide__map *m, unsigned char *buffer)
{
	for (uint64_t at = m->start; at < m->end; at += PIECE - OVERLAP) {
		uint64_t left = m->end - at;
		struct iovec here = { buffer, left < PIECE ? left : PIECE };
		struct iovec there = { (void *)(uintptr_t)at, here.iov_len };
		ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);

		if (n <= 0 ||
		    tide__arch_search(g, buffer, (size_t)n, at))
			return;
	}
}

int tide__gadgets_find(struct tide__gadgets *g, int pid,
		       const struct tide__maps *maps, struct tide_error *err)
{
	unsigned char *buffer = malloc(PIECE);

	if (!buffer)
		return tide_error_set(err, -ENOMEM, "attach", TIDE_NO_OFFSET,
				      "no memory to look for code");
	*g = (struct tide__gadgets){ 0, 0 };
	/* The C library first: it has both, and is small. */
	for (int others = 0; others < 2; others++)
		for (size_t i = 0; i < maps->count; i++) {
			const struct tide__map *m = &maps->map[i];
			bool libc = strstr(m->name, "libc") != NULL;

			if (!m->executable || m->writable || !m->readable ||
			    !strcmp(m->name, "[vsyscall]") ||
			    libc == (others == 1) ||
			    (g->call && g->sigreturn))
				continue;
			search_map(g, pid, m, buffer);
		}
	free(buffer);
	if (g->call && g->sigreturn)
		return 0;
	return tide_error_set(err, -ENOENT, "attach", TIDE_NO_OFFSET,
			      "process %d has no code that makes a system call "
			      "and returns, or may not be read", pid);
}
