/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Traces for the kind map. Recorded ones (see recorded.h) are the writes
 * of all guests, one disk beside the other at the start of the image, and the
 * same stretched over the whole image, so that what was near stays near but
 * everything lies between other tables. The factor is odd: a power of two would
 * put every write beside an L2 table.
 */
#include "kinds_work.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "measure.h"
#include "recorded.h"

#define MIB (UINT64_C(1) << 20)
#define MAX_ROWS 60000u
#define MAX_BYTES (UINT64_C(1) << 28)
/* No recorded disk is larger. */
#define DISK (UINT64_C(1) << 30)

static const char *const recorded[] = {
	"boot-debian-systemd", "ext4-mkfs-untar",  "gcc-build-ext4",
	"log-append-fsync",    "redis-aof-bgsave", "sqlite-delete-journal",
	"fio-randwrite-4k",    "qcow2-c64k-ext4-untar",
};
#define DISKS (sizeof(recorded) / sizeof(*recorded))

/* A write in the file, cut where its guest cluster ends. */
static struct kinds_write on_host(const struct kinds_image *im, uint64_t guest,
				  uint64_t bytes)
{
	uint64_t cluster = UINT64_C(1) << im->cluster_bits;
	uint64_t left;

	guest %= im->guest_bytes;
	left = cluster - (guest & (cluster - 1));
	return (struct kinds_write){ kinds_image_host(im, guest),
				     bytes < left ? bytes : left };
}

static uint64_t blocks_of(const struct kinds_image *im)
{
	return im->guest_bytes / 4096;
}

static uint64_t sequential(const struct kinds_image *im, size_t i, uint64_t *s)
{
	(void)s;
	return im->guest_bytes / 3 / 4096 + i;
}

static uint64_t uniform(const struct kinds_image *im, size_t i, uint64_t *s)
{
	(void)i;
	return bench_random(s) % blocks_of(im);
}

/* Exponent 1 over regions of 16 MiB, ranks scattered; a random block there. */
static uint64_t zipf(const struct kinds_image *im, size_t i, uint64_t *s)
{
	uint64_t regions = im->guest_bytes / (16 * MIB);
	double u = (double)(bench_random(s) >> 11) / 9007199254740992.0;
	uint64_t rank = (uint64_t)pow((double)regions, u) - 1;
	uint64_t at = rank * UINT64_C(0x9e3779b97f4a7c15) % regions;

	(void)i;
	return at * 4096 + bench_random(s) % 4096;
}

/* To and fro between places that no window holds together. */
static uint64_t ping_pong(const struct kinds_image *im, size_t i, size_t places)
{
	uint64_t step = blocks_of(im) / (places + 1);

	/* Numbers of windows that collide whatever the count of slots. */
	step -= step % ((UINT64_C(256) << 12 << im->cluster_bits) / 4096);
	step = step ? step : blocks_of(im) / (places + 1);
	return i % places * step + i / places % 1024;
}

static uint64_t ping_pong2(const struct kinds_image *im, size_t i, uint64_t *s)
{
	(void)s;
	return ping_pong(im, i, 2);
}

static uint64_t ping_pong8(const struct kinds_image *im, size_t i, uint64_t *s)
{
	(void)s;
	return ping_pong(im, i, 8);
}

static uint64_t ping_pong61(const struct kinds_image *im, size_t i, uint64_t *s)
{
	(void)s;
	return ping_pong(im, i, 61);
}

static int make(struct kinds_trace *t, const struct kinds_image *im, size_t n,
		const char *name,
		uint64_t (*block)(const struct kinds_image *, size_t,
				  uint64_t *))
{
	uint64_t seed = 7;

	t->name = name;
	t->write = malloc(n * sizeof(*t->write));
	if (!t->write)
		return -ENOMEM;
	for (t->n = 0; t->n < n; t->n++)
		t->write[t->n] = on_host(im, block(im, t->n, &seed) * 4096,
					 4096);
	return 0;
}

static char *unpacked(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *packed = malloc(MIB), *text = NULL;
	size_t bytes = f && packed ? fread(packed, 1, MIB, f) : 0;
	unsigned long long size = ZSTD_getFrameContentSize(packed, bytes);

	if (bytes && size < MAX_BYTES)
		text = malloc(size + 1);
	if (text) {
		size_t got = ZSTD_decompress(text, size, packed, bytes);

		text[ZSTD_isError(got) ? 0 : got] = 0;
	}
	if (f)
		fclose(f);
	free(packed);
	return text;
}

/* Rows are time, operation, offset, length. */
static void read_rows(struct kinds_trace *t, const struct kinds_image *im,
		      const char *text, uint64_t base, uint64_t stretch)
{
	size_t rows = 0;

	for (const char *row = strchr(text, '\n'); row && rows < MAX_ROWS;
	     row = strchr(row + 1, '\n')) {
		unsigned long long offset, bytes;
		char op[8];

		if (sscanf(row, " %*[0-9-],%7[a-z],%llu,%llu", op, &offset,
			   &bytes) != 3 || !bytes || !strcmp(op, "trim"))
			continue;
		t->write[t->n++] = on_host(im, base + offset * stretch, bytes);
		rows++;
	}
}

static int load(struct kinds_trace *t, const struct kinds_image *im,
		const char *name, bool stretched)
{
	char path[512], what[64], *text;

	t->name = name;
	t->write = malloc(DISKS * MAX_ROWS * sizeof(*t->write));
	if (!t->write)
		return -ENOMEM;
	for (size_t i = 0; i < DISKS; i++) {
		snprintf(what, sizeof(what), "traces/blk/%s/guest.csv.zst",
			 recorded[i]);
		text = bench_recorded(path, sizeof(path), what)
			? unpacked(path) : NULL;
		if (text)
			read_rows(t, im, text, stretched ? 0 : i * DISK,
				  stretched ? im->guest_bytes / DISK - 3 : 1);
		free(text);
	}
	return 0;
}

int kinds_work_make(struct kinds_trace out[KINDS_TRACES],
		    const struct kinds_image *im, size_t n)
{
	memset(out, 0, KINDS_TRACES * sizeof(*out));
	if (make(&out[0], im, n, "sequential", sequential) ||
	    make(&out[1], im, n, "random", uniform) ||
	    make(&out[2], im, n, "zipf", zipf) ||
	    make(&out[3], im, n, "ping-pong 2", ping_pong2) ||
	    make(&out[4], im, n, "ping-pong 8", ping_pong8) ||
	    make(&out[5], im, n, "ping-pong 61", ping_pong61) ||
	    load(&out[6], im, "recorded", false) ||
	    load(&out[7], im, "stretched", true))
		return -ENOMEM;
	return 0;
}

void kinds_work_fini(struct kinds_trace traces[KINDS_TRACES])
{
	for (size_t i = 0; i < KINDS_TRACES; i++)
		free(traces[i].write);
}
