/* SPDX-License-Identifier: BSD-2-Clause */
/* The packed images of tests/data/qcow2, for unit tests. */
#ifndef TESTS_QCOW2_SAMPLE_H
#define TESTS_QCOW2_SAMPLE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <zstd.h>

#include "qcow2/format/reader.h"

#define SAMPLE_MAX_BYTES (8u << 20)

/* The bytes of the image, malloc'ed. */
static inline struct qcow2_memory sample_load(const char *name)
{
	const char *src = getenv("SRC");
	static char packed[1 << 20], path[4096];
	struct qcow2_memory m = { 0 };
	uint8_t *bytes = malloc(SAMPLE_MAX_BYTES);
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/data/qcow2/%s.qcow2.zst",
		 src ? src : ".", name);
	f = fopen(path, "rb");
	if (!f || !bytes) {
		perror(path);
		exit(99);
	}
	n = fread(packed, 1, sizeof(packed), f);
	fclose(f);
	n = ZSTD_decompress(bytes, SAMPLE_MAX_BYTES, packed, n);
	if (ZSTD_isError(n)) {
		fprintf(stderr, "%s: %s\n", path, ZSTD_getErrorName(n));
		exit(99);
	}
	m.bytes = bytes;
	m.size_bytes = n;
	return m;
}

#endif
