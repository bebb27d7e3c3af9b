/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A new image: header, refcount table, refcount blocks and L1 table, in that
 * order from the start of the file, all counted. Nothing else is allocated.
 */
#include "qcow2/driver/create.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "qcow2/format/header.h"
#include "qcow2/driver/qcow2.h"
#include "qcow2/format/counts.h"

struct plan {
	uint64_t cluster;
	uint64_t l1_entries, l1_clusters;
	uint64_t blocks, table_clusters, total;
	struct qcow2_header h;
};

static int bad(struct tide_error *err, const char *why)
{
	return tide_error_set(err, -EINVAL, "qcow2", TIDE_NO_OFFSET, "%s", why);
}

static int check(const struct qcow2_create_options *o, uint32_t version,
		 uint32_t bits, struct tide_error *err)
{
	if (bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS)
		return bad(err, "clusters are 512 bytes to 2 MiB, and a power "
				"of two");
	if (version != 2 && version != 3)
		return bad(err, "the version is 2 or 3");
	if (!o->default_refcounts && o->refcount_order > 6)
		return bad(err, "refcounts have 1 to 64 bits, and a power of "
				"two");
	if (version == 2 &&
	    (o->extended_l2 || o->zstd || o->lazy_refcounts || o->data_file ||
	     (!o->default_refcounts && o->refcount_order != 4)))
		return bad(err, "version 2 has no feature bits: no extended "
				"L2, zstd, lazy refcounts, data file or other "
				"refcounts than of 16 bits");
	if (o->extended_l2 && bits < 14)
		return bad(err, "extended L2 needs clusters of 16 KiB or more");
	if (o->data_file && o->backing_name)
		return bad(err, "an image with a data file has no backing "
				"file");
	if (o->backing_format && !o->backing_name)
		return bad(err, "a backing format without a backing file");
	if (o->size_bytes > (uint64_t)INT64_MAX - (2u << 20))
		return bad(err, "no disk has so many bytes");
	return 0;
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

/* How many clusters of each; tables count themselves. */
static int plan_clusters(struct plan *p, const struct qcow2_create_options *o,
			 struct tide_error *err)
{
	uint64_t per_block = 1ull << qcow2_refblock_bits(&p->h), before;
	uint64_t span = p->cluster << qcow2_l2_bits(&p->h);

	p->l1_entries = divide_up(o->size_bytes, span);
	if (p->l1_entries * 8 > QCOW2_MAX_L1_BYTES)
		return tide_error_set(err, -EFBIG, "qcow2", TIDE_NO_OFFSET,
				      "%llu bytes need an L1 table of more "
				      "than 32 MiB; use larger clusters",
				      (unsigned long long)o->size_bytes);
	p->l1_clusters = divide_up(p->l1_entries * 8, p->cluster);
	p->blocks = p->table_clusters = 1;
	do {
		before = p->total;
		p->total = 1 + p->table_clusters + p->blocks + p->l1_clusters;
		p->blocks = divide_up(p->total, per_block);
		p->table_clusters = divide_up(p->blocks * 8, p->cluster);
	} while (before != p->total);
	return 0;
}

static int make_plan(struct plan *p, const struct qcow2_create_options *o,
		     struct tide_error *err)
{
	struct qcow2_header *h = &p->h;
	int ret;

	memset(p, 0, sizeof(*p));
	h->version = o->version ? o->version : 3;
	h->cluster_bits = o->cluster_bits ? o->cluster_bits : 16;
	h->refcount_order = o->default_refcounts ? 4 : o->refcount_order;
	ret = check(o, h->version, h->cluster_bits, err);
	if (ret < 0)
		return ret;
	h->size_bytes = o->size_bytes;
	h->header_bytes = h->version == 2 ? QCOW2_V2_HEADER_BYTES :
					    QCOW2_V3_HEADER_BYTES + 8;
	if (o->extended_l2)
		h->incompatible |= QCOW2_INCOMPAT_EXTENDED_L2;
	if (o->data_file)
		h->incompatible |= QCOW2_INCOMPAT_DATA_FILE;
	if (o->zstd) {
		h->incompatible |= QCOW2_INCOMPAT_COMPRESSION;
		h->compression = QCOW2_COMPRESSION_ZSTD;
	}
	if (o->lazy_refcounts)
		h->compatible |= QCOW2_COMPAT_LAZY_REFCOUNTS;
	/* Borrowed for the encoding only. */
	h->backing_name = (char *)o->backing_name;
	h->backing_format = (char *)o->backing_format;
	h->data_file = (char *)o->data_file;
	p->cluster = 1ull << h->cluster_bits;
	ret = plan_clusters(p, o, err);
	h->reftable_offset = p->cluster;
	h->reftable_clusters = (uint32_t)p->table_clusters;
	h->l1_entries = (uint32_t)p->l1_entries;
	h->l1_offset = p->l1_clusters ? (1 + p->table_clusters + p->blocks) *
						p->cluster
				      : 0;
	return ret;
}

static int put(int fd, const char *path, const void *bytes, uint64_t length,
	       uint64_t offset, struct tide_error *err)
{
	const uint8_t *at = bytes;

	while (length) {
		ssize_t n = pwrite(fd, at, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return tide_error_set(err, n ? -errno : -EIO, "qcow2",
					      offset, "%s: writing at offset "
					      "%llu: %s", path,
					      (unsigned long long)offset,
					      strerror(n ? errno : EIO));
		at += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

static int write_counts(const struct plan *p, int fd, const char *path,
			struct tide_error *err)
{
	uint64_t bytes = (p->table_clusters + p->blocks) * p->cluster;
	uint64_t per_block = 1ull << qcow2_refblock_bits(&p->h);
	uint8_t *raw = calloc(1, bytes);
	uint8_t *blocks;
	int ret;

	if (!raw)
		return tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
				      "no memory to create %s", path);
	blocks = raw + p->table_clusters * p->cluster;
	for (uint64_t i = 0; i < p->blocks; i++)
		tide__put_be(raw + 8 * i,
			     (1 + p->table_clusters + i) * p->cluster, 8);
	for (uint64_t c = 0; c < p->total; c++)
		qcow2_count_set(blocks + c / per_block * p->cluster,
				c % per_block, p->h.refcount_order, 1);
	ret = put(fd, path, raw, bytes, p->cluster, err);
	free(raw);
	return ret;
}

static int write_image(const struct plan *p, int fd, const char *path,
		       struct tide_error *err)
{
	uint8_t *first = malloc(p->cluster);
	int ret;

	if (!first)
		return tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
				      "no memory to create %s", path);
	ret = qcow2_header_encode(&p->h, first, p->cluster, err);
	if (ret == 0 && ftruncate(fd, (off_t)(p->total * p->cluster)) < 0)
		ret = tide_error_set(err, -errno, "qcow2", TIDE_NO_OFFSET,
				     "%s: %s", path, strerror(errno));
	if (ret == 0)
		ret = write_counts(p, fd, path, err);
	/* The header last: before it is there, this is no image. */
	if (ret == 0)
		ret = put(fd, path, first, p->cluster, 0, err);
	if (ret == 0 && fsync(fd) < 0)
		ret = tide_error_set(err, -errno, "qcow2", TIDE_NO_OFFSET,
				     "%s: %s", path, strerror(errno));
	free(first);
	return ret;
}

/* Beside the image, as its reader will look for it. */
static int create_data(const char *path, const char *name, uint64_t size,
		       struct tide_error *err)
{
	const char *slash = strrchr(path, '/');
	struct stat st;
	char *full;
	bool made = true;
	int fd, ret = 0;

	if (name[0] == '/' || !slash)
		full = strdup(name);
	else if (asprintf(&full, "%.*s/%s", (int)(slash - path), path, name) <
		 0)
		full = NULL;
	fd = full ? open(full, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644) :
		    -1;
	if (full && fd < 0 && errno == EEXIST) {
		made = false;
		fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		ret = tide_error_set(err, full ? -errno : -ENOMEM, "qcow2",
				     TIDE_NO_OFFSET, "data file %s: %s", name,
				     strerror(errno));
	else if (!made && S_ISREG(st.st_mode) && (uint64_t)st.st_size < size)
		ret = tide_error_set(err, -EINVAL, "qcow2", TIDE_NO_OFFSET,
				     "data file %s is there already, and with "
				     "%llu bytes shorter than the disk", full,
				     (unsigned long long)st.st_size);
	else if (made && ftruncate(fd, (off_t)size) < 0)
		ret = tide_error_set(err, -errno, "qcow2", TIDE_NO_OFFSET,
				     "data file %s: %s", full, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (made && fd >= 0 && ret < 0)
		unlink(full);
	free(full);
	return ret;
}

int qcow2_create(const char *path, const struct qcow2_create_options *o,
		 struct tide_error *err)
{
	struct plan p;
	int fd, ret = make_plan(&p, o, err);

	if (ret < 0)
		return ret;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return tide_error_set(err, -errno, "qcow2", TIDE_NO_OFFSET,
				      "%s: %s", path, strerror(errno));
	if (o->data_file)
		ret = create_data(path, o->data_file, o->size_bytes, err);
	if (ret == 0)
		ret = write_image(&p, fd, path, err);
	close(fd);
	if (ret < 0)
		unlink(path);
	return ret;
}
