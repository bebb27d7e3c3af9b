/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repairing an image by its path, and for opening one that a writer with lazy
 * refcounts left dirty.
 */
#include <errno.h>

#include "disk/disk.h"
#include "qcow2/check/repair.h"

static int read_disk(void *opaque, uint64_t offset_bytes, void *buf,
		     uint64_t bytes, struct tide_error *err)
{
	return tide_disk_read(opaque, offset_bytes, buf, bytes, err);
}

static int write_disk(void *opaque, uint64_t offset_bytes, const void *buf,
		      uint64_t bytes, struct tide_error *err)
{
	struct tide_disk *d = opaque;
	uint64_t end = offset_bytes + bytes;
	int ret = 0;

	if (end > tide_disk_size(d))
		ret = tide_disk_resize(d, end, err);
	return ret < 0 ? ret :
			 tide_disk_write(d, offset_bytes, buf, bytes, err);
}

static int sync_disk(void *opaque, struct tide_error *err)
{
	return tide_disk_flush(opaque, err);
}

static int extend_disk(void *opaque, uint64_t size_bytes,
		       struct tide_error *err)
{
	struct tide_disk *d = opaque;

	return size_bytes > tide_disk_size(d) ?
		       tide_disk_resize(d, size_bytes, err) :
		       0;
}

static void ignore(void *opaque, const char *what)
{
	(void)opaque;
	(void)what;
}

int qcow2_repair_at(const char *path, const struct tide_disk_options *options,
		    const struct qcow2_repair_options *how,
		    qcow2_repair_fn *done, void *opaque,
		    struct tide_error *err)
{
	struct tide_disk_options o = { .writable = true,
				       .direct = options->direct,
				       .no_lock = options->no_lock,
				       .open_file = options->open_file,
				       .open_opaque = options->open_opaque };
	struct tide_disk *d;
	struct qcow2_reader reader = { .pread = read_disk, .path = path };
	struct qcow2_writer writer = { write_disk, sync_disk, extend_disk,
				       NULL };
	int ret = tide_disk_open_file(path, &o, &d, err), closed;

	if (ret < 0)
		return ret;
	reader.opaque = writer.opaque = d;
	reader.size_bytes = tide_disk_size(d);
	ret = qcow2_repair(&reader, &writer, how, done ? done : ignore, opaque,
			   err);
	closed = tide_disk_close(d, ret < 0 ? NULL : err);
	return ret < 0 ? ret : closed;
}

int qcow2_repair_path(const char *path, const struct tide_disk_options *options,
		      struct tide_error *err)
{
	const struct qcow2_repair_options careful = { .accept_loss = false };

	return qcow2_repair_at(path, options, &careful, NULL, NULL, err);
}
