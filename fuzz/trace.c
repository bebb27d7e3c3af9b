/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A trace as a stranger gave it: its manifest, and its rounds in an archive,
 * which the input holds packed or plain (then it is packed here). What is
 * loaded has as many rounds of as many bits as it says.
 *
 * Input: a byte of how, two of the manifest's length, the manifest, the rest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "cli/trace/file.h"
#include "tidemark/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PLAIN = 1, NO_ARCHIVE = 2 };

static char folder[64];

static void in_folder(char path[128], const char *name)
{
	snprintf(path, 128, "%s/%s", folder, name);
}

static void write_file(const char *name, const void *bytes, size_t len)
{
	char path[128];
	FILE *f;

	in_folder(path, name);
	f = fopen(path, "wb");
	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f))
		abort();
}

static void clear(void)
{
	char path[128];

	in_folder(path, "manifest.json");
	unlink(path);
	in_folder(path, "rounds.tar.zst");
	unlink(path);
	in_folder(path, "000.written.bits");
	unlink(path);
	rmdir(folder);
}

static void make_folder(void)
{
	if (*folder)
		return;
	strcpy(folder, "/dev/shm/tidemark-fuzz-XXXXXX");
	if (!mkdtemp(folder))
		abort();
	atexit(clear);
}

static void write_rounds(unsigned int how, const uint8_t *bytes, size_t len)
{
	static uint8_t packed[1 << 20];
	char path[128];
	size_t n;

	in_folder(path, "rounds.tar.zst");
	unlink(path);
	if (how & NO_ARCHIVE) {
		write_file("000.written.bits", bytes, len);
	} else if (how & PLAIN) {
		n = ZSTD_compress(packed, sizeof(packed), bytes, len, 1);
		if (ZSTD_isError(n))
			abort();
		write_file("rounds.tar.zst", packed, n);
	} else {
		write_file("rounds.tar.zst", bytes, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tide_error err;
	struct trace t;
	size_t len;

	if (size < 3)
		return 0;
	make_folder();
	len = data[1] | (size_t)data[2] << 8;
	if (len > size - 3)
		len = size - 3;
	write_file("manifest.json", data + 3, len);
	write_rounds(*data, data + 3 + len, size - 3 - len);
	if (trace_load(&t, folder, &err))
		return 0;
	if (!t.rounds || !t.pages)
		abort();
	for (uint32_t i = 0; i < t.rounds; i++)
		if (tide_bitmap_count(t.round[i], t.pages) > t.pages)
			abort();
	trace_free(&t);
	return 0;
}
