/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel interface of userfaultfd and PAGEMAP_SCAN, as far as it is used here.
 * Debian 12's headers (Linux 6.1) are older than WP_ASYNC and PAGEMAP_SCAN
 * (6.7), so the numbers stand here; they are those of the kernel's
 * Documentation/admin-guide/mm/{userfaultfd,pagemap}.rst.
 */
#ifndef TIDE_SOURCES_UFFD_ABI_H
#define TIDE_SOURCES_UFFD_ABI_H

#include <linux/ioctl.h>
#include <stdint.h>

#define TIDE__UFFD_USER_MODE_ONLY 1
#define TIDE__UFFD_API 0xAAull
#define TIDE__UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1ull << 12)
#define TIDE__UFFD_FEATURE_WP_UNPOPULATED (1ull << 13)
#define TIDE__UFFD_FEATURE_WP_ASYNC (1ull << 15)
#define TIDE__UFFD_REGISTER_MODE_WP (1ull << 1)
#define TIDE__UFFD_WRITEPROTECT_MODE_WP (1ull << 0)

struct tide__uffdio_api {
	uint64_t api, features, ioctls;
};
struct tide__uffdio_range {
	uint64_t start, len;
};
struct tide__uffdio_register {
	struct tide__uffdio_range range;
	uint64_t mode, ioctls;
};
struct tide__uffdio_writeprotect {
	struct tide__uffdio_range range;
	uint64_t mode;
};

#define TIDE__UFFDIO_API _IOWR(0xAA, 0x3F, struct tide__uffdio_api)
#define TIDE__UFFDIO_REGISTER _IOWR(0xAA, 0x00, struct tide__uffdio_register)
#define TIDE__UFFDIO_UNREGISTER _IOR(0xAA, 0x01, struct tide__uffdio_range)
#define TIDE__UFFDIO_WRITEPROTECT                                              \
	_IOWR(0xAA, 0x06, struct tide__uffdio_writeprotect)

/* Answers to missing faults. */
struct tide__uffdio_copy {
	uint64_t dst, src, len, mode;
	int64_t copy;
};
struct tide__uffdio_zeropage {
	struct tide__uffdio_range range;
	uint64_t mode;
	int64_t zeropage;
};

#define TIDE__UFFDIO_WAKE _IOR(0xAA, 0x02, struct tide__uffdio_range)
#define TIDE__UFFDIO_COPY _IOWR(0xAA, 0x03, struct tide__uffdio_copy)
#define TIDE__UFFDIO_ZEROPAGE _IOWR(0xAA, 0x04, struct tide__uffdio_zeropage)

#define TIDE__PAGE_IS_WRITTEN (1ull << 1)
#define TIDE__PM_SCAN_WP_MATCHING (1ull << 0)
#define TIDE__PM_SCAN_CHECK_WPASYNC (1ull << 1)

struct tide__page_region {
	uint64_t start, end, categories;
};
struct tide__pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask;
	uint64_t return_mask;
};
_Static_assert(sizeof(struct tide__pm_scan) == 96, "wire format");

#define TIDE__PAGEMAP_SCAN _IOWR('f', 16, struct tide__pm_scan)

#endif
