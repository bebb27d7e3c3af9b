/* SPDX-License-Identifier: BSD-2-Clause */
#include "kinds_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "maps/kinds.h"
#include "measure.h"

/* Data clusters written between one L2 table's copy and the next. */
#define DATA_PER_COPY 16

/* The file while it grows. */
struct file {
	struct kinds_image *im;
	uint64_t at, block_every;
	struct kinds_place *blocks;
	size_t n_blocks, room;
	bool no_memory;
};

struct l2 {
	uint64_t cluster;
	uint32_t since;		/* snapshots that existed when it was made */
};

static void keep(struct kinds_place **v, size_t *n, size_t *room, bool *failed,
		 struct kinds_place p)
{
	if (*n == *room) {
		size_t more = *room ? *room + *room / 2 : 64;
		struct kinds_place *bigger = realloc(*v, more * sizeof(**v));

		if (!bigger) {
			*failed = true;
			return;
		}
		*v = bigger;
		*room = more;
	}
	(*v)[(*n)++] = p;
}

static void place(struct file *f, enum tide_kind kind, uint64_t cluster,
		  uint64_t n)
{
	keep(&f->im->place, &f->im->places, &f->im->room, &f->no_memory,
	     (struct kinds_place){ cluster, (uint32_t)n, kind });
}

static uint64_t to_border(const struct file *f)
{
	return f->block_every - f->at % f->block_every;
}

static void put_block(struct file *f)
{
	keep(&f->blocks, &f->n_blocks, &f->room, &f->no_memory,
	     (struct kinds_place){ f->at++, 1, TIDE_KIND_REFCOUNT_BLOCK });
}

/* A refcount block stands first in the clusters that it counts. */
static void block_if_due(struct file *f)
{
	if (!f->im->contiguous && f->at % f->block_every == 0)
		put_block(f);
}

/* @n clusters of metadata in a row; the blocks that count them follow. */
static uint64_t take(struct file *f, uint64_t n)
{
	uint64_t border, start;

	block_if_due(f);
	start = f->at;
	border = f->at + to_border(f);
	f->at += n;
	for (; border < f->at && !f->im->contiguous; border += f->block_every)
		put_block(f);
	return start;
}

static void take_data(struct file *f, uint64_t n)
{
	if (f->im->contiguous) {
		f->at += n;
		return;
	}
	while (n) {
		uint64_t row;

		block_if_due(f);
		row = to_border(f) < n ? to_border(f) : n;
		f->at += row;
		n -= row;
	}
}

static uint64_t clusters_of(const struct kinds_image *im, uint64_t bytes)
{
	uint64_t cluster = UINT64_C(1) << im->cluster_bits;

	return (bytes + cluster - 1) >> im->cluster_bits;
}

/* Header, first block (or all), refcount table, L1: the head of the file. */
static void lay_head(struct file *f, uint64_t blocks)
{
	struct kinds_image *im = f->im;

	f->at = 1;
	for (uint64_t i = 0; i < (im->contiguous ? blocks : 1); i++)
		put_block(f);
	im->reftable_n = blocks;
	im->reftable_at = take(f, clusters_of(im, blocks * 8));
	im->l1_at = take(f, clusters_of(im, im->l1_n * 8));
}

static void lay_tables(struct file *f, struct l2 *l2, uint64_t per_table)
{
	struct kinds_image *im = f->im;

	for (size_t i = 0; i < im->l1_n; i++) {
		l2[i] = (struct l2){ take(f, 1), 0 };
		if (!im->contiguous)
			take_data(f, per_table);
	}
	if (im->contiguous)
		take_data(f, per_table * im->l1_n);
}

/* A snapshot: a copy of the L1 table; then some L2 tables are copied. */
static void lay_snapshot(struct file *f, struct l2 *l2, uint32_t number,
			 struct kinds_place **old, size_t *n_old, size_t *room)
{
	struct kinds_image *im = f->im;
	size_t copies = im->l1_n / 100 + 1;
	uint64_t seed = number;

	im->old_l1[number - 1] = take(f, clusters_of(im, im->l1_n * 8));
	for (size_t i = 0; i < copies; i++) {
		struct l2 *table = &l2[bench_random(&seed) % im->l1_n];

		if (table->since == number)
			continue;
		keep(old, n_old, room, &f->no_memory,
		     (struct kinds_place){ table->cluster, 1,
					   TIDE_KIND_INACTIVE_L2 });
		*table = (struct l2){ take(f, 1), number };
		if (!im->contiguous)
			take_data(f, DATA_PER_COPY);
	}
	if (im->contiguous)
		take_data(f, copies * DATA_PER_COPY);
}

/* One bitmap of the disk, of 64 KiB granularity. */
static void lay_bitmap(struct file *f)
{
	struct kinds_image *im = f->im;
	uint64_t data = clusters_of(im, im->guest_bytes >> 19);

	for (uint64_t i = 0; i < data; i++)
		place(f, TIDE_KIND_BITMAP_DATA, take(f, 1), 1);
	place(f, TIDE_KIND_BITMAP_TABLE,
	      take(f, clusters_of(im, data * 8)),
	      clusters_of(im, data * 8));
	place(f, TIDE_KIND_BITMAP_DIRECTORY, take(f, 1), 1);
}

/* All places in the order of a walk; l1 and reftable as in memory. */
static void list(struct file *f, const struct l2 *l2,
		 const struct kinds_place *old, size_t n_old)
{
	struct kinds_image *im = f->im;
	uint64_t l1 = clusters_of(im, im->l1_n * 8);

	place(f, TIDE_KIND_HEADER, 0, 1);
	place(f, TIDE_KIND_L1, im->l1_at, l1);
	place(f, TIDE_KIND_REFCOUNT_TABLE, im->reftable_at,
	      clusters_of(im, im->reftable_n * 8));
	for (size_t i = 0; i < im->l1_n; i++) {
		place(f, TIDE_KIND_L2, l2[i].cluster, 1);
		im->l1[i] = l2[i].cluster << im->cluster_bits;
	}
	if (im->reftable_n < f->n_blocks)
		im->reftable_n = f->n_blocks;
	im->reftable = calloc(im->reftable_n, sizeof(*im->reftable));
	f->no_memory |= !im->reftable;
	for (size_t i = 0; i < f->n_blocks && im->reftable; i++) {
		place(f, TIDE_KIND_REFCOUNT_BLOCK, f->blocks[i].cluster, 1);
		im->reftable[i] = f->blocks[i].cluster << im->cluster_bits;
	}
	if (im->snapshots)
		place(f, TIDE_KIND_SNAPSHOT_TABLE, im->snapshot_at,
		      clusters_of(im, im->snapshots * 64));
	for (uint32_t i = 0; i < im->snapshots; i++)
		place(f, TIDE_KIND_INACTIVE_L1, im->old_l1[i], l1);
	for (size_t i = 0; i < n_old; i++)
		place(f, old[i].kind, old[i].cluster, 1);
	for (size_t i = 0; i < im->l1_n; i++)
		if (l2[i].since < im->snapshots)
			place(f, TIDE_KIND_INACTIVE_L2, l2[i].cluster, 1);
}

static void lay(struct file *f, struct l2 *l2)
{
	struct kinds_image *im = f->im;
	uint64_t per_table = UINT64_C(1) << (im->cluster_bits - 3);
	uint64_t data = (im->guest_bytes >> im->cluster_bits);
	uint64_t copies = im->snapshots * (im->l1_n / 100 + 1);
	struct kinds_place *old = NULL;
	size_t n_old = 0, room = 0;

	/* Enough, also for the tables and copies themselves. */
	lay_head(f, (data + data / 64 + im->snapshots * im->l1_n * 8 / 512 +
		     copies * (DATA_PER_COPY + 1)) / f->block_every + 2);
	lay_tables(f, l2, per_table);
	for (uint32_t i = 1; i <= im->snapshots; i++)
		lay_snapshot(f, l2, i, &old, &n_old, &room);
	if (im->snapshots)
		im->snapshot_at = take(f, clusters_of(im, im->snapshots * 64));
	lay_bitmap(f);
	list(f, l2, old, n_old);
	im->clusters = f->at;
	free(old);
}

int kinds_image_make(struct kinds_image *im)
{
	struct file f = {
		.im = im,
		.block_every = UINT64_C(1) << (im->cluster_bits - 1),
	};
	struct l2 *l2;

	im->l1_n = im->guest_bytes >> (2 * im->cluster_bits - 3);
	im->l1 = calloc(im->l1_n, sizeof(*im->l1));
	im->old_l1 = calloc(im->snapshots + 1, sizeof(*im->old_l1));
	l2 = calloc(im->l1_n, sizeof(*l2));
	if (l2 && im->l1 && im->old_l1)
		lay(&f, l2);
	else
		f.no_memory = true;
	free(f.blocks);
	free(l2);
	return f.no_memory ? -ENOMEM : 0;
}

static int copy_runs(struct kinds_image *im, const struct tide__btree *s)
{
	uint64_t bearing = 0;

	im->run = malloc((s->words + 1) * sizeof(*im->run));
	im->rank = malloc((s->words + 1) * sizeof(*im->rank));
	if (!im->run || !im->rank)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->leaves; i++)
		for (uint64_t j = 0; j < s->leaf[i]->words; j++) {
			uint64_t run = s->leaf[i]->v[j];

			im->rank[im->runs] = run_start(run) - bearing;
			im->run[im->runs++] = run;
			bearing += run_end(run) - run_start(run);
		}
	return 0;
}

int kinds_image_map(struct kinds_image *im, struct tide_kinds **out)
{
	struct tide_kinds *k;
	int ret = tide_kinds_create(&k, im->cluster_bits, NULL);

	if (ret < 0)
		return ret;
	for (size_t i = 0; ret == 0 && i < im->places; i++)
		ret = tide_kinds_add(k, im->place[i].kind,
				     im->place[i].cluster << im->cluster_bits,
				     (uint64_t)im->place[i].n
					     << im->cluster_bits,
				     NULL);
	if (ret == 0 && !im->run)
		ret = copy_runs(im, &k->runs);
	if (ret < 0)
		tide_kinds_destroy(k);
	else
		*out = k;
	return ret;
}

void kinds_image_fini(struct kinds_image *im)
{
	free(im->place);
	free(im->run);
	free(im->rank);
	free(im->l1);
	free(im->reftable);
	free(im->old_l1);
	memset(im, 0, sizeof(*im));
}

uint64_t kinds_image_host(const struct kinds_image *im, uint64_t guest)
{
	uint64_t cluster = guest >> im->cluster_bits;
	uint64_t inside = guest & ((UINT64_C(1) << im->cluster_bits) - 1);
	size_t low = 0, high = im->runs; /* the last run with rank <= cluster */

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (im->rank[middle] <= cluster)
			low = middle;
		else
			high = middle;
	}
	return ((run_end(im->run[low]) + cluster - im->rank[low])
		<< im->cluster_bits) + inside;
}
