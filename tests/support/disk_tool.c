/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What shell tests need of the disk drivers:
 *
 *	disk-tool read IMAGE RAW	the whole content
 *	disk-tool scribble IMAGE RAW SEED
 *		random writes, zeroes and discards into the image, and the
 *		same into RAW, which holds the image's content
 *	disk-tool pack IMAGE RAW
 *		every cluster of RAW, compressed, by four threads at once;
 *		every seventh is plainly written over, every eleventh packed
 *		again, with flushes between
 *
 * Exit status 1 and the reason on stderr when the driver refuses.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/disk.h"
#include "qcow2/driver/compress.h"
#include "qcow2/driver/qcow2.h"
#include "tests/unit/seed.h"

#define PIECE (1u << 20)

static int fail(const char *what)
{
	fprintf(stderr, "disk-tool: %s\n", what);
	return 1;
}

static int read_all(struct tide_disk *d, const char *path)
{
	FILE *out = fopen(path, "wb");
	uint64_t size = tide_disk_size(d), step;
	struct tide_error err;
	uint8_t *buf = malloc(PIECE);

	if (!out || !buf)
		return fail(path);
	for (uint64_t at = 0; at < size; at += step) {
		step = size - at < PIECE ? size - at : PIECE;
		if (tide_disk_read(d, at, buf, step, &err))
			return fail(err.text);
		if (fwrite(buf, 1, step, out) != step)
			return fail(path);
	}
	free(buf);
	return fclose(out) ? fail(path) : 0;
}

static int store(FILE *raw, uint64_t at, const uint8_t *buf, uint64_t length)
{
	return fseek(raw, (long)at, SEEK_SET) ||
	       fwrite(buf, 1, length, raw) != length;
}

static int scribble(struct tide_disk *d, const char *path, uint64_t rng)
{
	FILE *raw = fopen(path, "r+b");
	uint64_t size = tide_disk_size(d);
	struct tide_error err;
	uint8_t *buf = malloc(PIECE);

	if (!raw || !buf || !size)
		return fail(path);
	for (int i = 0; i < 200; i++) {
		uint64_t at = seed_below(&rng, size);
		uint64_t length = 1 + seed_below(&rng, 1u << seed_below(&rng,
									18));
		uint64_t what = seed_below(&rng, 8);
		int ret;

		if (length > size - at)
			length = size - at;
		memset(buf, what < 2 ? 0 : i + 1, length);
		if (what == 0)
			ret = tide_disk_zero(d, at, length, i & 1, &err);
		else if (what == 1)
			ret = tide_disk_discard(d, at, length, &err);
		else
			ret = tide_disk_write(d, at, buf, length, &err);
		/* A discard leaves the old bytes or zeroes: ask which. */
		if (ret == 0 && what == 1)
			ret = tide_disk_read(d, at, buf, length, &err);
		if (ret)
			return fail(err.text);
		if (store(raw, at, buf, length))
			return fail(path);
	}
	free(buf);
	return fclose(raw) ? fail(path) : 0;
}

#define PACKERS 4u

struct packing {
	struct tide_disk *d;
	const char *path;
	uint64_t first; /* cluster; then every PACKERS-th */
	int code;
};

static int pack_one(struct packing *w, struct qcow2_packer *p, uint64_t at,
		    const uint8_t *buf, uint64_t length)
{
	uint64_t n = at / qcow2_of(w->d)->cluster_bytes, stored;
	struct tide_error err;
	int ret = qcow2_packer_write(p, at, buf, length, &stored, &err);

	if (!ret && n % 7 == 0)
		ret = tide_disk_write(w->d, at, buf, (length + 1) / 2, &err);
	if (!ret && n % 11 == 0)
		ret = qcow2_packer_write(p, at, buf, length, &stored, &err);
	if (!ret && n % 97 == 0)
		ret = tide_disk_flush(w->d, &err);
	return ret ? fail(err.text) : 0;
}

static void *pack_some(void *opaque)
{
	struct packing *w = opaque;
	uint64_t cluster = qcow2_of(w->d)->cluster_bytes;
	uint64_t size = tide_disk_size(w->d), length;
	FILE *raw = fopen(w->path, "rb");
	struct qcow2_packer *p;
	uint8_t *buf = malloc(cluster);

	w->code = !raw || !buf || qcow2_packer_create(w->d, 0, &p, NULL);
	for (uint64_t at = w->first * cluster; at < size && !w->code;
	     at += PACKERS * cluster) {
		length = size - at < cluster ? size - at : cluster;
		if (fseek(raw, (long)at, SEEK_SET) ||
		    fread(buf, 1, length, raw) != length)
			w->code = fail(w->path);
		else
			w->code = pack_one(w, p, at, buf, length);
	}
	qcow2_packer_destroy(p);
	free(buf);
	fclose(raw);
	return NULL;
}

static int pack(struct tide_disk *d, const char *path)
{
	struct packing w[PACKERS];
	pthread_t threads[PACKERS];
	int code = 0;

	for (uint64_t i = 0; i < PACKERS; i++) {
		w[i] = (struct packing){ d, path, i, 0 };
		if (pthread_create(&threads[i], NULL, pack_some, &w[i]))
			return fail("no threads");
	}
	for (uint64_t i = 0; i < PACKERS; i++) {
		pthread_join(threads[i], NULL);
		code |= w[i].code;
	}
	return code;
}

int main(int argc, char **argv)
{
	struct tide_disk_options o = { .trusted_folder = "/",
				       .cache_bytes = 1 };
	struct tide_error err;
	struct tide_disk *d;
	int code;

	if (argc < 4 || (!strcmp(argv[1], "scribble") && argc < 5))
		return fail("read IMAGE RAW | scribble IMAGE RAW SEED | "
			    "pack IMAGE RAW");
	o.writable = strcmp(argv[1], "read") != 0;
	if (tide_disk_open(argv[2], &o, &d, &err))
		return fail(err.text);
	if (!strcmp(argv[1], "pack"))
		code = pack(d, argv[3]);
	else
		code = o.writable ? scribble(d, argv[3],
					     strtoull(argv[4], NULL, 0)) :
				    read_all(d, argv[3]);
	if (tide_disk_close(d, &err) && !code)
		return fail(err.text);
	return code;
}
