/* SPDX-License-Identifier: BSD-2-Clause */
/* How instants come and go. */
#include "instant/instant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "instant/internal.h"

#define USUAL_SHIFT 16u

/* A file without a name: it goes with us, however we end. */
static int open_scratch(const char *folder)
{
	char path[512];
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR &&
			errno != ENOENT))
		return fd;
	snprintf(path, sizeof(path), "%s/tidemark-scratch-XXXXXX", folder);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static void free_instant(struct instant *i)
{
	if (i->scratch >= 0)
		close(i->scratch);
	for (uint32_t n = 0; n < INSTANT_LOCKS; n++)
		pthread_mutex_destroy(&i->locks[n]);
	pthread_mutex_destroy(&i->reason_lock);
	instant_shared_free(i->shared, i->shared_fd);
	free(i->disk.path);
	free(i);
}

static int prepare(struct instant *i, struct tide_disk *layer,
		   const struct instant_options *o, struct tide_error *err)
{
	uint64_t size = tide_disk_size(layer);

	i->disk = (struct tide_disk){
		.ops = &tide__instant_ops,
		.size_bytes = size,
		.alignment_bytes = 1,
		.fixed_size = true,
		.path = strdup(layer->path),
	};
	i->layer = layer_of(layer);
	i->shift = o->shift ? o->shift : USUAL_SHIFT;
	i->bound_bytes = o->bound_bytes;
	i->blocks = (size + (UINT64_C(1) << i->shift) - 1) >> i->shift;
	/* Zeroes: all are needed. */
	i->shared = instant_shared_create(size, i->shift, &i->shared_fd);
	if (!i->shared || !i->disk.path)
		return tide_error_set(err, -ENOMEM, "instant", TIDE_NO_OFFSET,
				      "%s: no memory for an instant",
				      layer->path);
	i->scratch = open_scratch(o->folder);
	if (i->scratch < 0)
		return tide_error_set(err, -errno, "instant", TIDE_NO_OFFSET,
				      "%.100s: a scratch file in %.80s: %s",
				      layer->path, o->folder,
				      strerror(errno));
	return 0;
}

int instant_prepare(struct tide_disk *layer,
		    const struct instant_options *options,
		    struct instant **out, struct tide_error *err)
{
	struct instant *i = calloc(1, sizeof(*i));
	int ret;

	if (!i)
		return tide_error_set(err, -ENOMEM, "instant", TIDE_NO_OFFSET,
				      "%s: no memory for an instant",
				      layer->path);
	i->scratch = i->shared_fd = -1;
	pthread_mutex_init(&i->reason_lock, NULL);
	for (uint32_t n = 0; n < INSTANT_LOCKS; n++)
		pthread_mutex_init(&i->locks[n], NULL);
	ret = prepare(i, layer, options, err);
	if (ret) {
		free_instant(i);
		return ret;
	}
	*out = i;
	return 0;
}

void instant_drop(struct instant *i)
{
	if (i)
		free_instant(i);
}

void instant_start(struct instant *i)
{
	struct layer *l = i->layer;

	pthread_rwlock_wrlock(&l->list_lock);
	i->started = true;
	i->next = l->instants;
	l->instants = i;
	/* Pairs with the acquire of a change, which comes after. */
	tide__store_release(&l->count, l->count + 1);
	pthread_rwlock_unlock(&l->list_lock);
}

struct tide_disk *instant_disk(struct instant *i)
{
	return &i->disk;
}

int instant_offer(struct instant *i, int *disk_fd, int *states_fd)
{
	int disk;

	if (i->shared_fd < 0)
		return -ENOTSUP;
	disk = tide__disk_reader_fd(i->layer->below);
	if (disk < 0)
		return disk;
	*states_fd = fcntl(i->shared_fd, F_DUPFD_CLOEXEC, 0);
	if (*states_fd < 0) {
		close(disk);
		return -errno;
	}
	*disk_fd = disk;
	return 0;
}

void instant_end(struct instant *i, const char *reason)
{
	struct layer *l = i->layer;
	struct instant **at;

	instant_die(i, "%s", reason);
	pthread_rwlock_wrlock(&l->list_lock);
	if (i->started && !i->ended) {
		for (at = &l->instants; *at != i;)
			at = &(*at)->next;
		*at = i->next;
		tide__store_release(&l->count, l->count - 1);
	}
	i->ended = true;
	pthread_rwlock_unlock(&l->list_lock);
	/* Readers that are on their way look again, and fail. */
	if (ftruncate(i->scratch, 0) == 0)
		tide__store_relaxed(&i->kept_bytes, 0);
}

void instant_state(struct instant *i, struct instant_state *out)
{
	memset(out, 0, sizeof(*out));
	out->dead = tide__load_seqcst(&i->shared->dead);
	pthread_mutex_lock(&i->reason_lock);
	if (out->dead)
		memcpy(out->reason, i->reason, sizeof(out->reason));
	pthread_mutex_unlock(&i->reason_lock);
	out->kept_bytes = tide__load_relaxed(&i->kept_bytes);
	out->max_kept_bytes = tide__load_relaxed(&i->max_kept_bytes);
	out->bound_bytes = i->bound_bytes;
	out->copies = tide__load_relaxed(&i->copies);
}

/* --- the view's close, which is the end of all ---------------------------- */

int instant_close(struct tide_disk *d, struct tide_error *err)
{
	struct instant *i = (struct instant *)d;

	(void)err;
	instant_end(i, "it was closed");
	free_instant(i);
	return 0;
}
