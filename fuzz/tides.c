/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot's file of anybody's making. Its checksums are made right first,
 * else nothing would come past them; what is opened then must be readable to
 * its last chunk, or refused with a reason.
 */
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "snapshot/read.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend_header(uint8_t *at, size_t size)
{
	uint64_t areas = tide__get_le(at + 76, 4);
	XXH3_state_t state;

	if (areas > SNAP_MAX_AREAS || SNAP_HEADER + areas * SNAP_AREA > size)
		return;
	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, at, 184);
	XXH3_64bits_update(&state, at + SNAP_HEADER, areas * SNAP_AREA);
	tide__put_le(at + 184, XXH3_64bits_digest(&state), 8);
}

static void mend_chunks(uint8_t *at, size_t size, uint64_t table, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint8_t *entry = at + table + i * SNAP_CHUNK;
		uint64_t offset = tide__get_le(entry, 8);
		uint64_t bytes = tide__get_le(entry + 8, 4);

		if (bytes && offset <= size && bytes <= size - offset)
			tide__put_le(entry + 24,
				     snap_checksum(at + offset, bytes), 8);
	}
}

static void mend(uint8_t *at, size_t size)
{
	uint8_t *foot = at + size - SNAP_FOOTER;
	uint64_t table = tide__get_le(foot + 8, 8);
	uint64_t n = tide__get_le(foot + 16, 8);
	uint64_t tables_end = size - SNAP_FOOTER;

	mend_header(at, size);
	if (table <= tables_end && n <= (tables_end - table) / SNAP_CHUNK) {
		mend_chunks(at, size, table, n);
		tide__put_le(foot + 64, snap_checksum(at + table,
						      tables_end - table), 8);
	}
	tide__put_le(foot + 72, size, 8);
	memcpy(foot + 80, at + 24, 16);
	tide__put_le(foot + 120, snap_checksum(foot, 120), 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned char pages[SNAP_CHUNK_PAGES * SNAP_PAGE];
	struct snap_file f;
	struct tide_error err;
	uint8_t *copy;
	char path[64];
	int fd, ret;

	if (size < SNAP_HEADER + SNAP_AREA + SNAP_FOOTER)
		return 0;
	copy = malloc(size);
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (!copy || fd < 0)
		abort();
	memcpy(copy, data, size);
	mend(copy, size);
	if (write(fd, copy, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	tide_error_clear(&err);
	ret = snap_file_open(&f, path, &err);
	if (ret && !err.text[0])
		__builtin_trap(); /* refused without a word */
	if (!ret) {
		uint64_t end = 0;

		for (size_t i = 0; i < f.layer.count; i++) {
			const struct snap_extent *e = &f.layer.extent[i];

			if (e->page < end || e->chunk >= f.footer.chunks ||
			    e->skip + (uint64_t)e->pages >
				f.chunk[e->chunk].pages)
				__builtin_trap();
			end = e->page + e->pages;
		}
		if (end > f.header.pages)
			__builtin_trap();
		for (uint32_t i = 0; i < f.footer.chunks; i++)
			if (f.chunk[i].kind != SNAP_ZEROES)
				snap_file_chunk(&f, i, pages, &err);
		snap_file_verify(&f, &err);
		snap_file_close(&f);
	}
	close(fd);
	free(copy);
	return 0;
}
