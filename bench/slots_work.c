/* SPDX-License-Identifier: BSD-2-Clause */
/* Made workloads: see slots_work.h. */
#include "slots_work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"

#define PAGE UINT64_C(4096)
#define GIB (UINT64_C(1) << 30)
#define HOT 8
#define MMIO_32 UINT64_C(0xc0000000)
#define MMIO_32_END UINT64_C(0xfec00000)
#define MMIO_64 (UINT64_C(1) << 40)
#define HOST_BASE (UINT64_C(1) << 44)

const struct slots_mix slots_mixes[SLOTS_MIXES] = {
	{ "100/0/0", 100, 0 }, { "90/9/1", 90, 9 },  { "50/49/1", 50, 49 },
	{ "10/89/1", 10, 89 }, { "0/100/0", 0, 100 },
};

static void put(struct slots_work *w, uint64_t gpa, uint64_t len)
{
	w->slots[w->n] = (struct tide_slot){
		.id = w->n,
		.gpa_bytes = gpa,
		.len_bytes = len,
		.host = (void *)(uintptr_t)(HOST_BASE + gpa),
	};
	w->n++;
}

/* RAM below the hole, above 4 GiB, and two DIMMs; then the small ones. */
static void layout(struct slots_work *w, uint32_t n, uint64_t *seed)
{
	static const struct { uint64_t gib, len_gib; } high[] = {
		{ 4, 13 }, { 17, 32 }, { 64, 64 }
	};
	uint64_t at = MMIO_32;

	w->ram = n < 8 ? 1 : n < 64 ? 2 : 4;
	put(w, 0, 3 * GIB);
	for (uint32_t small = n - w->ram; small; small--) {
		uint64_t len = PAGE << bench_random(seed) % 5;

		/* A wide gap may have led past the end already. */
		if (at + 2 * len >= MMIO_32_END)
			break;
		put(w, at, len);
		at += len + (PAGE << bench_random(seed) % 5);
	}
	for (uint32_t i = 0; i + 1 < w->ram; i++)
		put(w, high[i].gib * GIB, high[i].len_gib * GIB);
	for (at = MMIO_64; w->n < n;) {
		uint64_t len = PAGE << bench_random(seed) % 5;

		put(w, at, len);
		at += len + (PAGE << bench_random(seed) % 5);
	}
}

static bool is_ram(const struct tide_slot *s)
{
	return s->len_bytes >= GIB;
}

/* A target: the place of a slot, or of the gap behind it. */
struct target {
	uint64_t first, len;
};

static struct target small_slot(const struct slots_work *w, uint64_t *seed)
{
	for (;;) {
		const struct tide_slot *s =
			&w->slots[bench_random(seed) % w->n];

		if (!is_ram(s))
			return (struct target){ s->gpa_bytes, s->len_bytes };
	}
}

static struct target gap(const struct slots_work *w, uint64_t *seed)
{
	for (;;) {
		uint32_t i = (uint32_t)(bench_random(seed) % w->n);
		const struct tide_slot *s = &w->slots[i];
		uint64_t end = s->gpa_bytes + s->len_bytes;
		uint64_t next = i + 1 < w->n ? w->slots[i + 1].gpa_bytes :
					       end + 16 * PAGE;

		if (is_ram(s) || next == end)
			continue;
		return (struct target){ end, next - end < 16 * PAGE ?
						     next - end :
						     16 * PAGE };
	}
}

/* RAM is hit in proportion to its size. */
static struct target ram(const struct slots_work *w, uint64_t *seed)
{
	uint64_t total = 0, x;

	for (uint32_t i = 0; i < w->n; i++)
		total += is_ram(&w->slots[i]) ? w->slots[i].len_bytes : 0;
	x = bench_random(seed) % total;
	for (uint32_t i = 0;; i++) {
		const struct tide_slot *s = &w->slots[i];

		if (!is_ram(s))
			continue;
		if (x < s->len_bytes)
			return (struct target){ s->gpa_bytes, s->len_bytes };
		x -= s->len_bytes;
	}
}

static struct target draw(const struct slots_work *w,
			  const struct slots_mix *mix, uint64_t *seed)
{
	uint64_t x = bench_random(seed) % 100;

	if (x < mix->miss)
		return gap(w, seed);
	return x < mix->miss + mix->ram ? ram(w, seed) : small_slot(w, seed);
}

static void fill(struct slots_work *w, const struct slots_mix *mix, bool local,
		 uint64_t *seed)
{
	struct target hot[HOT], now = draw(w, mix, seed);

	for (int i = 0; i < HOT; i++)
		hot[i] = draw(w, mix, seed);
	for (size_t i = 0; i < w->lookups; i++) {
		if (!local)
			now = draw(w, mix, seed);
		else if (bench_random(seed) % 8 == 0)
			now = bench_random(seed) % 10 ?
				      hot[bench_random(seed) % HOT] :
				      draw(w, mix, seed);
		if (local && i % 512 == 511)
			hot[bench_random(seed) % HOT] = draw(w, mix, seed);
		w->gpa[i] = now.first + bench_random(seed) % now.len;
	}
}

int slots_work_make(struct slots_work *w, const struct slots_mix *mix,
		    bool local, uint32_t n, size_t lookups, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->slots = calloc(n, sizeof(*w->slots));
	w->gpa = calloc(lookups, sizeof(*w->gpa));
	w->lookups = lookups;
	if (!w->slots || !w->gpa) {
		slots_work_fini(w);
		return -ENOMEM;
	}
	layout(w, n, &seed);
	fill(w, mix, local, &seed);
	return 0;
}

void slots_work_fini(struct slots_work *w)
{
	free(w->slots);
	free(w->gpa);
	memset(w, 0, sizeof(*w));
}
