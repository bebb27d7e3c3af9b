/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/live.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/bytes.h"
#include "base/text.h"
#include "cbt/live.h"

#define HEAD_BYTES 4096u
#define WORD_AT 48u
#define AREAS_AT 56u
#define AREA_BYTES 32u

static int failed(const char *path, int code, struct tide_error *err)
{
	return tide_error_set(err, code, "live file", TIDE_NO_OFFSET,
			      "%s: %s", path, strerror(-code));
}

static bool usable(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return false;
	/* Not one that somebody else put there. */
	return !lstat(path, &st) && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid() && !(st.st_mode & 022);
}

char *cbt_live_folder(struct tide_error *err)
{
	const char *user = getenv("XDG_RUNTIME_DIR");
	char *path = strdup("/run/tidemark");

	if (path && usable(path))
		return path;
	free(path);
	if (user && *user == '/' && asprintf(&path, "%s/tidemark", user) > 0) {
		if (usable(path))
			return path;
		free(path);
	}
	if (asprintf(&path, "/dev/shm/tidemark-%u", geteuid()) > 0) {
		if (usable(path))
			return path;
		free(path);
	}
	tide_error_set(err, -EACCES, "live file", TIDE_NO_OFFSET,
		       "no folder for live files in /run or /dev/shm can be "
		       "used; name one in a tmpfs");
	return NULL;
}

void cbt_boot_id(uint8_t boot[16])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	unsigned int n = 0, digit;
	char c[2] = { 0 };

	memset(boot, 0, 16);
	while (f && n < 32 && fread(c, 1, 1, f) == 1) {
		if (sscanf(c, "%1x", &digit) != 1)
			continue;
		boot[n / 2] = (uint8_t)(boot[n / 2] << 4 | digit);
		n++;
	}
	if (f)
		fclose(f);
}

static char *path_of(const char *folder, const uint8_t uuid[16],
		     const char *end)
{
	char text[33], *path;

	tide__text_hex(text, uuid, 16);
	return asprintf(&path, "%s/%s.live%s", folder, text, end) < 0 ? NULL
								   : path;
}

static size_t area_bytes(uint64_t bits)
{
	return (size_t)((bits + 32767) / 32768 * 4096);
}

/* The descriptor of an area, for who reads it after us. */
static void describe(struct cbt_live *l, uint64_t which)
{
	const struct cbt_area *a = &l->areas[which];
	uint8_t *at = l->head + AREAS_AT + which * AREA_BYTES;

	tide__put_le(at, a->offset_bytes, 8);
	tide__put_le(at + 8, a->bits, 8);
	tide__put_le(at + 16, a->shift, 4);
	tide__put_le(at + 24, a->size_bytes, 8);
}

static int map_area(struct cbt_live *l, struct cbt_area *a)
{
	void *words;

	if (!a->bytes)
		a->bytes = 4096;
	words = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, l->fd,
		     (off_t)a->offset_bytes);
	if (words == MAP_FAILED)
		return -errno;
	a->words = words;
	return 0;
}

/* A new place at the end of the file. */
static int new_area(struct cbt_live *l, uint64_t size_bytes, uint64_t bits,
		    uint32_t shift, struct cbt_area *out)
{
	struct cbt_area a = { .bytes = area_bytes(bits), .bits = bits,
			      .size_bytes = size_bytes, .shift = shift,
			      .offset_bytes = l->end_bytes };
	int ret;

	if (!a.bytes)
		a.bytes = 4096;
	ret = posix_fallocate(l->fd, (off_t)a.offset_bytes, (off_t)a.bytes);
	if (!ret)
		ret = -map_area(l, &a);
	if (ret)
		return failed(l->path, -ret, NULL);
	l->end_bytes += a.bytes;
	*out = a;
	return 0;
}

static void drop_area(struct cbt_live *l, struct cbt_area *a)
{
	if (!a->words)
		return;
	munmap(a->words, a->bytes);
	fallocate(l->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  (off_t)a->offset_bytes, (off_t)a->bytes);
	a->words = NULL;
}

struct cbt_area *cbt_live_area(struct cbt_live *l, uint64_t epoch)
{
	return &l->areas[epoch & 1];
}

int cbt_area_or_into(const struct cbt_area *a, struct cbt_image *into)
{
	uint64_t part[CBT_PAGE_WORDS];
	int ret = 0;

	for (uint64_t at = 0; at < a->bits && !ret; at += CBT_PAGE_BITS) {
		uint64_t bits = a->bits - at < CBT_PAGE_BITS ? a->bits - at
							     : CBT_PAGE_BITS;

		for (size_t i = 0; i < (bits + 63) / 64; i++)
			part[i] = tide__load_relaxed(&a->words[at / 64 + i]);
		ret = cbt_image_or_words(into, at, part, bits, a->shift);
	}
	return ret;
}

static void zero(struct cbt_area *a)
{
	for (size_t i = 0; i < a->bytes / 8; i++)
		if (a->words[i])
			a->words[i] = 0;
}

int cbt_live_prepare(struct cbt_live *l, uint64_t epoch, uint64_t size_bytes,
		     uint32_t shift, struct tide_error *err)
{
	uint64_t which = (epoch + 1) & 1, bits = cbt_bits_of(size_bytes, shift);
	struct cbt_area *a = &l->areas[which], fresh;
	int ret;

	if (a->words && a->size_bytes == size_bytes && a->shift == shift) {
		zero(a);
		return 0;
	}
	ret = new_area(l, size_bytes, bits, shift, &fresh);
	if (ret)
		return failed(l->path, ret, err);
	drop_area(l, a);
	*a = fresh;
	describe(l, which);
	return 0;
}

void cbt_live_flip(struct cbt_live *l, uint64_t epoch)
{
	/* All that describes the area was stored before. */
	tide__store_seqcst((uint64_t *)(l->head + WORD_AT), epoch);
}

static int map_head(struct cbt_live *l)
{
	void *head = mmap(NULL, HEAD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			  l->fd, 0);

	if (head == MAP_FAILED)
		return -errno;
	l->head = head;
	return 0;
}

static void load_area(struct cbt_area *a, const struct cbt_image *image)
{
	for (size_t i = 0; i < image->page_count; i++)
		if (image->pages[i] && (i + 1) * CBT_PAGE_BYTES <= a->bytes)
			memcpy(a->words + i * CBT_PAGE_WORDS,
			       image->pages[i]->words, CBT_PAGE_BYTES);
}

static int fill_new(struct cbt_live *l, const uint8_t uuid[16],
		    const uint8_t boot[16], uint64_t epoch,
		    uint64_t size_bytes, const struct cbt_image *image)
{
	struct cbt_area *a = cbt_live_area(l, epoch);
	int ret = -posix_fallocate(l->fd, 0, HEAD_BYTES);

	l->end_bytes = HEAD_BYTES;
	if (!ret)
		ret = map_head(l);
	if (!ret)
		ret = new_area(l, size_bytes, image->bits, image->shift, a);
	if (ret)
		return ret;
	load_area(a, image);
	memcpy(l->head, "TIDELIVE", 8);
	tide__put_le(l->head + 8, 1, 4);
	memcpy(l->head + 16, uuid, 16);
	memcpy(l->head + 32, boot, 16);
	describe(l, epoch & 1);
	cbt_live_flip(l, epoch);
	return 0;
}

int cbt_live_create(const char *folder, const uint8_t uuid[16],
		    const uint8_t boot[16], uint64_t epoch,
		    uint64_t size_bytes, const struct cbt_image *image,
		    struct cbt_live *out, struct tide_error *err)
{
	char *fresh = path_of(folder, uuid, ".new");
	struct cbt_live l = { .path = path_of(folder, uuid, "") };
	int ret = -ENOMEM;

	l.fd = -1;
	if (fresh && l.path) {
		unlink(fresh);
		l.fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC |
			    O_NOFOLLOW, 0600);
		ret = l.fd < 0 ? -errno
			       : fill_new(&l, uuid, boot, epoch, size_bytes,
					  image);
		if (!ret && rename(fresh, l.path) < 0)
			ret = -errno;
		if (ret && l.fd >= 0)
			unlink(fresh);
	}
	if (ret) {
		failed(l.path ? l.path : folder, ret, err);
		cbt_live_close(&l, false);
	} else {
		*out = l;
	}
	free(fresh);
	return ret;
}

/* Where an area is, as the file says; false: it cannot be there. */
static bool read_area(struct cbt_live *l, uint64_t which, uint64_t file_bytes)
{
	const uint8_t *at = l->head + AREAS_AT + which * AREA_BYTES;
	struct cbt_area a = { .offset_bytes = tide__get_le(at, 8),
			      .bits = tide__get_le(at + 8, 8),
			      .shift = (uint32_t)tide__get_le(at + 16, 4),
			      .size_bytes = tide__get_le(at + 24, 8) };

	a.bytes = a.bits > CBT_MAX_BITS ? 0 : area_bytes(a.bits);
	if (a.bits > CBT_MAX_BITS || a.shift < 9 || a.shift > 31 ||
	    a.offset_bytes % 4096 || a.offset_bytes < HEAD_BYTES ||
	    a.offset_bytes > file_bytes || a.bytes > file_bytes -
						     a.offset_bytes)
		return false;
	l->areas[which] = a;
	return !map_area(l, &l->areas[which]);
}

static bool is_ours(const struct cbt_live *l, const uint8_t uuid[16],
		    const uint8_t boot[16])
{
	return !memcmp(l->head, "TIDELIVE", 8) &&
	       tide__get_le(l->head + 8, 4) == 1 &&
	       !memcmp(l->head + 16, uuid, 16) &&
	       !memcmp(l->head + 32, boot, 16);
}

static int recover(struct cbt_live *l, const uint8_t uuid[16],
		   const uint8_t boot[16], uint64_t epoch,
		   struct cbt_image *image, uint64_t *size_bytes)
{
	struct stat st;
	uint64_t at;
	int ret = 0;

	if (fstat(l->fd, &st) < 0 || st.st_size < HEAD_BYTES || map_head(l) ||
	    !is_ours(l, uuid, boot))
		return -ENOENT;
	at = tide__load_seqcst((uint64_t *)(l->head + WORD_AT));
	if (at < epoch)
		return -ENOENT;
	for (uint64_t which = 0; which < 2 && !ret; which++) {
		struct cbt_area *a = &l->areas[which];

		if (which != (at & 1) && at == epoch)
			continue;
		if (!read_area(l, which, (uint64_t)st.st_size))
			return -ENOENT;
		ret = cbt_image_grow(image, cbt_bits_of(a->bits << a->shift,
							image->shift));
		if (!ret)
			ret = cbt_area_or_into(a, image);
	}
	*size_bytes = l->areas[at & 1].size_bytes;
	return ret;
}

int cbt_live_recover(const char *folder, const uint8_t uuid[16],
		     const uint8_t boot[16], uint64_t epoch,
		     struct cbt_image *image, uint64_t *size_bytes,
		     struct tide_error *err)
{
	struct cbt_live l = { .path = path_of(folder, uuid, "") };
	int ret = l.path ? 0 : -ENOMEM;

	l.fd = ret ? -1 : open(l.path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (!ret)
		ret = l.fd < 0 ? -ENOENT
			       : recover(&l, uuid, boot, epoch, image,
					 size_bytes);
	if (ret)
		failed(l.path ? l.path : folder, ret, err);
	cbt_live_close(&l, false);
	return ret;
}

void cbt_live_close(struct cbt_live *l, bool unlink_it)
{
	for (int i = 0; i < 2; i++)
		if (l->areas[i].words)
			munmap(l->areas[i].words, l->areas[i].bytes);
	if (l->head)
		munmap(l->head, HEAD_BYTES);
	if (l->fd >= 0)
		close(l->fd);
	if (unlink_it && l->path)
		unlink(l->path);
	free(l->path);
	*l = (struct cbt_live){ .fd = -1 };
}
