/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench travel: bitmaps that are sent in rounds while their disk is written to,
 * chunk size by granularity by disk by pattern (bitmaps/journey.h).
 *
 * A clean disk is filled to FILL bytes of writes of the pattern, then the
 * bitmap travels: a round takes as long as its bytes at BYTES_PER_S, and
 * meanwhile RATE writes a second of 4 KiB go on. It comes to an end when what
 * is left takes less than STOP_NS, and is given up after ROUNDS. Nothing is
 * timed and all is drawn from the seed: the same figures on every machine.
 *
 * Columns: bytes sent in all and in the stop; rounds; how often what the bitmap
 * has was sent (resend); heads' share. "never": what is left does not get less.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "benches.h"
#include "bitmaps/journey.h"

#define FILL 20000u
#define RATE 1000u
#define BYTES_PER_S (UINT64_C(1000) << 20 >> 3) /* a line of 1 Gbit/s */
#define STOP_NS UINT64_C(50000000)
#define ROUNDS 30u
#define BLOCK 4096u

static const uint32_t sizes[] = { 32, 128, 512, 1024, 4096, 16384, 131072,
				  1u << 20 };
#define SIZES (sizeof(sizes) / sizeof(*sizes))

enum pattern { IDLE, SEQUENTIAL, ZIPF, UNIFORM, HOT, PATTERNS };
static const char *const names[] = { "idle", "sequential", "zipf", "uniform",
				     "hot-1%" };

struct writer {
	enum pattern pattern;
	uint64_t seed, blocks, at;
};

/*
 * Powers of the disk's size are as likely as each other: a zipf of exponent 1.
 */
static uint64_t zipf(struct writer *w)
{
	double u = (double)(bench_random(&w->seed) >> 11) * 0x1p-53;
	uint64_t rank = (uint64_t)pow((double)w->blocks, u);

	/* Ranks lie anywhere, not at the beginning. */
	return rank * UINT64_C(0x9e3779b97f4a7c15) % w->blocks;
}

static uint64_t next_block(struct writer *w)
{
	switch (w->pattern) {
	case SEQUENTIAL:
		return w->at++ % w->blocks;
	case ZIPF:
		return zipf(w);
	case HOT: /* nine of ten go into a hundredth of the disk */
		if (bench_random(&w->seed) % 10)
			return bench_random(&w->seed) % (w->blocks / 100);
		/* fall through */
	default:
		return bench_random(&w->seed) % w->blocks;
	}
}

static int write_some(struct journey *j, struct writer *w, uint64_t writes)
{
	int ret = 0;

	for (; writes && !ret; writes--)
		ret = journey_write(j, next_block(w) * BLOCK, BLOCK);
	return ret;
}

struct result {
	uint64_t sent, stop, heads, chunks, once, rounds;
	bool ends;
};

static uint64_t bytes_of(const struct journey_sent *s)
{
	return s->bits_bytes + s->head_bytes;
}

static int travel(struct journey *j, struct writer *w, struct result *r)
{
	const uint64_t enough = BYTES_PER_S / 1000 * (STOP_NS / 1000000);
	struct journey_sent s = journey_round(j, 0);

	*r = (struct result){ .once = bytes_of(&s) };
	for (r->rounds = 1;; r->rounds++) {
		uint64_t bytes = bytes_of(&s);
		uint64_t ns = bytes * 1000000000 / BYTES_PER_S;

		r->sent += bytes;
		r->heads += s.head_bytes;
		r->chunks += s.chunks;
		if (w->pattern != IDLE &&
		    write_some(j, w, ns * RATE / 1000000000 + 1))
			return -1;
		s = journey_left(j, 0);
		r->ends = bytes_of(&s) <= enough;
		if (r->ends || r->rounds == ROUNDS)
			break;
		s = journey_round(j, 0);
	}
	r->stop = bytes_of(&s);
	r->sent += r->stop;
	r->heads += s.head_bytes;
	return 0;
}

static void print(const struct bench_options *o, const char *row,
		  uint32_t chunk, const struct result *r)
{
	double resent = (double)r->sent / (double)r->once;
	double heads = (double)r->heads / (double)r->sent;

	if (o->json)
		printf("{\"table\":\"travel\",\"row\":\"%s\",\"chunk_bytes\":%u"
		       ",\"ends\":%s,\"sent_bytes\":%" PRIu64
		       ",\"stop_bytes\":%" PRIu64 ",\"rounds\":%" PRIu64
		       ",\"resend\":%.3f,\"heads\":%.4f}\n", row, chunk,
		       r->ends ? "true" : "false", r->sent, r->stop, r->rounds,
		       resent, heads);
	else
		printf("%-34s %8u %12" PRIu64 " %10" PRIu64 " %8.1f %3" PRIu64
		       " %7.2f %6.1f%% %s\n", row, chunk, r->sent, r->stop,
		       (double)r->stop * 1e3 / (double)BYTES_PER_S, r->rounds,
		       resent, 100 * heads, r->ends ? "" : "never");
}

static int one(const struct bench_options *o, uint64_t size, uint32_t shift,
	       enum pattern pattern, size_t which)
{
	struct writer w = { .pattern = pattern, .seed = o->seed,
			    .blocks = size / BLOCK };
	struct journey j;
	struct result r;
	char row[64];
	int ret;

	if (journey_init(&j, size, shift, &sizes[which], 1))
		return 1;
	ret = write_some(&j, &w, FILL);
	if (!ret)
		ret = travel(&j, &w, &r);
	journey_fini(&j);
	if (ret)
		return 1;
	snprintf(row, sizeof(row), "%" PRIu64 "G %uK %s", size >> 30,
		 1u << shift >> 10, names[pattern]);
	print(o, row, sizes[which], &r);
	return 0;
}

int bench_travel(const struct bench_options *o)
{
	static const uint64_t disks[] = { 100, 1024, 8192, 65536 };
	static const uint32_t shifts[] = { 12, 16, 21 };
	size_t some = o->quick ? 1 : 4;
	int ret = 0;

	if (!o->json)
		printf("\ntravel: %u writes of 4 KiB before, %u a second "
		       "meanwhile, %" PRIu64 " MiB/s, a stop of 50 ms\n%-34s "
		       "%8s %12s %10s %8s %3s %7s %7s\n", FILL, RATE,
		       BYTES_PER_S >> 20, "disk, granularity, pattern",
		       "chunk", "sent", "stop", "stop ms", "rds", "resend",
		       "heads");
	for (size_t d = 0; d < some; d++)
		for (size_t g = 0; g < 3; g++)
			for (int p = 0; p < PATTERNS; p++)
				for (size_t s = 0; s < SIZES; s++)
					ret |= one(o, disks[d] << 30, shifts[g],
						   (enum pattern)p, s);
	return ret;
}
