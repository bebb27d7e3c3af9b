/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/folder.h"

#define CHUNK_BYTES ((size_t)SNAP_CHUNK_PAGES * SNAP_PAGE)

#define MAX_FILES 100000

static int broken(const struct snap_chain *c, const char *what,
		  struct tide_error *err)
{
	return tide_error_set(err, -EBADMSG, "snapshot", TIDE_NO_OFFSET,
			      "%s: %s", c->file[c->files - 1].path, what);
}

static int add(struct snap_chain *c, const char *folder, const char *name,
	       struct tide_error *err)
{
	struct snap_file *more = realloc(c->file, (c->files + 1) *
					 sizeof(*c->file));
	char *path;
	int ret;

	if (more)
		c->file = more;
	if (!more || asprintf(&path, "%s/%s" SNAP_SUFFIX, folder, name) < 0)
		return tide_error_set(err, -ENOMEM, "snapshot",
				      TIDE_NO_OFFSET, "no memory");
	ret = snap_file_open(&c->file[c->files], path, err);
	free(path);
	if (!ret)
		c->files++;
	return ret;
}

static bool same_areas(const struct snap_file *a, const struct snap_file *b)
{
	if (a->header.areas != b->header.areas ||
	    a->header.pages != b->header.pages)
		return false;
	for (uint32_t i = 0; i < a->header.areas; i++)
		if (a->area[i].pages != b->area[i].pages)
			return false;
	return true;
}

/* From the snapshot to its base. */
static int add_parents(struct snap_chain *c, const struct snap_folder *f,
		       struct tide_error *err)
{
	for (;;) {
		const struct snap_header *h = &c->file[c->files - 1].header;
		const struct snap_entry *parent;
		int ret;

		if (snap_id_is_zero(&h->parent))
			return 0;
		parent = snap_folder_with(f, &h->parent);
		if (!parent)
			return broken(c, "its parent is missing", err);
		if (parent->header.sequence >= h->sequence ||
		    c->files == MAX_FILES)
			return broken(c, "it is older than its parent", err);
		ret = add(c, f->path, parent->name, err);
		if (ret)
			return ret;
		if (!same_areas(&c->file[0], &c->file[c->files - 1]))
			return broken(c, "its areas are not those of its "
				      "child", err);
	}
}

static int merge(struct snap_chain *c, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = c->files; !ret && i-- > 0;) {
		struct snap_layer *l = &c->file[i].layer;

		for (size_t e = 0; e < l->count; e++)
			l->extent[e].file = (uint32_t)i;
		ret = snap_layer_over(&c->merged, l);
	}
	c->pages = malloc(SNAP_CACHED * CHUNK_BYTES);
	if (ret || !c->pages)
		return tide_error_set(err, -ENOMEM, "snapshot",
				      TIDE_NO_OFFSET, "no memory");
	return 0;
}

int snap_chain_open(struct snap_chain *c, const char *folder,
		    const char *name, struct tide_error *err)
{
	struct snap_folder f;
	int ret;

	*c = (struct snap_chain){ 0 };
	if (!snap_name_is_good(name))
		return tide_error_set(err, -EINVAL, "snapshot",
				      TIDE_NO_OFFSET, "'%s' is no name of a "
				      "snapshot", name);
	ret = snap_folder_read(&f, folder, err);
	if (ret)
		return ret;
	ret = add(c, folder, name, err);
	if (!ret)
		ret = add_parents(c, &f, err);
	if (!ret)
		ret = merge(c, err);
	snap_folder_free(&f);
	if (ret)
		snap_chain_close(c);
	return ret;
}

void snap_chain_close(struct snap_chain *c)
{
	for (size_t i = 0; i < c->files; i++)
		snap_file_close(&c->file[i]);
	free(c->file);
	free(c->pages);
	snap_layer_free(&c->merged);
	*c = (struct snap_chain){ 0 };
}

const struct snap_header *snap_chain_header(const struct snap_chain *c)
{
	return &c->file[0].header;
}

const struct snap_area *snap_chain_areas(const struct snap_chain *c)
{
	return c->file[0].area;
}

/* *@at: the pages of the chunk of @e. */
static int unpack(struct snap_chain *c, const struct snap_extent *e,
		  const unsigned char **at, struct tide_error *err)
{
	unsigned int i = (e->file * 7 + e->chunk) % SNAP_CACHED;
	unsigned char *pages = c->pages + i * CHUNK_BYTES;
	int ret = 0;

	if (!c->cached[i].valid || c->cached[i].file != e->file ||
	    c->cached[i].chunk != e->chunk) {
		c->cached[i].valid = false;
		ret = snap_file_chunk(&c->file[e->file], e->chunk, pages, err);
		c->cached[i].file = e->file;
		c->cached[i].chunk = e->chunk;
		c->cached[i].valid = !ret;
	}
	*at = pages;
	return ret;
}

int snap_chain_read(struct snap_chain *c, uint64_t page, uint64_t count,
		    unsigned char *to, struct tide_error *err)
{
	size_t i = snap_layer_find(&c->merged, page);

	while (count) {
		const struct snap_extent *e = &c->merged.extent[i++];
		uint64_t skip = page - e->page, n = e->pages - skip;
		const struct snap_chunk *chunk =
		    &c->file[e->file].chunk[e->chunk];
		const unsigned char *pages;
		int ret;

		if (n > count)
			n = count;
		if (chunk->kind == SNAP_ZEROES) {
			memset(to, 0, n * SNAP_PAGE);
		} else {
			ret = unpack(c, e, &pages, err);
			if (ret)
				return ret;
			memcpy(to, pages + (e->skip + skip) * SNAP_PAGE,
			       n * SNAP_PAGE);
		}
		to += n * SNAP_PAGE;
		page += n;
		count -= n;
	}
	return 0;
}

uint64_t snap_chain_zeroes(const struct snap_chain *c, uint64_t page)
{
	uint64_t start = page;

	for (size_t i = snap_layer_find(&c->merged, page);
	     i < c->merged.count; i++) {
		const struct snap_extent *e = &c->merged.extent[i];

		if (c->file[e->file].chunk[e->chunk].kind != SNAP_ZEROES)
			break;
		page = e->page + e->pages;
	}
	return page - start;
}

uint64_t snap_chain_together(const struct snap_chain *c, uint64_t page)
{
	const struct snap_extent *e =
	    &c->merged.extent[snap_layer_find(&c->merged, page)];

	return e->page + e->pages - page;
}

int snap_chain_devices(const struct snap_chain *c, void **out, size_t *n,
		       struct tide_error *err)
{
	const struct snap_file *f = &c->file[0];
	size_t bytes = f->footer.devices_bytes;
	void *to = malloc(bytes ? bytes : 1);

	if (!to)
		return tide_error_set(err, -ENOMEM, "snapshot",
				      TIDE_NO_OFFSET, "no memory");
	if (pread(f->fd, to, bytes, (off_t)f->footer.devices_offset) !=
	    (ssize_t)bytes ||
	    snap_checksum(to, bytes) != f->footer.devices_checksum) {
		free(to);
		return tide_error_set(err, -EBADMSG, "snapshot",
				      f->footer.devices_offset,
				      "%s: the devices are damaged", f->path);
	}
	*out = to;
	*n = bytes;
	return 0;
}

int snap_chain_verify(const struct snap_chain *c, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < c->files; i++)
		ret = snap_file_verify(&c->file[i], err);
	return ret;
}
