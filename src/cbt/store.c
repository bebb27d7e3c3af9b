/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/bytes.h"

int cbt_store_read(struct cbt_store *s, uint64_t block, void *to, size_t bytes)
{
	uint8_t *at = to;

	if (block > INT64_MAX / CBT_BLOCK_BYTES - (bytes >> 12) - 1)
		return -EIO;
	for (size_t done = 0; done < bytes;) {
		ssize_t n = pread(s->fd, at + done, bytes - done,
				  (off_t)(block * CBT_BLOCK_BYTES + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int cbt_store_write(struct cbt_store *s, uint64_t block, const void *from,
		    size_t bytes)
{
	const uint8_t *at = from;

	for (size_t done = 0; done < bytes;) {
		ssize_t n = pwrite(s->fd, at + done, bytes - done,
				   (off_t)(block * CBT_BLOCK_BYTES + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int failed(const struct cbt_store *s, int code, const char *what,
		  struct tide_error *err)
{
	return tide_error_set(err, code, "store", TIDE_NO_OFFSET,
			      "%s: %s: %s", s->path, what, strerror(-code));
}

static bool is_used(const struct cbt_store *s, uint64_t block)
{
	return block < s->blocks && s->used[block / 64] >> block % 64 & 1;
}

/* Room for @blocks; never less than before. */
static int make_room(struct cbt_store *s, uint64_t blocks)
{
	uint64_t words = (blocks + 63) / 64 * 2 + 64;
	uint64_t old = (s->blocks + 63) / 64;
	uint64_t *used;

	if (blocks <= s->blocks)
		return 0;
	used = realloc(s->used, words * 8);
	if (!used)
		return -ENOMEM;
	memset(used + old, 0, (words - old) * 8);
	s->used = used;
	s->blocks = words * 64;
	return 0;
}

static int use(struct cbt_store *s, uint64_t block, uint64_t count)
{
	if (make_room(s, block + count))
		return -ENOMEM;
	cbt_set_bits(s->used, block, block + count);
	return 0;
}

#define STEP_BLOCKS 256u

/*
 * The file grows in steps, by zeroes that are really written: a sync of what is
 * written over them later has no file system's journal to wait for.
 */
static int reach(struct cbt_store *s, uint64_t blocks)
{
	static const uint8_t zeroes[64 * CBT_BLOCK_BYTES];
	uint64_t to = (blocks + STEP_BLOCKS - 1) / STEP_BLOCKS * STEP_BLOCKS;

	while (s->file_blocks < blocks || s->file_blocks % 64) {
		uint64_t n = 64 - s->file_blocks % 64;
		int ret = cbt_store_write(s, s->file_blocks, zeroes,
					  n * CBT_BLOCK_BYTES);

		if (ret)
			return ret;
		s->file_blocks += n;
	}
	while (s->file_blocks < to) {
		if (cbt_store_write(s, s->file_blocks, zeroes, sizeof(zeroes)))
			break; /* it will do as it is */
		s->file_blocks += 64;
	}
	return 0;
}

/* @count blocks in a row, from the hint on, then from the start. */
static int take(struct cbt_store *s, uint64_t count, uint64_t *block)
{
	int ret = 0;

	for (int round = 0; round < 2; round++) {
		uint64_t from = round ? CBT_HEAP_BLOCK : s->hint, at = from;

		while (at < s->blocks && at - from < count)
			if (is_used(s, at++))
				from = at;
		if (round || at - from >= count || from < s->blocks) {
			*block = from;
			s->hint = from + count;
			if (from + count > s->file_blocks)
				ret = reach(s, from + count);
			return ret ? ret : use(s, from, count);
		}
	}
	return -ENOMEM;
}

static int use_image(void *opaque, struct cbt_image *m)
{
	struct cbt_store *s = opaque;
	int ret = 0;

	if (m->table_block)
		ret = use(s, m->table_block, m->table_blocks);
	for (size_t i = 0; i < m->page_count && !ret; i++)
		if (m->pages[i] && m->pages[i]->block)
			ret = use(s, m->pages[i]->block, 1);
	return ret;
}

static uint64_t blocks_of(uint64_t bytes)
{
	return (bytes + CBT_BLOCK_BYTES - 1) / CBT_BLOCK_BYTES;
}

int cbt_store_count(struct cbt_store *s, struct cbt_catalog *c)
{
	if (s->used)
		memset(s->used, 0, s->blocks / 8);
	s->hint = CBT_HEAP_BLOCK;
	if (use(s, 0, CBT_HEAP_BLOCK) ||
	    use(s, s->catalog_block, blocks_of(s->catalog_bytes)))
		return -ENOMEM;
	return cbt_catalog_images(c, use_image, s);
}

/* The pages of one image that changed. */
static int save_pages(struct cbt_store *s, struct cbt_image *m)
{
	for (size_t i = 0; i < m->page_count; i++) {
		struct cbt_page *page = m->pages[i];
		uint64_t block;
		int ret;

		if (!page || page->saved)
			continue;
		ret = take(s, 1, &block);
		if (!ret)
			ret = cbt_store_write(s, block, page->words,
					      CBT_PAGE_BYTES);
		if (ret)
			return ret;
		page->block = block;
		page->checksum = XXH64(page->words, CBT_PAGE_BYTES, 0);
		page->saved = true;
	}
	return 0;
}

#define ENTRY_BYTES 24u

/* malloc'd; *bytes a whole number of blocks. */
static uint8_t *make_table(const struct cbt_image *m, uint64_t pages,
			   size_t *bytes)
{
	uint8_t *table, *at;

	*bytes = (size_t)blocks_of(pages * ENTRY_BYTES) * CBT_BLOCK_BYTES;
	table = calloc(1, *bytes);
	at = table;
	for (size_t i = 0; table && i < m->page_count; i++) {
		if (!m->pages[i])
			continue;
		tide__put_le(at, i, 8);
		tide__put_le(at + 8, m->pages[i]->block, 8);
		tide__put_le(at + 16, m->pages[i]->checksum, 8);
		at += ENTRY_BYTES;
	}
	return table;
}

static int save_table(struct cbt_store *s, struct cbt_image *m,
		      uint64_t pages)
{
	uint64_t block;
	size_t bytes;
	uint8_t *table = make_table(m, pages, &bytes);
	int ret = table ? take(s, bytes / CBT_BLOCK_BYTES, &block) : -ENOMEM;

	if (!ret)
		ret = cbt_store_write(s, block, table, bytes);
	if (!ret) {
		m->table_block = block;
		m->table_blocks = bytes / CBT_BLOCK_BYTES;
		m->table_checksum = XXH64(table, pages * ENTRY_BYTES, 0);
		m->table_saved = true;
	}
	free(table);
	return ret;
}

static int save_image(void *opaque, struct cbt_image *m)
{
	struct cbt_store *s = opaque;
	uint64_t pages = 0;
	int ret;

	if (m->table_saved)
		return 0;
	ret = save_pages(s, m);
	for (size_t i = 0; i < m->page_count; i++)
		pages += !!m->pages[i];
	if (!ret && pages)
		return save_table(s, m, pages);
	if (ret)
		return ret;
	m->table_block = 0;
	m->table_blocks = 0;
	m->table_saved = true;
	return 0;
}

static void fill_super(const struct cbt_store *s, uint8_t *b)
{
	const struct cbt_super *u = &s->super;

	memset(b, 0, CBT_BLOCK_BYTES);
	memcpy(b, "TIDESTOR", 8);
	tide__put_le(b + 8, 1, 4);
	tide__put_le(b + 12, u->open ? 2 : 1, 4);
	tide__put_le(b + 16, s->sequence, 8);
	memcpy(b + 24, u->uuid, 16);
	memcpy(b + 40, u->boot, 16);
	tide__put_le(b + 56, u->durability, 4);
	tide__put_le(b + 60, u->lost, 4);
	tide__put_le(b + 64, s->catalog_block, 8);
	tide__put_le(b + 72, s->catalog_bytes, 8);
	tide__put_le(b + 80, s->catalog_checksum, 8);
	memcpy(b + 128, u->why, strnlen(u->why, 255));
	tide__put_le(b + 4088, XXH64(b, 4088, 0), 8);
}

int cbt_store_put_super(struct cbt_store *s, bool sync, struct tide_error *err)
{
	uint8_t block[CBT_BLOCK_BYTES];
	int ret;

	s->sequence++;
	fill_super(s, block);
	ret = cbt_store_write(s, s->sequence % 2, block, sizeof(block));
	if (!ret && sync && fdatasync(s->fd) < 0)
		ret = -errno;
	return ret ? failed(s, ret, "the superblock", err) : 0;
}

/* What the superblock is to name; the old place comes back on failure. */
static int save_catalog(struct cbt_store *s, const struct cbt_catalog *c)
{
	uint64_t block = 0;
	size_t bytes;
	uint8_t *encoded = cbt_catalog_encode(c, &bytes);
	int ret = encoded ? take(s, blocks_of(bytes), &block) : -ENOMEM;

	if (!ret)
		ret = cbt_store_write(s, block, encoded, bytes);
	if (!ret) {
		s->catalog_block = block;
		s->catalog_bytes = bytes;
		s->catalog_checksum = XXH64(encoded, bytes, 0);
	}
	free(encoded);
	return ret;
}

int cbt_store_commit(struct cbt_store *s, struct cbt_catalog *c, bool sync,
		     struct tide_error *err)
{
	uint64_t block = s->catalog_block, bytes = s->catalog_bytes;
	uint64_t checksum = s->catalog_checksum;
	int ret = cbt_catalog_images(c, save_image, s);

	if (!ret)
		ret = save_catalog(s, c);
	if (!ret && sync && fdatasync(s->fd) < 0)
		ret = -errno;
	if (ret)
		failed(s, ret, "what changed could not be saved", err);
	else
		ret = cbt_store_put_super(s, sync, err);
	if (ret) {
		s->catalog_block = block;
		s->catalog_bytes = bytes;
		s->catalog_checksum = checksum;
		return ret;
	}
	/* What it does not lead to is free; no memory: not this time. */
	if (cbt_store_count(s, c))
		s->hint = s->blocks;
	return 0;
}

void cbt_store_close(struct cbt_store *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s->used);
	*s = (struct cbt_store){ .fd = -1 };
}
