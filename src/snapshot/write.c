/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#define BUFFER (1u << 20)
#define CHUNK_BYTES (SNAP_CHUNK_PAGES * SNAP_PAGE)
#define LEVEL 1

static int fail(const struct snap_writer *w, int ret, struct tide_error *err)
{
	return tide_error_set(err, ret, "snapshot", TIDE_NO_OFFSET, "%s: %s",
			      w->path ? w->path : "snapshot", strerror(-ret));
}

static int flush(struct snap_writer *w, struct tide_error *err)
{
	for (size_t done = 0; done < w->used;) {
		ssize_t n = write(w->fd, w->buffer + done, w->used - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(w, -errno, err);
		done += (size_t)n;
	}
	w->used = 0;
	return 0;
}

static int put(struct snap_writer *w, const void *bytes, size_t n,
	       struct tide_error *err)
{
	while (n) {
		size_t part = BUFFER - w->used < n ? BUFFER - w->used : n;
		int ret = 0;

		memcpy(w->buffer + w->used, bytes, part);
		w->used += part;
		w->at += part;
		bytes = (const char *)bytes + part;
		n -= part;
		if (w->used == BUFFER)
			ret = flush(w, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int open_part(struct snap_writer *w, const char *folder,
		     const char *name)
{
	if (asprintf(&w->path, "%s/%s" SNAP_SUFFIX, folder, name) < 0 ||
	    asprintf(&w->part, "%s/.%s" SNAP_SUFFIX ".part", folder,
		     name) < 0)
		return -ENOMEM;
	w->buffer = malloc(BUFFER);
	w->zstd = ZSTD_createCCtx();
	if (!w->buffer || !w->zstd)
		return -ENOMEM;
	w->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->folder_fd < 0)
		return -errno;
	w->fd = open(w->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC |
		     O_NOFOLLOW, 0600);
	return w->fd < 0 ? -errno : 0;
}

int snap_writer_open(struct snap_writer *w, const char *folder,
		     const char *name, bool replace,
		     const struct snap_header *header,
		     const struct snap_area *area, struct tide_error *err)
{
	size_t n = SNAP_HEADER + (size_t)header->areas * SNAP_AREA;
	unsigned char *head = malloc(n);
	int ret;

	*w = (struct snap_writer){ .fd = -1, .folder_fd = -1,
				   .header = *header };
	ret = head ? open_part(w, folder, name) : -ENOMEM;
	if (!ret && !replace && !access(w->path, F_OK))
		ret = -EEXIST;
	if (ret)
		fail(w, ret, err);
	if (!ret) {
		snap_put_header(head, header, area);
		ret = put(w, head, n, err);
	}
	free(head);
	if (ret)
		snap_writer_drop(w);
	return ret;
}

static int add_chunk(struct snap_writer *w, uint64_t page,
		     const struct snap_chunk *c, struct tide_error *err)
{
	struct snap_extent e = { .page = page, .pages = c->pages,
				 .chunk = (uint32_t)w->chunks };

	if (w->chunks == UINT32_MAX)
		return fail(w, -EFBIG, err);
	if (w->chunks == w->room) {
		size_t room = w->room ? 2 * w->room : 256;
		void *more = realloc(w->chunk, room * sizeof(*w->chunk));

		if (!more)
			return fail(w, -ENOMEM, err);
		w->chunk = more;
		w->room = room;
	}
	w->chunk[w->chunks++] = *c;
	return snap_layer_add(&w->round, &e) ? fail(w, -ENOMEM, err) : 0;
}

int snap_writer_zeroes(struct snap_writer *w, uint64_t page, uint64_t count,
		       struct tide_error *err)
{
	int ret = 0;

	while (!ret && count) {
		struct snap_chunk c = {
			.offset = w->at, .kind = SNAP_ZEROES,
			.pages = count > INT32_MAX ? INT32_MAX
						   : (uint32_t)count,
		};

		ret = add_chunk(w, page, &c, err);
		page += c.pages;
		count -= c.pages;
	}
	return ret;
}

static int put_chunk(struct snap_writer *w, uint64_t page, uint32_t pages,
		     const unsigned char *bytes, struct tide_error *err)
{
	unsigned char packed[CHUNK_BYTES];
	size_t n = (size_t)pages * SNAP_PAGE;
	struct snap_chunk c = { .offset = w->at, .pages = pages,
				.kind = SNAP_ZSTD };
	/* What saves less than an eighth is not worth unpacking. */
	size_t got = ZSTD_compressCCtx(w->zstd, packed, n - n / 8, bytes, n,
				       LEVEL);

	if (ZSTD_isError(got)) {
		c.kind = SNAP_PLAIN;
		got = n;
	} else {
		bytes = packed;
	}
	c.stored_bytes = (uint32_t)got;
	c.checksum = snap_checksum(bytes, got);
	if (put(w, bytes, got, err))
		return err ? err->code : -EIO;
	return add_chunk(w, page, &c, err);
}

static bool is_zero(const unsigned char *page)
{
	return !page[0] && !memcmp(page, page + 1, SNAP_PAGE - 1);
}

int snap_writer_pages(struct snap_writer *w, uint64_t page, uint64_t count,
		      const unsigned char *bytes, struct tide_error *err)
{
	int ret = 0;

	for (uint64_t i = 0; !ret && i < count;) {
		const unsigned char *at = bytes + i * SNAP_PAGE;
		bool zero = is_zero(at);
		uint64_t n = 1;

		while (i + n < count && (zero || n < SNAP_CHUNK_PAGES) &&
		       is_zero(at + n * SNAP_PAGE) == zero)
			n++;
		if (!zero)
			w->pages += n;
		ret = zero ? snap_writer_zeroes(w, page + i, n, err)
			  : put_chunk(w, page + i, (uint32_t)n, at, err);
		i += n;
	}
	return ret;
}

int snap_writer_copy(struct snap_writer *w, uint64_t page,
		     const struct snap_file *from, uint32_t chunk,
		     struct tide_error *err)
{
	unsigned char stored[CHUNK_BYTES];
	struct snap_chunk c = from->chunk[chunk];
	uint32_t n;
	int ret;

	if (c.kind == SNAP_ZEROES)
		return snap_writer_zeroes(w, page, c.pages, err);
	c.offset = w->at;
	ret = snap_file_stored(from, chunk, stored, &n, err);
	if (!ret)
		ret = put(w, stored, n, err);
	w->pages += c.pages;
	return ret ? ret : add_chunk(w, page, &c, err);
}

int snap_writer_round(struct snap_writer *w, struct tide_error *err)
{
	if (snap_layer_over(&w->all, &w->round))
		return fail(w, -ENOMEM, err);
	snap_layer_free(&w->round);
	return 0;
}

int snap_writer_devices(struct snap_writer *w, const void *bytes, size_t n,
			struct tide_error *err)
{
	w->footer.devices_offset = w->at;
	w->footer.devices_bytes = n;
	w->footer.devices_checksum = snap_checksum(bytes, n);
	return put(w, bytes, n, err);
}

static int put_tables(struct snap_writer *w, struct tide_error *err)
{
	size_t chunk_bytes = w->chunks * SNAP_CHUNK;
	size_t n = chunk_bytes + w->all.count * SNAP_EXTENT;
	unsigned char *tables = malloc(n ? n : 1), foot[SNAP_FOOTER];
	struct snap_footer *f = &w->footer;
	int ret;

	if (!tables)
		return fail(w, -ENOMEM, err);
	for (size_t i = 0; i < w->chunks; i++)
		snap_put_chunk(tables + i * SNAP_CHUNK, &w->chunk[i]);
	for (size_t i = 0; i < w->all.count; i++)
		snap_put_extent(tables + chunk_bytes + i * SNAP_EXTENT,
				&w->all.extent[i]);
	f->chunks_offset = w->at;
	f->chunks = w->chunks;
	f->extents_offset = w->at + chunk_bytes;
	f->extents = w->all.count;
	f->tables_checksum = snap_checksum(tables, n);
	f->file_bytes = w->at + n + SNAP_FOOTER;
	f->id = w->header.id;
	ret = put(w, tables, n, err);
	free(tables);
	snap_put_footer(foot, f);
	if (!ret)
		ret = put(w, foot, sizeof(foot), err);
	return ret ? ret : flush(w, err);
}

/* Under its name: over another only when that was asked for. */
static int name_it(struct snap_writer *w, bool replace)
{
	if (fsync(w->fd) < 0)
		return -errno;
	if (replace ? rename(w->part, w->path) < 0
		    : link(w->part, w->path) < 0)
		return -errno;
	if (!replace)
		unlink(w->part);
	return fsync(w->folder_fd) < 0 ? -errno : 0;
}

int snap_writer_commit(struct snap_writer *w, bool replace,
		       struct tide_error *err)
{
	int ret = 0;

	if (!w->footer.devices_offset)
		ret = snap_writer_devices(w, "", 0, err);
	if (!ret)
		ret = put_tables(w, err);
	if (!ret) {
		ret = name_it(w, replace);
		if (ret)
			fail(w, ret, err);
	}
	snap_writer_drop(w);
	return ret;
}

void snap_writer_drop(struct snap_writer *w)
{
	/* After a commit this name is gone already. */
	if (w->fd >= 0) {
		unlink(w->part);
		close(w->fd);
	}
	if (w->folder_fd >= 0)
		close(w->folder_fd);
	ZSTD_freeCCtx(w->zstd);
	free(w->buffer);
	free(w->path);
	free(w->part);
	free(w->chunk);
	snap_layer_free(&w->round);
	snap_layer_free(&w->all);
	w->fd = w->folder_fd = -1;
	w->zstd = w->buffer = NULL;
	w->path = w->part = NULL;
	w->chunk = NULL;
}
