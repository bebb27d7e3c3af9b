/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checkpoints and bitmaps: making, changing and removing them. Every verb has
 * the same steps: check; cut if an epoch has to end here; change the catalog;
 * tidy it; write it to the store. If the store fails, the change is undone and
 * the caller gets the reason.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbt/meta.h"
#include "cbt/tracker.h"
#include "cbt/window.h"

int cbt_no_point(const struct cbt *c, const char *name, struct tide_error *err)
{
	return tide_error_set(err, -ENOENT, "tracker", TIDE_NO_OFFSET,
			      "%s has no checkpoint or bitmap '%.200s'",
			      c->disk_path, name);
}

int cbt_usable(const struct cbt *c, const struct cbt_point *p,
	       struct tide_error *err)
{
	if (p->state != CBT_INCONSISTENT)
		return 0;
	return tide_error_set(err, -ESTALE, "tracker", TIDE_NO_OFFSET,
			      "%s: '%.200s' is inconsistent: %s; remove it, "
			      "and begin with all of the disk", c->disk_path,
			      p->name, p->reason ? p->reason : "unknown");
}

void cbt_doubt(struct cbt_catalog *catalog, const char *reason)
{
	for (size_t i = 0; i < catalog->point_count; i++) {
		struct cbt_point *p = catalog->points[i];

		if (p->state == CBT_DISABLED && p->epoch == CBT_NO_EPOCH)
			continue; /* it does not say more than it did */
		if (p->state == CBT_INCONSISTENT)
			continue; /* the first reason stays */
		p->state = CBT_INCONSISTENT;
		p->epoch = CBT_NO_EPOCH;
		free(p->reason);
		p->reason = strdup(reason);
		cbt_image_clear(&p->own);
	}
}

int cbt_check_name(const struct cbt *c, const char *name,
		   struct tide_error *err)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			length = 0;
	if (!length || length > CBT_LONGEST_NAME)
		return tide_error_set(err, -EINVAL, "tracker", TIDE_NO_OFFSET,
				      "a name has 1 to %u bytes and no control "
				      "characters", CBT_LONGEST_NAME);
	if (cbt_catalog_find(&c->catalog, name))
		return tide_error_set(err, -EEXIST, "tracker", TIDE_NO_OFFSET,
				      "%s has a checkpoint or bitmap '%.200s' "
				      "already", c->disk_path, name);
	if (c->catalog.point_count >= CBT_MAX_POINTS)
		return tide_error_set(err, -E2BIG, "tracker", TIDE_NO_OFFSET,
				      "%s has %u checkpoints and bitmaps: remove "
				      "some", c->disk_path, CBT_MAX_POINTS);
	return 0;
}

void cbt_drop_point(struct cbt *c, struct cbt_point *p)
{
	cbt_catalog_take(&c->catalog, p);
	cbt_point_destroy(p);
	cbt_tidy(c);
}

/* With the lock: the point, of that kind (0: any). */
static int take_point(struct cbt *c, const char *name, enum cbt_kind kind,
		      struct cbt_point **p, struct tide_error *err)
{
	pthread_mutex_lock(&c->lock);
	*p = cbt_catalog_find(&c->catalog, name);
	if (*p && (!kind || (*p)->kind == kind))
		return 0;
	if (!*p)
		return cbt_no_point(c, name, err);
	return tide_error_set(err, -EINVAL, "tracker", TIDE_NO_OFFSET,
			      "%s: '%.200s' is a %s", c->disk_path, name,
			      (*p)->kind == CBT_BITMAP ? "bitmap"
						       : "checkpoint");
}

static int leave(struct cbt *c, int ret)
{
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static size_t index_of(const struct cbt_catalog *k, const struct cbt_point *p)
{
	size_t i = 0;

	while (k->points[i] != p)
		i++;
	return i;
}

/* Out of the catalog; back again if the store will not have it so. */
static int remove_point(struct cbt *c, struct cbt_point *p,
			struct tide_error *err)
{
	size_t at = index_of(&c->catalog, p);
	int ret;

	cbt_catalog_take(&c->catalog, p);
	ret = cbt_commit(c, err);
	if (!ret) {
		cbt_point_destroy(p);
		cbt_tidy(c); /* the store gets it with what comes next */
		return 0;
	}
	/* There was room for it before. */
	memmove(c->catalog.points + at + 1, c->catalog.points + at,
		(c->catalog.point_count - at) * sizeof(p));
	c->catalog.points[at] = p;
	c->catalog.point_count++;
	return ret;
}

static int remove_named(struct cbt *c, const char *name, enum cbt_kind kind,
			struct tide_error *err)
{
	struct cbt_point *p;
	int ret = take_point(c, name, kind, &p, err);

	if (!ret)
		ret = remove_point(c, p, err);
	return leave(c, ret);
}

int cbt_checkpoint_delete(struct cbt *c, const char *name,
			  struct tide_error *err)
{
	return remove_named(c, name, CBT_CHECKPOINT, err);
}

int cbt_bitmap_remove(struct cbt *c, const char *name, struct tide_error *err)
{
	return remove_named(c, name, CBT_BITMAP, err);
}

int cbt_checkpoint_finish(struct cbt *c, const char *name, bool keep,
			  struct tide_error *err)
{
	struct cbt_point *p;
	int ret = take_point(c, name, CBT_CHECKPOINT, &p, err);

	/* Gone is what an abort wants, and pending no more what a commit. */
	if (ret == -ENOENT && !keep)
		return leave(c, 0);
	if (ret)
		return leave(c, ret);
	if (!keep && !p->pending)
		return leave(c, tide_error_set(err, -EINVAL, "tracker",
			TIDE_NO_OFFSET, "%s: '%.200s' was committed: it can be "
			"deleted, not aborted", c->disk_path, name));
	if (!keep)
		return leave(c, remove_point(c, p, err));
	if (!p->pending)
		return leave(c, 0);
	p->pending = false;
	ret = cbt_commit(c, err);
	if (ret)
		p->pending = true;
	return leave(c, ret);
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static int check_granularity(uint64_t bytes, uint32_t *shift,
			     struct tide_error *err)
{
	if (is_power_of_two(bytes) && bytes >> CBT_MIN_SHIFT &&
	    bytes <= UINT64_C(1) << CBT_MAX_SHIFT) {
		*shift = (uint32_t)__builtin_ctzll(bytes);
		return 0;
	}
	return tide_error_set(err, -EINVAL, "tracker", TIDE_NO_OFFSET,
			      "a granularity is a power of two from 512 to 2G, "
			      "not %" PRIu64, bytes);
}

/* A bitmap that is in the catalog, and not in the store yet. */
static struct cbt_point *new_bitmap(struct cbt *c, const char *name,
				    uint32_t shift)
{
	struct cbt_point *p = cbt_catalog_add(&c->catalog, CBT_BITMAP, name);

	if (!p)
		return NULL;
	p->shift = shift;
	p->state = CBT_DISABLED;
	if (!cbt_image_init(&p->own, cbt_bits_of(c->catalog.size_bytes, shift),
			    shift))
		return p;
	cbt_drop_point(c, p);
	return NULL;
}

static int commit_new(struct cbt *c, struct cbt_point *p,
		      struct tide_error *err)
{
	int ret;

	cbt_tidy(c);
	ret = cbt_commit(c, err);
	if (ret)
		cbt_drop_point(c, p);
	return ret;
}

static int add_bitmap(struct cbt *c, const char *name, uint32_t shift,
		      bool enabled, struct tide_error *err)
{
	struct cbt_point *p;
	int ret = cbt_check_name(c, name, err);

	if (ret)
		return ret;
	p = new_bitmap(c, name, shift);
	if (!p)
		return cbt_no_memory(c, err);
	if (enabled) {
		p->state = CBT_RECORDING; /* the cut shall know */
		ret = cbt_cut(&c, 1, err);
		p->epoch = c->catalog.epoch;
	}
	if (ret) {
		cbt_drop_point(c, p);
		return ret;
	}
	return commit_new(c, p, err);
}

int cbt_bitmap_add(struct cbt *c, const char *name, uint64_t granularity_bytes,
		   bool enabled, struct tide_error *err)
{
	uint32_t shift = 0;
	int ret = check_granularity(granularity_bytes, &shift, err);

	if (ret)
		return ret;
	pthread_mutex_lock(&c->lock);
	return leave(c, add_bitmap(c, name, shift, enabled, err));
}

int cbt_bitmap_import(struct cbt *c, const char *name,
		      const struct cbt_image *bits, struct tide_error *err)
{
	struct cbt_point *p;
	int ret;

	pthread_mutex_lock(&c->lock);
	ret = cbt_check_name(c, name, err);
	if (ret)
		return leave(c, ret);
	p = new_bitmap(c, name, bits->shift);
	if (!p)
		return leave(c, cbt_no_memory(c, err));
	if (cbt_image_or(&p->own, bits)) {
		cbt_drop_point(c, p);
		return leave(c, cbt_no_memory(c, err));
	}
	return leave(c, commit_new(c, p, err));
}

/*
 * @p has other own bits and another epoch and state; what it had comes back if
 * the store will not have it.
 */
static int change(struct cbt *c, struct cbt_point *p, struct cbt_image *own,
		  uint64_t epoch, enum cbt_state state, struct tide_error *err)
{
	struct cbt_point old = *p;
	int ret;

	cbt_meta_note(c, p, own, epoch);
	p->own = *own;
	p->epoch = epoch;
	p->state = state;
	p->reason = NULL;
	ret = cbt_commit(c, err);
	if (ret) {
		cbt_image_fini(&p->own);
		*p = old;
		return ret;
	}
	cbt_image_fini(&old.own);
	free(old.reason);
	cbt_tidy(c);
	return 0;
}

static int empty_like(struct cbt *c, const struct cbt_point *p,
		      struct cbt_image *out, struct tide_error *err)
{
	if (!cbt_image_init(out, cbt_bits_of(c->catalog.size_bytes, p->shift),
			    p->shift))
		return 0;
	return cbt_no_memory(c, err);
}

int cbt_bitmap_clear(struct cbt *c, const char *name, struct tide_error *err)
{
	struct cbt_image own;
	struct cbt_point *p;
	bool records;
	int ret = take_point(c, name, CBT_BITMAP, &p, err);

	if (!ret)
		ret = cbt_usable(c, p, err);
	if (!ret)
		ret = empty_like(c, p, &own, err);
	if (ret)
		return leave(c, ret);
	records = p->state == CBT_RECORDING;
	if (records)
		ret = cbt_cut(&c, 1, err);
	if (ret) {
		cbt_image_fini(&own);
		return leave(c, ret);
	}
	return leave(c, change(c, p, &own,
			       records ? c->catalog.epoch : CBT_NO_EPOCH,
			       p->state, err));
}

/* It keeps what it has, and goes on from here or does not. */
static int turn(struct cbt *c, struct cbt_point *p, bool enabled,
		struct tide_error *err)
{
	struct cbt_image own;
	int ret = cbt_cut(&c, 1, err);

	if (!ret)
		ret = empty_like(c, p, &own, err);
	if (ret)
		return ret;
	if (cbt_gather_past(c, p, &own)) {
		cbt_image_fini(&own);
		return cbt_no_memory(c, err);
	}
	return change(c, p, &own, enabled ? c->catalog.epoch : CBT_NO_EPOCH,
		      enabled ? CBT_RECORDING : CBT_DISABLED, err);
}

int cbt_bitmap_enable(struct cbt *c, const char *name, bool enabled,
		      struct tide_error *err)
{
	struct cbt_point *p;
	int ret = take_point(c, name, CBT_BITMAP, &p, err);

	if (!ret)
		ret = cbt_usable(c, p, err);
	if (!ret && (p->state == CBT_RECORDING) != enabled)
		ret = turn(c, p, enabled, err);
	return leave(c, ret);
}

int cbt_rename(struct cbt *c, const char *from, const char *to,
	       struct tide_error *err)
{
	struct cbt_point *p;
	char *old, *name;
	int ret = take_point(c, from, 0, &p, err);

	if (!ret)
		ret = cbt_check_name(c, to, err);
	if (ret)
		return leave(c, ret);
	name = strdup(to);
	if (!name)
		return leave(c, cbt_no_memory(c, err));
	old = p->name;
	p->name = name;
	ret = cbt_commit(c, err);
	if (ret)
		p->name = old;
	free(ret ? name : old);
	return leave(c, ret);
}

/* What @name says of @c, into @out, which is made here. */
static int export(struct cbt *c, const char *name, struct cbt_image *out,
		  struct tide_error *err)
{
	struct cbt_point *p;
	int ret = take_point(c, name, 0, &p, err);

	if (!ret)
		ret = cbt_usable(c, p, err);
	if (!ret)
		ret = empty_like(c, p, out, err);
	if (!ret && cbt_gather(c, p, out)) {
		cbt_image_fini(out);
		ret = cbt_no_memory(c, err);
	}
	return leave(c, ret);
}

int cbt_export(struct cbt *c, const char *name, struct cbt_image *out,
	       struct tide_error *err)
{
	return export(c, name, out, err);
}

static int merge(struct cbt *c, struct cbt_point *p,
		 const struct cbt_image *from, struct tide_error *err)
{
	struct cbt_image own;
	int ret = cbt_usable(c, p, err);

	if (!ret)
		ret = empty_like(c, p, &own, err);
	if (ret)
		return ret;
	if (cbt_image_or(&own, &p->own) || cbt_image_or(&own, from)) {
		cbt_image_fini(&own);
		return cbt_no_memory(c, err);
	}
	return change(c, p, &own, p->epoch, p->state, err);
}

int cbt_bitmap_merge(struct cbt *c, const char *name, struct cbt *other,
		     const char *source, struct tide_error *err)
{
	struct cbt_image from;
	struct cbt_point *p;
	int ret = export(other, source, &from, err);

	if (ret)
		return ret;
	ret = take_point(c, name, CBT_BITMAP, &p, err);
	if (!ret)
		ret = merge(c, p, &from, err);
	cbt_image_fini(&from);
	return leave(c, ret);
}

int cbt_bitmap_add_bits(struct cbt *c, const char *name,
			const struct cbt_image *bits, struct tide_error *err)
{
	struct cbt_point *p;
	int ret = take_point(c, name, CBT_BITMAP, &p, err);

	return leave(c, ret ? ret : merge(c, p, bits, err));
}
