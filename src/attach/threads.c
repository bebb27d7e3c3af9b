/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which thread is borrowed.
 *
 * Best is one that sleeps in a system call that the kernel, or we, can start
 * again without anybody noticing. Next one that runs. Last those whose call
 * comes back with EINTR, or with a rest of time: programs must expect that, but
 * not all do.
 */
#include "attach/threads.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

static const long noticed[] = {
	SYS_nanosleep, SYS_clock_nanosleep, SYS_epoll_pwait, SYS_semop,
	SYS_semtimedop, SYS_rt_sigtimedwait, SYS_io_getevents, SYS_ioctl,
#ifdef SYS_poll
	SYS_poll,
#endif
#ifdef SYS_epoll_wait
	SYS_epoll_wait,
#endif
};

static int rank_of(int pid, int tid)
{
	char path[64], line[256] = "";
	FILE *file;
	long nr;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	file = fopen(path, "re");
	if (!file)
		return 2;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	if (line[0] < '0' || line[0] > '9')
		return 1;	/* "running" */
	nr = atol(line);
	for (size_t i = 0; i < sizeof(noticed) / sizeof(*noticed); i++)
		if (noticed[i] == nr)
			return 3;
	return 0;
}

static int by_rank(const void *a, const void *b)
{
	const struct tide__thread *x = a, *y = b;

	return x->rank != y->rank ? x->rank - y->rank : x->tid - y->tid;
}

size_t tide__threads_list(int pid, struct tide__thread *thread, size_t max)
{
	char path[32];
	struct dirent *e;
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return 0;
	while (n < max && (e = readdir(d))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		thread[n].tid = atoi(e->d_name);
		thread[n].rank = rank_of(pid, thread[n].tid);
		n++;
	}
	closedir(d);
	qsort(thread, n, sizeof(*thread), by_rank);
	return n;
}
