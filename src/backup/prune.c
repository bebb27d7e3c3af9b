/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/prune.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/chain.h"
#include "transfer/pump.h"

/* --- which ---------------------------------------------------------------- */

/* A number that is the same for times of one day, week or month. */
static int64_t bucket(uint64_t created_s, char unit)
{
	time_t when = (time_t)created_s;
	int64_t days = (int64_t)(created_s / 86400);
	struct tm tm;

	if (unit == 'd')
		return days;
	if (unit == 'w')
		return (days + 3) / 7; /* the epoch was a Thursday */
	return gmtime_r(&when, &tm) ? tm.tm_year * 12 + tm.tm_mon : 0;
}

static void keep_newest_of(const struct backup_folder *f, char unit,
			   uint64_t max, bool *keep)
{
	int64_t last = INT64_MIN;

	for (size_t i = f->count; i-- > 0 && max;) {
		int64_t b = bucket(f->points[i].created_s, unit);

		if (b == last)
			continue;
		keep[i] = true;
		last = b;
		max--;
	}
}

void backup_prune_choose(const struct backup_folder *f,
			 const struct backup_policy *policy, bool *keep)
{
	for (size_t i = 0; i < f->count; i++)
		keep[i] = i + 1 == f->count || f->count - i <= policy->last;
	keep_newest_of(f, 'd', policy->daily, keep);
	keep_newest_of(f, 'w', policy->weekly, keep);
	keep_newest_of(f, 'm', policy->monthly, keep);
}

/* --- one merge ------------------------------------------------------------ */

struct merge {
	const struct backup_folder *folder;
	const struct backup_prune_options *o;
	const struct backup_point *parent; /* of the new image; NULL: full */
	struct backup_chain chain; /* the layers that become one */
	struct backup_point point; /* as it will be */
	struct backup_image image;
	struct digests_writer digests;
	uint64_t at;
};

static int next(void *opaque, struct piece *p, struct tide_error *err)
{
	struct merge *m = opaque;
	int ret;

	do {
		ret = chain_take(&m->chain, &m->at, p, err);
	} while (ret > 0 && p->kind != PIECE_DATA);
	return ret;
}

static int work(void *opaque, uint32_t worker, struct piece *p,
		uint8_t *buf, struct tide_error *err)
{
	struct merge *m = opaque;
	int ret = tide_disk_read(m->chain.disk, p->offset_bytes, buf,
				 p->length_bytes, err);

	/* What is rotten is not made to look well. */
	if (!ret)
		ret = chain_check(&m->chain, p, buf, m->chain.point->image,
				  err);
	return ret ? ret : backup_image_put(&m->image, worker, p, buf, err);
}

static int finish(void *opaque, struct piece *p, struct tide_error *err)
{
	struct merge *m = opaque;
	int ret = 0;

	for (uint64_t i = 0; i < chunk_count(p->length_bytes) && !ret; i++)
		if (!p->chunks[i].zero || m->parent)
			ret = digests_add(&m->digests, &p->chunks[i], err);
	if (m->o->progress)
		m->o->progress(m->o->opaque, m->point.image,
			       p->offset_bytes + p->length_bytes,
			       m->point.size_bytes);
	return ret;
}

/* Image and digests beside those that are there, durable. */
static int build(struct merge *m, const char *image, const char *digests,
		 struct tide_error *err)
{
	struct pump pump = { .jobs = m->o->jobs, .next = next,
				    .work = work, .finish = finish,
				    .opaque = m, .stop = m->o->stop };
	int ret = digests_create(&m->digests, digests, m->point.number,
				 m->point.size_bytes, err);

	if (ret)
		return ret;
	ret = backup_image_create(&m->image, image, m->point.size_bytes,
				  m->parent, &m->o->compression, m->o->jobs,
				  err);
	if (!ret)
		ret = pump_run(&pump, err);
	ret = backup_image_close(&m->image, ret, err);
	if (ret)
		digests_drop(&m->digests);
	else
		ret = digests_finish(&m->digests, m->point.sum, err);
	return ret ? ret : folder_sync(m->folder, err);
}

/* A name that no file has. */
static void name_digests(const struct backup_folder *f, struct backup_point *p)
{
	for (unsigned int i = 1; ; i++) {
		snprintf(p->digests, sizeof(p->digests),
			 "%06" PRIu64 ".%u.digests", p->number, i);
		if (faccessat(f->fd, p->digests, F_OK, 0))
			return;
	}
}

/*
 * @p, which stands on points that go, down to @parent, gets what they hold.
 * From folder_replace on it is done, whatever happens.
 */
static int merge_into(struct backup_folder *f, const struct backup_point *p,
		      const struct backup_point *parent,
		      const struct backup_prune_options *o, uint64_t *bytes,
		      struct tide_error *err)
{
	struct merge m = { .folder = f, .o = o, .parent = parent,
			   .point = *p };
	char beside[BACKUP_NAME + 8], *image, *digests;
	int ret = chain_open_until(f, p, parent ? parent->number : 0, &m.chain,
				   err);

	if (ret)
		return ret;
	name_digests(f, &m.point);
	m.point.parent = parent ? parent->number : 0;
	snprintf(beside, sizeof(beside), "%s.new", p->image);
	image = folder_file(f, beside);
	digests = folder_file(f, m.point.digests);
	ret = image && digests ? build(&m, image, digests, err) :
		tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
			       "no memory to merge points");
	chain_close(&m.chain);
	free(image);
	free(digests);
	if (ret)
		return ret;
	backup_image_sums(&m.image, &m.point);
	*bytes += m.point.data_bytes;
	return folder_replace(f, &m.point, err);
}

/* --- all ------------------------------------------------------------------ */

static bool is_kept(const uint64_t *kept, size_t count, uint64_t number)
{
	for (size_t i = 0; i < count; i++)
		if (kept[i] == number)
			return true;
	return false;
}

/* Until every kept point stands on a kept one, or on none. */
static int merge_all(struct backup_folder *f, const uint64_t *kept,
		     size_t count, const struct backup_prune_options *o,
		     uint64_t *bytes, struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++) {
		const struct backup_point *p = folder_find(f, kept[i]);
		const struct backup_point *below = folder_find(f, p->parent);

		while (below && !is_kept(kept, count, below->number))
			below = folder_find(f, below->parent);
		if ((below ? below->number : 0) != p->parent)
			ret = merge_into(f, p, below, o, bytes, err);
	}
	return ret;
}

int backup_prune(struct backup_folder *f, const bool *keep,
		 const struct backup_prune_options *o, uint64_t *merged_bytes,
		 struct tide_error *err)
{
	uint64_t *kept = calloc(f->count + 1, sizeof(*kept));
	size_t count = 0, to = 0;
	int ret;

	*merged_bytes = 0;
	if (!kept)
		return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
				      "no memory to choose points");
	for (size_t i = 0; i < f->count; i++)
		if (keep[i])
			kept[count++] = f->points[i].number;
	ret = folder_sweep(f, err);
	if (!ret)
		ret = merge_all(f, kept, count, o, merged_bytes, err);
	/* Nothing that stays stands on them any more. */
	for (size_t i = 0; i < f->count && !ret; i++)
		if (is_kept(kept, count, f->points[i].number))
			f->points[to++] = f->points[i];
	if (!ret) {
		f->count = to;
		ret = folder_save(f, err);
	}
	/* After an error what lies there may be needed: the next run looks. */
	if (!ret)
		ret = folder_sweep(f, err);
	free(kept);
	return ret;
}
