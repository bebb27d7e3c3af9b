/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark/qcow2.h: what src/qcow2 offers for images at rest, by path, and in
 * structs that may grow.
 */
#include "tidemark/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sized.h"
#include "disk/disk.h"
#include "disk/file_lock.h"
#include "qcow2/check/repair.h"
#include "qcow2/driver/create.h"
#include "qcow2/format/kinds_load.h"

_Static_assert((int)TIDE_QCOW2_PROBLEM_TYPES == (int)QCOW2_PROBLEM_COUNT &&
		       (int)TIDE_QCOW2_NOTE == (int)QCOW2_PROBLEM_NOTE &&
		       (int)TIDE_QCOW2_LEAK == (int)QCOW2_PROBLEM_LEAK &&
		       (int)TIDE_QCOW2_COPIED == (int)QCOW2_PROBLEM_COPIED &&
		       (int)TIDE_QCOW2_OVERLAP == (int)QCOW2_PROBLEM_OVERLAP,
	       "types are passed on as they are");

static int bad(struct tide_error *err, const char *path, const char *what)
{
	return tide_error_set(err, -EINVAL, "qcow2", TIDE_NO_OFFSET, "%s: %s",
			      path, what);
}

/* --- create --------------------------------------------------------------- */

/* log2 of a power of two from 1 to 64; else -1. */
static int order_of(uint32_t bits)
{
	if (!bits || bits > 64 || bits & (bits - 1))
		return -1;
	return __builtin_ctz(bits);
}

int tide_qcow2_create(const char *path,
		      const struct tide_qcow2_create_options *options,
		      struct tide_error *err)
{
	struct tide_qcow2_create_options o = { 0 };
	struct qcow2_create_options own = { 0 };

	if (!tide__sized_take(&o, sizeof(o), options,
			      options->size ? options->size : sizeof(o)))
		return bad(err, path, "options of a later version");
	if (o.refcount_bits && order_of(o.refcount_bits) < 0)
		return bad(err, path, "refcounts have 1, 2, 4, ... 64 bits");
	own = (struct qcow2_create_options){
		.size_bytes = o.disk_bytes,
		.cluster_bits = o.cluster_bits,
		.version = o.version,
		.default_refcounts = !o.refcount_bits,
		.extended_l2 = o.extended_l2,
		.zstd = o.zstd,
		.backing_name = o.backing_name,
		.backing_format = o.backing_format,
		.data_file = o.data_file,
	};
	if (o.refcount_bits)
		own.refcount_order = (uint32_t)order_of(o.refcount_bits);
	return qcow2_create(path, &own, err);
}

/* --- an image that is read ------------------------------------------------ */

struct image {
	int fd;
	struct qcow2_reader reader;
	struct qcow2_header header;
};

/* O_NONBLOCK: a fifo is to be refused, not waited for. */
static int open_fd(const char *path, int *fd, struct tide_error *err)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return tide_error_set(err, -errno, "qcow2", TIDE_NO_OFFSET,
				      "%s: %s", path, strerror(errno));
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		return 0;
	return bad(err, path, "neither a regular file nor a block device");
}

static int image_open(struct image *image, const char *path, uint32_t flags,
		      bool tolerant, struct tide_error *err)
{
	int ret = flags & ~(uint32_t)TIDE_QCOW2_FORCE_SHARE
			  ? bad(err, path, "flags that are not known")
			  : 0;

	image->fd = -1;
	if (!ret)
		ret = open_fd(path, &image->fd, err);
	if (!ret && !(flags & TIDE_QCOW2_FORCE_SHARE))
		ret = tide__lock_fd(image->fd, false, path, err);
	if (!ret)
		ret = qcow2_reader_fd(&image->reader, &image->fd, path, err);
	if (!ret)
		ret = qcow2_header_read(&image->reader, tolerant,
					&image->header, err);
	if (ret && image->fd >= 0)
		close(image->fd);
	return ret;
}

static void image_close(struct image *image)
{
	qcow2_header_fini(&image->header);
	close(image->fd);
}

/* --- check ---------------------------------------------------------------- */

struct listener {
	void (*each)(void *opaque, const struct tide_qcow2_problem *problem);
	void *opaque;
};

static void tell(void *opaque, const struct qcow2_problem *p)
{
	const struct listener *l = opaque;
	const struct tide_qcow2_problem problem = {
		.type = (enum tide_qcow2_problem_type)p->type,
		.offset_bytes = p->offset_bytes,
		.text = p->text,
	};

	l->each(l->opaque, &problem);
}

static void fill_verdict(struct tide_qcow2_verdict *out,
			 const struct qcow2_check *c)
{
	struct tide_qcow2_verdict v = {
		.size = out->size,
		.corruptions = qcow2_check_corruptions(c),
		.clusters = c->clusters,
		.used_clusters = c->used_clusters,
		.guest_clusters = c->guest_clusters,
		.data_clusters = c->data_clusters,
		.packed_clusters = c->packed_clusters,
		.zero_clusters = c->zero_clusters,
	};
	size_t size = out->size && out->size < sizeof(v) ? out->size
							 : sizeof(v);

	for (int i = 0; i < QCOW2_PROBLEM_COUNT; i++)
		v.found[i] = c->found[i];
	memcpy(out, &v, size);
}

int tide_qcow2_check(const char *path, uint32_t flags,
		     void (*each)(void *opaque,
				  const struct tide_qcow2_problem *problem),
		     void *opaque, struct tide_qcow2_verdict *verdict,
		     struct tide_error *err)
{
	struct listener l = { each, opaque };
	struct qcow2_check found;
	struct image image;
	int ret = image_open(&image, path, flags, true, err);

	if (ret)
		return ret;
	ret = qcow2_check(&image.reader, &image.header, each ? tell : NULL, &l,
			  &found, NULL, err);
	if (!ret)
		ret = qcow2_check_names(path, &image.header,
					each ? tell : NULL, &l, &found, err);
	if (!ret)
		fill_verdict(verdict, &found);
	image_close(&image);
	return ret;
}

/* --- repair --------------------------------------------------------------- */

int tide_qcow2_repair(const char *path, uint32_t flags,
		      void (*done)(void *opaque, const char *what),
		      void *opaque, struct tide_error *err)
{
	const struct tide_disk_options plain = { .writable = true };
	const struct qcow2_repair_options options = {
		.accept_loss = flags & TIDE_QCOW2_ACCEPT_LOSS,
	};

	if (flags & ~(uint32_t)TIDE_QCOW2_ACCEPT_LOSS)
		return bad(err, path, "flags that are not known");
	return qcow2_repair_at(path, &plain, &options, done, opaque, err);
}

/* --- the map of its metadata ---------------------------------------------- */

int tide_qcow2_kinds(const char *path, uint32_t flags, struct tide_kinds **out,
		     struct tide_error *err)
{
	struct tide_kinds *kinds = NULL;
	struct image image;
	int ret = image_open(&image, path, flags, false, err);

	if (ret)
		return ret;
	ret = tide_kinds_create(&kinds, image.header.cluster_bits, err);
	if (!ret)
		ret = qcow2_kinds_load(&image.reader, &image.header, kinds,
				       err);
	image_close(&image);
	if (ret)
		tide_kinds_destroy(kinds);
	else
		*out = kinds;
	return ret;
}
