/* SPDX-License-Identifier: BSD-2-Clause */
#include "sources/uffd_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sources/uffd_abi.h"

#define REGIONS 512
#define NEAR (2u << 20)	/* bytes between what is asked for at once */

static const char origin[] = "uffd";

static int open_fd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK |
			      TIDE__UFFD_USER_MODE_ONLY);

	/*
	 * Guest writes fault in the kernel (KVM maps the page on the guest's
	 * behalf), but with WP_ASYNC nobody waits for a message, so the
	 * user-mode-only descriptor, which needs no privilege, serves.
	 */
	return fd < 0 ? -errno : fd;
}

int tide__uffd_enable(int uffd, struct tide_error *err)
{
	const uint64_t need = TIDE__UFFD_FEATURE_WP_UNPOPULATED |
			      TIDE__UFFD_FEATURE_WP_ASYNC |
			      TIDE__UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	struct tide__uffdio_api api = { .api = TIDE__UFFD_API,
					.features = need };

	if (!ioctl(uffd, TIDE__UFFDIO_API, &api))
		return 0;
	return tide_error_set(err, errno == EINVAL ? -EOPNOTSUPP : -errno,
			      origin, TIDE_NO_OFFSET,
			      "userfaultfd has no asynchronous write "
			      "protection here (Linux 6.7 or later)");
}

int tide__uffd_open(struct tide_error *err)
{
	int fd = open_fd(), ret;

	if (fd < 0)
		return tide_error_set(err, fd, origin, TIDE_NO_OFFSET,
				      "userfaultfd: %s", strerror(-fd));
	ret = tide__uffd_enable(fd, err);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

static int write_protect(int uffd, void *host, uint64_t len)
{
	struct tide__uffdio_writeprotect wp = {
		.range = { (uintptr_t)host, len },
		.mode = TIDE__UFFD_WRITEPROTECT_MODE_WP,
	};

	/* EAGAIN: the mapping is changing under us; it is a retry. */
	while (ioctl(uffd, TIDE__UFFDIO_WRITEPROTECT, &wp) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return 0;
}

static void ignore(void *opaque, uint64_t offset, uint64_t len)
{
	(void)opaque;
	(void)offset;
	(void)len;
}

int tide__uffd_arm(int uffd, int pagemap, void *host, uint64_t len,
		   struct tide_error *err)
{
	struct tide__uffdio_register reg = {
		.range = { (uintptr_t)host, len },
		.mode = TIDE__UFFD_REGISTER_MODE_WP,
	};
	int ret;

	if (ioctl(uffd, TIDE__UFFDIO_REGISTER, &reg) < 0)
		return tide_error_set(err, -errno, origin, (uintptr_t)host,
				      "cannot register %llu bytes of guest "
				      "memory: %s", (unsigned long long)len,
				      strerror(errno));
	ret = write_protect(uffd, host, len);
	if (ret) {
		tide__uffd_disarm(uffd, host, len);
		return tide_error_set(err, ret, origin, (uintptr_t)host,
				      "cannot write-protect guest memory: %s",
				      strerror(-ret));
	}
	/* The first scan may report pages that were never armed: ignored. */
	ret = tide__uffd_scan(pagemap, host, len, ignore, NULL, err);
	if (ret)
		tide__uffd_disarm(uffd, host, len);
	return ret;
}

int tide__uffd_disarm(int uffd, void *host, uint64_t len)
{
	struct tide__uffdio_range range = { (uintptr_t)host, len };

	return ioctl(uffd, TIDE__UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

struct scanning {
	int pagemap;
	uint64_t base;
	void (*report)(void *opaque, uint64_t offset_bytes, uint64_t len_bytes);
	void *opaque;
	struct tide_error *err;
};

/* One step from @scan->start on: how many regions, or -errno. */
static int scan_some(const struct scanning *s, struct tide__pm_scan *scan)
{
	int n;

	do
		n = ioctl(s->pagemap, TIDE__PAGEMAP_SCAN, scan);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return tide_error_set(s->err, -errno, origin, scan->start,
				      "PAGEMAP_SCAN: %s%s", strerror(errno),
				      errno == EPERM ? "; guest memory was "
				      "mapped anew behind the tracker's back" :
				      "");
	if (scan->walk_end <= scan->start)
		return tide_error_set(s->err, -EILSEQ, origin, scan->start,
				      "PAGEMAP_SCAN does not advance");
	return n;
}

static struct tide__pm_scan scan_of(uint64_t start, uint64_t end, bool protect,
				    struct tide__page_region regions[REGIONS])
{
	return (struct tide__pm_scan){
		.size = sizeof(struct tide__pm_scan),
		.flags = TIDE__PM_SCAN_CHECK_WPASYNC |
			 (protect ? TIDE__PM_SCAN_WP_MATCHING : 0),
		.start = start,
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = REGIONS,
		.category_mask = TIDE__PAGE_IS_WRITTEN,
		.return_mask = TIDE__PAGE_IS_WRITTEN,
	};
}

/* What was written of [@start, @end) is reported, and protected again. */
static int take(const struct scanning *s, uint64_t start, uint64_t end)
{
	struct tide__page_region regions[REGIONS];
	struct tide__pm_scan scan = scan_of(start, end, true, regions);

	while (scan.start < scan.end) {
		int n = scan_some(s, &scan);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++)
			s->report(s->opaque, regions[i].start - s->base,
				  regions[i].end - regions[i].start);
		scan.start = scan.walk_end;
	}
	return 0;
}

/*
 * To protect is not asked of all of it. The kernel would have to tell all who
 * keep tables of their own beside these: KVM then forgets where the whole guest
 * is, and the guest waits for each of its pages once more. So a first look only
 * finds what was written, and the second one goes there. What is written in
 * between is found there, too, or it is found the next time.
 */
int tide__uffd_scan(int pagemap, void *host, uint64_t len,
		    void (*report)(void *opaque, uint64_t offset_bytes,
				   uint64_t len_bytes),
		    void *opaque, struct tide_error *err)
{
	const struct scanning s = { pagemap, (uintptr_t)host, report, opaque,
				    err };
	struct tide__page_region regions[REGIONS];
	struct tide__pm_scan scan = scan_of(s.base, s.base + len, false,
					    regions);
	int ret = 0;

	while (!ret && scan.start < scan.end) {
		int n = scan_some(&s, &scan);

		if (n < 0)
			return n;
		for (int i = 0, next; !ret && i < n; i = next) {
			next = i + 1;
			while (next < n && regions[next].start -
					       regions[next - 1].end <= NEAR)
				next++;
			ret = take(&s, regions[i].start, regions[next - 1].end);
		}
		scan.start = scan.walk_end;
	}
	return ret;
}
