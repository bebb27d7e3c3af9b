/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Can another process be tracked on this kernel?
 *
 * Tried on a child with 4 MiB of memory, which writes where it is told: after
 * attaching, a write is reported, once, and nothing else is; memory given back
 * is; and when we have let go the child has nothing of ours and lives.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach/attach.h"
#include "sources/source.h"
#include "sources/uffd_map.h"

#define PAGES 1024
#define SPAN (PAGES * TIDE__PAGE_BYTES)
#define GIVE_BACK 0x80000000u

struct probe {
	int ask, answer;	/* ends of pipes */
	char *map;		/* at the same address in the child */
	unsigned char seen[PAGES];
	struct tide__attach a;
	struct tide_error *err;
};

/* The child: a page number in, the deed, the number out. */
static void serve(const struct probe *p, int ask, int answer)
{
	uint32_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(ask, &n, sizeof(n)) == (ssize_t)sizeof(n)) {
		char *page = p->map + (n & ~GIVE_BACK) * TIDE__PAGE_BYTES;

		if (n & GIVE_BACK)
			madvise(page, TIDE__PAGE_BYTES, MADV_DONTNEED);
		else
			page[7]++;
		if (write(answer, &n, sizeof(n)) != (ssize_t)sizeof(n))
			break;
	}
	_exit(0);
}

static int wrong(struct probe *p, const char *what)
{
	return tide_error_set(p->err, -EILSEQ, "attach", TIDE_NO_OFFSET,
			      "self-test: %s", what);
}

static int tell(struct probe *p, uint32_t n)
{
	if (write(p->ask, &n, sizeof(n)) != (ssize_t)sizeof(n) ||
	    read(p->answer, &n, sizeof(n)) != (ssize_t)sizeof(n))
		return wrong(p, "the child died");
	return 0;
}

static void note(void *opaque, uint64_t offset, uint64_t len)
{
	struct probe *p = opaque;

	memset(p->seen + offset / TIDE__PAGE_BYTES, 1, len / TIDE__PAGE_BYTES);
}

/* Does a scan report page @n and nothing else? */
static int expect(struct probe *p, uint32_t n, const char *missed)
{
	uint64_t others = 0;
	int ret;

	memset(p->seen, 0, sizeof(p->seen));
	ret = tide__uffd_scan(p->a.pagemap, p->map, SPAN, note, p, p->err);
	if (ret)
		return ret;
	for (uint32_t i = 0; i < PAGES; i++)
		others += i != n && p->seen[i];
	if (!p->seen[n])
		return wrong(p, missed);
	return others ? wrong(p, "pages that were not written were reported")
		      : 0;
}

static int track(struct probe *p)
{
	int ret = tide__uffd_arm(p->a.uffd, p->a.pagemap, p->map, SPAN, p->err);

	if (!ret)
		ret = tell(p, 5);
	if (!ret)
		ret = expect(p, 5, "a write was not reported");
	if (!ret)
		ret = tell(p, 700);
	if (!ret)
		ret = expect(p, 700, "a second write was not reported");
	if (!ret)
		ret = tell(p, 5 | GIVE_BACK);
	if (!ret)
		ret = expect(p, 5, "memory given back was not reported");
	return ret;
}

static int run(struct probe *p, pid_t child)
{
	int ret = tell(p, 0);	/* it runs */

	if (!ret)
		ret = tide__attach_open(&p->a, child, NULL, p->err);
	if (ret)
		return ret;
	ret = track(p);
	tide__attach_close(&p->a);
	return ret ? ret : tell(p, 1);
}

static int with_pipes(struct probe *p, int in[2], int out[2])
{
	pid_t child = fork();
	int ret;

	if (child < 0)
		return wrong(p, "no child process");
	if (!child) {
		close(in[1]);
		close(out[0]);
		serve(p, in[0], out[1]);
	}
	close(in[0]);
	close(out[1]);
	in[0] = out[1] = -1;
	p->ask = in[1];
	p->answer = out[0];
	ret = run(p, child);
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return ret;
}

static void close_pair(const int fd[2])
{
	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

int tide__probe_foreign(struct tide_error *err)
{
	struct probe p = { .err = err };
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, ret;

	p.map = mmap(NULL, SPAN, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p.map == MAP_FAILED)
		return wrong(&p, "cannot map memory");
	/* Single pages are counted here. */
	madvise(p.map, SPAN, MADV_NOHUGEPAGE);
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		ret = wrong(&p, "no pipe");
	else
		ret = with_pipes(&p, in, out);
	close_pair(in);
	close_pair(out);
	munmap(p.map, SPAN);
	return ret;
}
