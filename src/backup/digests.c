/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/digests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

#define ENTRY_BYTES 24u
#define TRAILER_BYTES 64u
#define SUMMED_BYTES 48u /* of the trailer */
#define ZERO_FLAG (UINT64_C(1) << 63)
#define BUFFER_BYTES (256u << 10)

static const char magic[8] = "TIDEDGST";

static struct chunk_digest canonical(XXH128_hash_t hash)
{
	XXH128_canonical_t bytes;
	struct chunk_digest d;

	XXH128_canonicalFromHash(&bytes, hash);
	memcpy(d.bytes, bytes.digest, sizeof(d.bytes));
	return d;
}

static int file_error(const char *path, const char *what,
		      struct tide_error *err)
{
	int code = errno ? errno : EIO;

	return tide_error_set(err, -code, "backup", TIDE_NO_OFFSET,
			      "%s: %s: %s", path, what, strerror(code));
}

int digests_create(struct digests_writer *w, const char *path, uint64_t number,
		   uint64_t size_bytes, struct tide_error *err)
{
	memset(w, 0, sizeof(*w));
	errno = 0;
	w->path = strdup(path);
	w->state = XXH3_createState();
	w->file = w->path && w->state ? fopen(path, "wxe") : NULL;
	if (!w->file) {
		digests_drop(w);
		return file_error(path, "it cannot be made", err);
	}
	setvbuf(w->file, NULL, _IOFBF, BUFFER_BYTES);
	XXH3_128bits_reset(w->state);
	w->number = number;
	w->size_bytes = size_bytes;
	return 0;
}

static int put(struct digests_writer *w, const uint8_t *bytes, size_t length,
	       struct tide_error *err)
{
	errno = 0;
	if (fwrite(bytes, 1, length, w->file) != length)
		return file_error(w->path, "writing digests", err);
	return 0;
}

static int put_entry(struct digests_writer *w, const struct chunk_entry *e,
		     struct tide_error *err)
{
	uint8_t raw[ENTRY_BYTES] = { 0 };

	tide__put_le(raw, e->chunk | (e->zero ? ZERO_FLAG : 0), 8);
	if (e->zero)
		tide__put_le(raw + 8, e->count, 8);
	else
		memcpy(raw + 8, e->digest.bytes, 16);
	XXH3_128bits_update(w->state, raw, sizeof(raw));
	w->entries++;
	return put(w, raw, sizeof(raw), err);
}

static int put_zeroes(struct digests_writer *w, struct tide_error *err)
{
	int ret = w->zeroes.count ? put_entry(w, &w->zeroes, err) : 0;

	w->zeroes.count = 0;
	return ret;
}

int digests_add(struct digests_writer *w, const struct chunk_entry *e,
		struct tide_error *err)
{
	struct chunk_entry *z = &w->zeroes;
	int ret;

	if (e->zero && z->count && z->chunk + z->count == e->chunk) {
		z->count += e->count;
		return 0;
	}
	ret = put_zeroes(w, err);
	if (ret)
		return ret;
	if (!e->zero)
		return put_entry(w, e, err);
	*z = *e;
	return 0;
}

int digests_finish(struct digests_writer *w, char sum[CHUNK_HEX],
		   struct tide_error *err)
{
	uint8_t raw[TRAILER_BYTES] = { 0 };
	struct chunk_digest all;
	int ret = put_zeroes(w, err);

	memcpy(raw, magic, 8);
	tide__put_le(raw + 8, 1 | (uint64_t)CHUNK_SHIFT << 32, 8);
	tide__put_le(raw + 16, w->number, 8);
	tide__put_le(raw + 24, w->size_bytes, 8);
	tide__put_le(raw + 32, w->entries, 8);
	XXH3_128bits_update(w->state, raw, SUMMED_BYTES);
	all = canonical(XXH3_128bits_digest(w->state));
	memcpy(raw + SUMMED_BYTES, all.bytes, 16);
	chunk_digest_text(&all, sum);
	if (!ret)
		ret = put(w, raw, sizeof(raw), err);
	errno = 0;
	if (!ret && (fflush(w->file) || fsync(fileno(w->file))))
		ret = file_error(w->path, "writing digests", err);
	digests_drop(w);
	return ret;
}

void digests_drop(struct digests_writer *w)
{
	if (w->file)
		fclose(w->file);
	XXH3_freeState(w->state);
	free(w->path);
	memset(w, 0, sizeof(*w));
}

static int damaged(const char *path, const char *why, struct tide_error *err)
{
	return tide_error_set(err, -EBADMSG, "backup", TIDE_NO_OFFSET,
			      "%s: the digests are damaged: %s", path, why);
}

/* Everything before the trailer's own sum. */
static int check_sum(FILE *f, uint64_t bytes, const uint8_t want[16],
		     const char *path, struct tide_error *err)
{
	XXH3_state_t *state = XXH3_createState();
	uint8_t *part = malloc(BUFFER_BYTES);
	struct chunk_digest got;
	int ret = 0;

	if (!state || !part)
		ret = tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
				     "no memory to check %s", path);
	else
		XXH3_128bits_reset(state);
	rewind(f);
	while (!ret && bytes) {
		size_t n = bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES;

		errno = 0;
		if (fread(part, 1, n, f) != n)
			ret = file_error(path, "reading digests", err);
		else
			XXH3_128bits_update(state, part, n);
		bytes -= n;
	}
	if (!ret) {
		got = canonical(XXH3_128bits_digest(state));
		if (memcmp(got.bytes, want, 16))
			ret = damaged(path, "the sum does not fit", err);
	}
	XXH3_freeState(state);
	free(part);
	return ret;
}

static int open_checked(struct digests_reader *r, const char *path,
			const char *sum, struct tide_error *err)
{
	uint8_t raw[TRAILER_BYTES];
	char text[CHUNK_HEX];
	struct chunk_digest own;
	struct stat st;
	uint64_t size;

	errno = 0;
	if (fstat(fileno(r->file), &st))
		return file_error(path, "looking at it", err);
	size = (uint64_t)st.st_size;
	if (size < TRAILER_BYTES || (size - TRAILER_BYTES) % ENTRY_BYTES)
		return damaged(path, "its length is not that of a whole file",
			       err);
	if (fseeko(r->file, (off_t)(size - TRAILER_BYTES), SEEK_SET) ||
	    fread(raw, 1, sizeof(raw), r->file) != sizeof(raw))
		return file_error(path, "reading digests", err);
	if (memcmp(raw, magic, 8) ||
	    tide__get_le(raw + 8, 8) != (1 | (uint64_t)CHUNK_SHIFT << 32))
		return damaged(path, "it is no such file, or of a later version",
			       err);
	r->left = tide__get_le(raw + 32, 8);
	r->number = tide__get_le(raw + 16, 8);
	r->size_bytes = tide__get_le(raw + 24, 8);
	if (r->left != (size - TRAILER_BYTES) / ENTRY_BYTES)
		return damaged(path, "entries are missing", err);
	memcpy(own.bytes, raw + SUMMED_BYTES, 16);
	chunk_digest_text(&own, text);
	if (strcmp(text, sum))
		return damaged(path, "they are not those that the manifest "
			       "names", err);
	return check_sum(r->file, size - TRAILER_BYTES + SUMMED_BYTES,
			 own.bytes, path, err);
}

int digests_open(struct digests_reader *r, const char *path, const char *sum,
		 struct tide_error *err)
{
	int ret;

	memset(r, 0, sizeof(*r));
	errno = 0;
	r->file = fopen(path, "re");
	if (!r->file)
		return file_error(path, "it cannot be opened", err);
	setvbuf(r->file, NULL, _IOFBF, BUFFER_BYTES);
	ret = open_checked(r, path, sum, err);
	if (!ret) {
		rewind(r->file);
		ret = digests_step(r, err);
	}
	if (ret)
		digests_close(r);
	return ret;
}

int digests_step(struct digests_reader *r, struct tide_error *err)
{
	uint8_t raw[ENTRY_BYTES];
	uint64_t end = r->has ? r->now.chunk + r->now.count : 0;
	struct chunk_entry *e = &r->now;

	r->has = r->left > 0;
	if (!r->has)
		return 0;
	r->left--;
	errno = 0;
	if (fread(raw, 1, sizeof(raw), r->file) != sizeof(raw))
		return file_error("digests", "reading", err);
	e->zero = tide__get_le(raw, 8) & ZERO_FLAG;
	e->chunk = tide__get_le(raw, 8) & ~ZERO_FLAG;
	e->count = e->zero ? tide__get_le(raw + 8, 8) : 1;
	memcpy(e->digest.bytes, raw + 8, 16);
	if (e->chunk < end || !e->count ||
	    e->count > chunk_count(r->size_bytes) ||
	    e->chunk > chunk_count(r->size_bytes) - e->count)
		return damaged("digests", "entries are out of order, or past "
			       "the end of the disk", err);
	return 0;
}

void digests_close(struct digests_reader *r)
{
	if (r->file)
		fclose(r->file);
	memset(r, 0, sizeof(*r));
}
