/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file of digests, whatever is in it: as it is, or entries under a trailer
 * whose sum fits. What a reader gives of it is in order and on the disk, and
 * comes back the same when it is written and read again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "backup/digests.h"
#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRY 24u
#define TRAILER 64u

static char path[64], again[64];

static void put_file(const char *to, const uint8_t *data, size_t size)
{
	FILE *f = fopen(to, "w");

	if (!f || fwrite(data, 1, size, f) != size || fclose(f))
		abort();
}

/* The trailer that belongs to @entries; @size: of the disk. */
static void end_file(uint8_t *file, size_t entries, uint64_t size)
{
	uint8_t *t = file + entries * ENTRY;
	XXH128_canonical_t sum;

	memset(t, 0, TRAILER);
	memcpy(t, "TIDEDGST", 8);
	tide__put_le(t + 8, 1 | (uint64_t)CHUNK_SHIFT << 32, 8);
	tide__put_le(t + 16, 1, 8);
	tide__put_le(t + 24, size, 8);
	tide__put_le(t + 32, entries, 8);
	XXH128_canonicalFromHash(&sum,
				 XXH3_128bits(file, entries * ENTRY + 48));
	memcpy(t + 48, sum.digest, 16);
}

static bool same(const struct chunk_entry *a, const struct chunk_entry *b)
{
	return a->chunk == b->chunk && a->count == b->count &&
	       a->zero == b->zero &&
	       (a->zero || !memcmp(&a->digest, &b->digest, sizeof(a->digest)));
}

/* Runs of zeroes that touch come back as one. */
static void write_again(struct digests_reader *r)
{
	struct chunk_entry all[4096], e, *last = NULL;
	struct digests_writer w;
	struct digests_reader back;
	char sum[CHUNK_HEX];
	size_t count = 0, i;
	uint64_t end = 0;

	unlink(again);
	if (digests_create(&w, again, r->number, r->size_bytes, NULL))
		abort();
	for (; r->has && count < 4096; end = e.chunk + e.count) {
		e = r->now;
		if (e.chunk < end || !e.count ||
		    e.chunk + e.count > chunk_count(r->size_bytes) ||
		    digests_add(&w, &e, NULL))
			abort();
		if (last && last->zero && e.zero &&
		    last->chunk + last->count == e.chunk)
			last->count += e.count;
		else
			*(last = &all[count++]) = e;
		if (digests_step(r, NULL))
			break;
	}
	if (digests_finish(&w, sum, NULL) ||
	    digests_open(&back, again, sum, NULL))
		abort();
	for (i = 0; back.has; i++)
		if (i >= count || !same(&back.now, &all[i]) ||
		    digests_step(&back, NULL))
			abort();
	if (i != count)
		abort();
	digests_close(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[4000 * ENTRY + TRAILER];
	struct chunk_digest own = { { 0 } };
	struct digests_reader r;
	char sum[CHUNK_HEX];
	size_t length;

	if (!*path) {
		snprintf(path, sizeof(path), "/dev/shm/fuzz-digests-%d",
			 getpid());
		snprintf(again, sizeof(again), "%s.again", path);
	}
	if (size < 9 || size > 4000 * ENTRY)
		return 0;
	if (data[0] & 1) {
		length = (size - 9) / ENTRY * ENTRY;
		memcpy(file, data + 9, length);
		end_file(file, length / ENTRY, tide__get_le(data + 1, 8));
		length += TRAILER;
	} else {
		length = size - 1;
		memcpy(file, data + 1, length);
	}
	if (length >= 16)
		memcpy(own.bytes, file + length - 16, 16);
	put_file(path, file, length);
	chunk_digest_text(&own, sum);
	if (!digests_open(&r, path, sum, NULL)) {
		write_again(&r);
		digests_close(&r);
	}
	return 0;
}
