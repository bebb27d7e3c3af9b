/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static int fail(const struct snap_file *f, int ret, uint64_t offset,
		const char *what, struct tide_error *err)
{
	return tide_error_set(err, ret, "snapshot", offset, "%s: %s at %llu",
			      f->path, what, (unsigned long long)offset);
}

static int read_at(const struct snap_file *f, void *to, size_t n,
		   uint64_t offset, struct tide_error *err)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(f->fd, (char *)to + done, n - done,
				    (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(f, -errno, offset, strerror(errno), err);
		if (!got)
			return fail(f, -EBADMSG, offset, "it ends too early",
				    err);
		done += (size_t)got;
	}
	return 0;
}

/* What format.c found, with the file's name. */
static int named(const struct snap_file *f, int ret, struct tide_error *err)
{
	struct tide_error found;

	if (ret && err) {
		found = *err;
		fail(f, ret, found.offset, found.text, err);
	}
	return ret;
}

static int read_head(struct snap_file *f, uint64_t bytes,
		     struct tide_error *err)
{
	unsigned char fixed[SNAP_HEADER], foot[SNAP_FOOTER], *head;
	size_t n;
	int ret;

	if (bytes < SNAP_HEADER + SNAP_AREA + SNAP_FOOTER)
		return fail(f, -EBADMSG, bytes, "it ends too early", err);
	ret = read_at(f, fixed, sizeof(fixed), 0, err);
	if (ret)
		return ret;
	ret = named(f, snap_get_header(fixed, &f->header, err), err);
	if (ret)
		return ret;
	n = SNAP_HEADER + (size_t)f->header.areas * SNAP_AREA;
	head = malloc(n);
	f->area = calloc(f->header.areas, sizeof(*f->area));
	if (!head || !f->area)
		ret = fail(f, -ENOMEM, 0, "no memory", err);
	if (!ret)
		ret = read_at(f, head, n, 0, err);
	if (!ret)
		ret = named(f, snap_get_areas(head, &f->header, f->area, err),
			    err);
	free(head);
	if (!ret)
		ret = read_at(f, foot, sizeof(foot), bytes - SNAP_FOOTER, err);
	if (ret)
		return ret;
	return named(f, snap_get_footer(foot, bytes, &f->header, &f->footer,
					err), err);
}

static int read_tables(struct snap_file *f, struct tide_error *err)
{
	const struct snap_footer *foot = &f->footer;
	size_t chunk_bytes = foot->chunks * SNAP_CHUNK;
	size_t n = chunk_bytes + foot->extents * SNAP_EXTENT;
	unsigned char *tables = malloc(n ? n : 1);
	int ret = 0;

	f->chunk = calloc(foot->chunks + 1, sizeof(*f->chunk));
	f->layer.extent = calloc(foot->extents + 1, sizeof(*f->layer.extent));
	if (!tables || !f->chunk || !f->layer.extent)
		ret = fail(f, -ENOMEM, 0, "no memory", err);
	if (!ret)
		ret = read_at(f, tables, n, foot->chunks_offset, err);
	if (!ret && snap_checksum(tables, n) != foot->tables_checksum)
		ret = fail(f, -EBADMSG, foot->chunks_offset,
			   "the checksum of its tables is wrong", err);
	if (!ret)
		ret = named(f, snap_get_tables(tables, tables + chunk_bytes,
					       &f->header, foot, f->chunk,
					       f->layer.extent, err), err);
	f->layer.count = f->layer.room = foot->extents;
	free(tables);
	return ret;
}

int snap_file_open(struct snap_file *f, const char *path,
		   struct tide_error *err)
{
	struct stat st;
	int ret = 0;

	*f = (struct snap_file){ .fd = -1, .path = strdup(path) };
	if (!f->path)
		return tide_error_set(err, -ENOMEM, "snapshot",
				      TIDE_NO_OFFSET, "no memory");
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		ret = tide_error_set(err, -errno, "snapshot", TIDE_NO_OFFSET,
				     "%s: %s", path, strerror(errno));
	if (!ret)
		ret = read_head(f, (uint64_t)st.st_size, err);
	if (!ret)
		ret = read_tables(f, err);
	if (ret)
		snap_file_close(f);
	return ret;
}

void snap_file_close(struct snap_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
	free(f->area);
	free(f->chunk);
	snap_layer_free(&f->layer);
	*f = (struct snap_file){ .fd = -1 };
}

int snap_file_stored(const struct snap_file *f, uint32_t chunk,
		     unsigned char *to, uint32_t *bytes,
		     struct tide_error *err)
{
	const struct snap_chunk *c = &f->chunk[chunk];
	int ret = read_at(f, to, c->stored_bytes, c->offset, err);

	if (!ret && snap_checksum(to, c->stored_bytes) != c->checksum)
		ret = fail(f, -EBADMSG, c->offset,
			   "the checksum of a chunk is wrong", err);
	*bytes = c->stored_bytes;
	return ret;
}

int snap_file_chunk(const struct snap_file *f, uint32_t chunk,
		    unsigned char *to, struct tide_error *err)
{
	unsigned char stored[SNAP_CHUNK_PAGES * SNAP_PAGE];
	const struct snap_chunk *c = &f->chunk[chunk];
	size_t want = (size_t)c->pages * SNAP_PAGE;
	uint32_t bytes;
	int ret;

	if (c->kind == SNAP_PLAIN)
		return snap_file_stored(f, chunk, to, &bytes, err);
	ret = snap_file_stored(f, chunk, stored, &bytes, err);
	if (!ret && ZSTD_decompress(to, want, stored, bytes) != want)
		ret = fail(f, -EBADMSG, c->offset,
			   "a chunk cannot be decompressed", err);
	return ret;
}

static int verify_devices(const struct snap_file *f, struct tide_error *err)
{
	size_t n = f->footer.devices_bytes;
	unsigned char *bytes = malloc(n ? n : 1);
	int ret;

	if (!bytes)
		return fail(f, -ENOMEM, 0, "no memory", err);
	ret = read_at(f, bytes, n, f->footer.devices_offset, err);
	if (!ret && snap_checksum(bytes, n) != f->footer.devices_checksum)
		ret = fail(f, -EBADMSG, f->footer.devices_offset,
			   "the checksum of the devices is wrong", err);
	free(bytes);
	return ret;
}

int snap_file_verify(const struct snap_file *f, struct tide_error *err)
{
	unsigned char pages[SNAP_CHUNK_PAGES * SNAP_PAGE];
	int ret = verify_devices(f, err);

	for (uint32_t i = 0; !ret && i < f->footer.chunks; i++)
		if (f->chunk[i].kind != SNAP_ZEROES)
			ret = snap_file_chunk(f, i, pages, err);
	return ret;
}
