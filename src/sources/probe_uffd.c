/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Self-test: does userfaultfd tracking work correctly on this kernel?
 *
 * Each assumption of the source is tested on a mapping of 4 MiB: a write to a
 * page is reported, exactly once, and nothing else; a page that was never
 * touched can be armed; memory given back with MADV_DONTNEED is reported, also
 * a whole huge page at once (kernels before July 2026 lose it); and memory
 * mapped anew is refused instead of skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sources/source.h"
#include "sources/uffd_map.h"

#define HUGE (2ull << 20)
#define SPAN (2 * HUGE)
#define PAGES (SPAN / TIDE__PAGE_BYTES)

struct probe {
	int uffd, pagemap;
	char *map;			/* SPAN bytes, aligned to HUGE */
	unsigned char seen[PAGES];
	struct tide_error *err;
};

static void note(void *opaque, uint64_t offset, uint64_t len)
{
	struct probe *p = opaque;

	memset(p->seen + offset / TIDE__PAGE_BYTES, 1, len / TIDE__PAGE_BYTES);
}

static int scan(struct probe *p)
{
	memset(p->seen, 0, sizeof(p->seen));
	return tide__uffd_scan(p->pagemap, p->map, SPAN, note, p, p->err);
}

static int wrong(struct probe *p, const char *what)
{
	return tide_error_set(p->err, -EILSEQ, "uffd", TIDE_NO_OFFSET,
			      "self-test: %s", what);
}

/* How many of the pages [first, first + count) the last scan reported. */
static uint64_t seen(const struct probe *p, uint64_t first, uint64_t count)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < count; i++)
		n += p->seen[first + i];
	return n;
}

static int writes_are_reported_once(struct probe *p)
{
	int ret;

	p->map[5 * TIDE__PAGE_BYTES] = 1;
	p->map[700 * TIDE__PAGE_BYTES + 9] = 1;
	ret = scan(p);
	if (ret)
		return ret;
	if (!p->seen[5] || !p->seen[700])
		return wrong(p, "a write was not reported");
	/* A huge page may report its 512 together; more is a lie. */
	if (seen(p, 0, PAGES) > 2)
		return wrong(p, "pages were reported that nobody wrote");
	ret = scan(p);
	if (ret)
		return ret;
	if (seen(p, 0, PAGES))
		return wrong(p, "a write was reported twice");
	return 0;
}

static int dontneed_is_reported(struct probe *p)
{
	int ret;

	p->map[5 * TIDE__PAGE_BYTES] = 2;
	ret = scan(p);
	if (ret)
		return ret;
	if (madvise(p->map + 5 * TIDE__PAGE_BYTES, TIDE__PAGE_BYTES,
		    MADV_DONTNEED))
		return wrong(p, "MADV_DONTNEED is refused on armed memory");
	ret = scan(p);
	if (ret)
		return ret;
	return p->seen[5] ? 0 : wrong(p, "MADV_DONTNEED of a page was lost");
}

static int huge_dontneed_is_reported(struct probe *p)
{
	int ret;

	memset(p->map, 3, HUGE);
	ret = scan(p);
	if (!ret)
		ret = scan(p);
	if (ret)
		return ret;
	madvise(p->map, HUGE, MADV_DONTNEED);
	ret = scan(p);
	if (ret)
		return ret;
	if (seen(p, 0, HUGE / TIDE__PAGE_BYTES) != HUGE / TIDE__PAGE_BYTES)
		return wrong(p, "MADV_DONTNEED of a huge page was lost (a "
				"kernel from before July 2026)");
	return 0;
}

static int new_mapping_is_refused(struct probe *p)
{
	void *again = mmap(p->map, HUGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	struct tide_error *keep = p->err;
	int ret;

	if (again == MAP_FAILED)
		return wrong(p, "cannot map memory");
	p->err = NULL;
	ret = scan(p);
	p->err = keep;
	if (ret != -EPERM)
		return wrong(p, "memory mapped anew is passed over in silence");
	return 0;
}

static int run(struct probe *p)
{
	static int (*const checks[])(struct probe *) = {
		writes_are_reported_once,
		dontneed_is_reported,
		huge_dontneed_is_reported,
		new_mapping_is_refused,
	};
	int ret = tide__uffd_arm(p->uffd, p->pagemap, p->map, SPAN, p->err);

	for (size_t i = 0; !ret && i < sizeof(checks) / sizeof(*checks); i++)
		ret = checks[i](p);
	return ret;
}

int tide__probe_uffd(struct tide_error *err)
{
	struct probe p = { .pagemap = -1, .err = err };
	char *area = MAP_FAILED;
	int ret;

	if (sysconf(_SC_PAGESIZE) != TIDE__PAGE_BYTES)
		return tide_error_set(err, -EOPNOTSUPP, "uffd", TIDE_NO_OFFSET,
				      "host pages are not of 4 KiB");
	ret = p.uffd = tide__uffd_open(err);
	if (ret < 0)
		return ret;
	p.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	area = mmap(NULL, SPAN + HUGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p.pagemap < 0 || area == MAP_FAILED) {
		ret = tide_error_set(err, -errno, "uffd", TIDE_NO_OFFSET,
				     "self-test: %s", strerror(errno));
	} else {
		p.map = area + (-(uintptr_t)area & (HUGE - 1));
		madvise(p.map, SPAN, MADV_HUGEPAGE);
		ret = run(&p);
	}
	if (area != MAP_FAILED)
		munmap(area, SPAN + HUGE);
	if (p.pagemap >= 0)
		close(p.pagemap);
	close(p.uffd);
	return ret;
}
