/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a store, or making one. A new store is written beside its name and
 * linked to it once complete, so there is never half a store. Nothing is
 * believed before its checksum and its place have been checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "cbt/store.h"

static int failed(const char *path, int code, struct tide_error *err)
{
	return tide_error_set(err, code, "store", TIDE_NO_OFFSET, "%s: %s",
			      path, strerror(-code));
}

static int damaged(const char *path, uint64_t block, const char *what,
		   struct tide_error *err)
{
	return tide_error_set(err, -EINVAL, "store", block * CBT_BLOCK_BYTES,
			      "%s: %s (block %" PRIu64 "); move it away to "
			      "begin anew", path, what, block);
}

static int lock(int fd, const char *path, struct tide_error *err)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (!fcntl(fd, F_OFD_SETLK, &l))
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return failed(path, -errno, err);
	return tide_error_set(err, -EBUSY, "store", TIDE_NO_OFFSET,
			      "%s is in use: another process tracks this disk",
			      path);
}

/* The link fails where somebody was faster; then his is opened. */
static int write_new(const char *path, const struct cbt_catalog *fresh,
		     struct tide_error *err)
{
	struct cbt_store s = { .fd = -1 };
	struct cbt_catalog c = *fresh;
	char *beside;
	int ret = 0;

	if (asprintf(&beside, "%s.%d.new", path, (int)getpid()) < 0)
		return failed(path, -ENOMEM, err);
	s.path = strdup(path);
	s.fd = open(beside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (!s.path || s.fd < 0)
		ret = failed(beside, s.path ? -errno : -ENOMEM, err);
	s.super.durability = CBT_PROCESS;
	if (!ret && getrandom(s.super.uuid, 16, 0) != 16)
		ret = failed(beside, -EIO, err);
	if (!ret)
		ret = cbt_store_commit(&s, &c, true, err);
	/* Both superblocks: the other one would be a hole. */
	if (!ret)
		ret = cbt_store_put_super(&s, true, err);
	if (!ret && link(beside, path) < 0 && errno != EEXIST)
		ret = failed(path, -errno, err);
	if (s.fd >= 0)
		unlink(beside);
	free(beside);
	cbt_store_close(&s);
	return ret;
}

static bool read_super(struct cbt_store *s, uint64_t block)
{
	uint8_t b[CBT_BLOCK_BYTES];
	struct cbt_super *u = &s->super;
	uint64_t sequence;

	if (cbt_store_read(s, block, b, sizeof(b)) ||
	    memcmp(b, "TIDESTOR", 8) || tide__get_le(b + 8, 4) != 1 ||
	    tide__get_le(b + 4088, 8) != XXH64(b, 4088, 0))
		return false;
	sequence = tide__get_le(b + 16, 8);
	if (s->sequence > sequence)
		return true;
	s->sequence = sequence;
	u->open = tide__get_le(b + 12, 4) != 1;
	u->durability = tide__get_le(b + 56, 4) == CBT_POWER ? CBT_POWER
							    : CBT_PROCESS;
	u->lost = tide__get_le(b + 60, 4);
	memcpy(u->uuid, b + 24, 16);
	memcpy(u->boot, b + 40, 16);
	memcpy(u->why, b + 128, 255);
	s->catalog_block = tide__get_le(b + 64, 8);
	s->catalog_bytes = tide__get_le(b + 72, 8);
	s->catalog_checksum = tide__get_le(b + 80, 8);
	return true;
}

static bool in_heap(uint64_t block, uint64_t blocks, uint64_t file_blocks)
{
	return block >= CBT_HEAP_BLOCK && block < file_blocks &&
	       blocks <= file_blocks - block;
}

struct loading {
	struct cbt_store *s;
	uint64_t file_blocks;
	struct tide_error *err;
};

static int load_page(struct loading *l, struct cbt_image *m,
		     const uint8_t *entry, uint64_t *min)
{
	uint64_t index = tide__get_le(entry, 8);
	uint64_t block = tide__get_le(entry + 8, 8);
	struct cbt_page *page;
	int ret;

	if (index < *min || index >= m->page_count ||
	    !in_heap(block, 1, l->file_blocks))
		return damaged(l->s->path, m->table_block,
			       "a page table is damaged", l->err);
	*min = index + 1;
	page = cbt_image_page(m, (size_t)index);
	if (!page)
		return failed(l->s->path, -ENOMEM, l->err);
	ret = cbt_store_read(l->s, block, page->words, CBT_PAGE_BYTES);
	if (ret)
		return failed(l->s->path, ret, l->err);
	page->block = block;
	page->checksum = tide__get_le(entry + 16, 8);
	page->saved = true;
	if (XXH64(page->words, CBT_PAGE_BYTES, 0) != page->checksum)
		return damaged(l->s->path, block, "a page is damaged", l->err);
	return 0;
}

/* table_blocks is the number of pages so far: see get_image. */
static int load_image(void *opaque, struct cbt_image *m)
{
	struct loading *l = opaque;
	uint64_t pages = m->table_blocks, min = 0;
	size_t bytes = (size_t)pages * 24;
	uint8_t *table;
	int ret = 0;

	m->table_blocks = (bytes + CBT_BLOCK_BYTES - 1) / CBT_BLOCK_BYTES;
	m->table_saved = true;
	if (!pages)
		return 0;
	if (!in_heap(m->table_block, m->table_blocks, l->file_blocks))
		return damaged(l->s->path, m->table_block,
			       "a page table is not in the file", l->err);
	table = malloc(bytes);
	if (!table)
		return failed(l->s->path, -ENOMEM, l->err);
	if (cbt_store_read(l->s, m->table_block, table, bytes) ||
	    XXH64(table, bytes, 0) != m->table_checksum)
		ret = damaged(l->s->path, m->table_block,
			      "a page table is damaged", l->err);
	for (uint64_t i = 0; i < pages && !ret; i++)
		ret = load_page(l, m, table + i * 24, &min);
	free(table);
	return ret;
}

/* What the catalog's reader says, and of which file. */
static int decode(const struct cbt_store *s, const uint8_t *bytes,
		  struct cbt_catalog *c, struct tide_error *err)
{
	struct tide_error own;
	int ret = cbt_catalog_decode(c, bytes, (size_t)s->catalog_bytes, &own);

	return ret == -EINVAL ? damaged(s->path, s->catalog_block, own.text,
					err) :
	       ret ? failed(s->path, ret, err) : 0;
}

static int load_catalog(struct cbt_store *s, uint64_t file_blocks,
			struct cbt_catalog *c, struct tide_error *err)
{
	struct loading l = { .s = s, .file_blocks = file_blocks, .err = err };
	uint64_t blocks = (s->catalog_bytes >> 12) + 1;
	uint8_t *bytes;
	int ret;

	/* The catalog may end with the file, in the middle of a block. */
	if (s->catalog_bytes > UINT64_C(1) << 32 ||
	    !in_heap(s->catalog_block, blocks, file_blocks + 1))
		return damaged(s->path, s->catalog_block,
			       "the catalog is not in the file", err);
	bytes = malloc((size_t)s->catalog_bytes + 1);
	if (!bytes)
		return failed(s->path, -ENOMEM, err);
	ret = cbt_store_read(s, s->catalog_block, bytes,
			     (size_t)s->catalog_bytes);
	if (ret || XXH64(bytes, (size_t)s->catalog_bytes, 0) !=
			   s->catalog_checksum)
		ret = damaged(s->path, s->catalog_block,
			      "the catalog is damaged", err);
	else
		ret = decode(s, bytes, c, err);
	free(bytes);
	if (!ret)
		ret = cbt_catalog_images(c, load_image, &l);
	return ret;
}

static int load(struct cbt_store *s, struct cbt_catalog *c,
		struct tide_error *err)
{
	struct stat st;
	bool one, other;
	int ret;

	if (fstat(s->fd, &st) < 0)
		return failed(s->path, -errno, err);
	if (!S_ISREG(st.st_mode))
		return damaged(s->path, 0, "this is no regular file", err);
	ret = lock(s->fd, s->path, err);
	if (ret)
		return ret;
	one = read_super(s, 0);
	other = read_super(s, 1);
	if (!one && !other)
		return damaged(s->path, 0,
			       "this is no store, or both of its superblocks "
			       "are damaged", err);
	s->file_blocks = ((uint64_t)st.st_size + 4095) / 4096;
	return load_catalog(s, s->file_blocks, c, err);
}

int cbt_store_open(const char *path, const struct cbt_catalog *fresh,
		   bool *made, struct cbt_store *out,
		   struct cbt_catalog *catalog, struct tide_error *err)
{
	struct cbt_catalog c = { 0 };
	struct cbt_store s = { .path = strdup(path) };
	int ret = 0;

	*made = false;
	s.fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (s.fd < 0 && errno == ENOENT) {
		ret = write_new(path, fresh, err);
		*made = !ret;
		if (!ret)
			s.fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	}
	if (!ret && (s.fd < 0 || !s.path))
		ret = failed(path, s.path ? -errno : -ENOMEM, err);
	if (!ret)
		ret = load(&s, &c, err);
	if (!ret && cbt_store_count(&s, &c))
		ret = failed(path, -ENOMEM, err);
	if (ret) {
		cbt_catalog_fini(&c);
		cbt_store_close(&s);
		return ret;
	}
	*out = s;
	*catalog = c;
	return 0;
}
