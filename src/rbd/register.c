/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbd/disk.h"
#include "tidemark/disk_driver.h"

static int open_image(void *opaque, const char *path,
		      const struct tide_disk_options *options,
		      struct tide_disk **out, struct tide_error *err)
{
	(void)opaque;
	return ceph_disk_open(path, options, out, err);
}

void ceph_disk_register(void)
{
	static const struct tide_disk_driver driver = {
		.size = sizeof(driver), .name = "rbd", .scheme = "rbd",
		.open = open_image,
	};

	tide_disk_register(&driver, NULL);
}
