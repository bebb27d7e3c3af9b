/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making checkpoints, of one disk or of several at one instant.
 *
 * The instant is one because all gates are held while the epochs end. The
 * stores have to agree on it, too, though each is written by itself: first
 * every store records the checkpoint as being made, then every store records
 * it as made. If the process is killed in between, either no store says
 * "made", and the checkpoint is dropped everywhere; or one does, which means
 * that every store knows of it, and it is kept.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cbt/tracker.h"

static void lock_all(struct cbt *const *disks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pthread_mutex_lock(&disks[i]->lock);
}

static void unlock_all(struct cbt *const *disks, size_t count)
{
	for (size_t i = count; i-- > 0;)
		pthread_mutex_unlock(&disks[i]->lock);
}

static int by_address(const void *a, const void *b)
{
	uintptr_t one = (uintptr_t)*(struct cbt *const *)a;
	uintptr_t other = (uintptr_t)*(struct cbt *const *)b;

	return (one > other) - (one < other);
}

static const struct cbt_point *newest(const struct cbt_catalog *k)
{
	for (size_t i = k->point_count; i-- > 0;)
		if (k->points[i]->kind == CBT_CHECKPOINT &&
		    k->points[i]->state == CBT_RECORDING)
			return k->points[i];
	return NULL;
}

/* After the cut. */
static struct cbt_point *add_checkpoint(struct cbt *c, const char *name,
					bool pending, const uint8_t group[16])
{
	const struct cbt_point *parent = newest(&c->catalog);
	struct cbt_point *p;

	p = cbt_catalog_add(&c->catalog, CBT_CHECKPOINT, name);
	if (!p)
		return NULL;
	p->epoch = c->catalog.epoch;
	p->shift = c->catalog.usual_shift;
	p->pending = pending;
	if (parent)
		memcpy(p->parent, parent->uuid, 16);
	memcpy(p->group, group, 16);
	return p;
}

/* The store of each hears of it: 0, or the first that would not. */
static int commit_all(struct cbt *const *disks, size_t count,
		      struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++)
		ret = cbt_commit(disks[i], err);
	return ret;
}

static int add_all(struct cbt *const *disks, size_t count, const char *name,
		   bool pending, struct tide_error *err)
{
	uint8_t group[16] = { 0 };
	int ret = 0;

	if (count > 1 && getrandom(group, 16, 0) != 16)
		return tide_error_set(err, -EIO, "tracker", TIDE_NO_OFFSET,
				      "the kernel has no random bytes");
	for (size_t i = 0; i < count && !ret; i++) {
		struct cbt_point *p = add_checkpoint(disks[i], name, pending,
						     group);

		if (!p)
			return cbt_no_memory(disks[i], err);
		p->making = count > 1;
		cbt_tidy(disks[i]);
	}
	return ret;
}

static void made_all(struct cbt *const *disks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		cbt_catalog_find(&disks[i]->catalog, name)->making = false;
}

/* All of them or none. */
static void drop_all(struct cbt *const *disks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		struct cbt_point *p = cbt_catalog_find(&disks[i]->catalog,
						       name);

		if (!p)
			continue;
		cbt_drop_point(disks[i], p);
		cbt_commit(disks[i], NULL);
	}
}

/* At the moment, which nothing else may see or hold up. */
struct moment {
	void (*call)(void *opaque); /* NULL: nothing */
	void *opaque;
};

static int create_all(struct cbt *const *disks, size_t count,
		      const char *name, bool pending, const struct moment *m,
		      struct tide_error *err)
{
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++)
		ret = cbt_check_name(disks[i], name, err);
	if (!ret)
		ret = cbt_cut_and(disks, count, m->call, m->opaque, err);
	if (ret)
		return ret;
	ret = add_all(disks, count, name, pending, err);
	if (!ret)
		ret = commit_all(disks, count, err);
	if (!ret && count > 1) {
		made_all(disks, count, name);
		ret = commit_all(disks, count, err);
	}
	if (ret)
		drop_all(disks, count, name);
	return ret;
}

static int create_sorted(struct cbt *const *disks, size_t count,
			 const char *name, bool pending,
			 const struct moment *m, struct tide_error *err)
{
	struct cbt **sorted = malloc((count + 1) * sizeof(struct cbt *));
	int ret;

	if (!sorted)
		return tide_error_set(err, -ENOMEM, "tracker", TIDE_NO_OFFSET,
				      "no memory for %zu disks", count);
	memcpy(sorted, disks, count * sizeof(struct cbt *));
	qsort(sorted, count, sizeof(struct cbt *), by_address);
	lock_all(sorted, count);
	ret = create_all(sorted, count, name, pending, m, err);
	unlock_all(sorted, count);
	free(sorted);
	return ret;
}

int cbt_checkpoint_create(struct cbt *const *disks, size_t count,
			  const char *name, bool pending,
			  struct tide_error *err)
{
	const struct moment none = { NULL, NULL };

	return create_sorted(disks, count, name, pending, &none, err);
}

int cbt_checkpoint_begin(struct cbt *const *disks, size_t count,
			 const char *name, void (*at_moment)(void *opaque),
			 void *opaque, struct tide_error *err)
{
	const struct moment m = { at_moment, opaque };

	return create_sorted(disks, count, name, true, &m, err);
}

/* Does any store say that this group's checkpoint is made? */
static bool is_made(struct cbt *const *disks, size_t count,
		    const uint8_t group[16])
{
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < disks[i]->catalog.point_count; k++) {
			const struct cbt_point *p =
				disks[i]->catalog.points[k];

			if (!p->making && !memcmp(p->group, group, 16))
				return true;
		}
	return false;
}

static struct cbt_point *next_making(struct cbt *c)
{
	for (size_t i = 0; i < c->catalog.point_count; i++)
		if (c->catalog.points[i]->making)
			return c->catalog.points[i];
	return NULL;
}

void cbt_finish_groups(struct cbt *const *disks, size_t count)
{
	struct cbt_point *p;

	for (size_t i = 0; i < count; i++)
		while ((p = next_making(disks[i]))) {
			if (is_made(disks, count, p->group))
				p->making = false;
			else
				cbt_drop_point(disks[i], p);
			cbt_commit(disks[i], NULL);
		}
}
