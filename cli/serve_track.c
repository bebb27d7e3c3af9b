/* SPDX-License-Identifier: BSD-2-Clause */
/* A tracker for a disk that is served, and what clients see of it. */
#include "cli/serve_track.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbt/filter.h"
#include "cli/serve_instant.h"
#include "cbt/kept.h"
#include "nbd/proto.h"

#define PREFIX "qemu:dirty-bitmap:"

struct serve_context {
	struct serve_context *next;
	uint8_t uuid[16];
	bool seen;
	char name[sizeof(PREFIX) + CBT_LONGEST_NAME];
};

/* What a context carries: it may outlive the name. */
struct asked {
	struct cbt *cbt;
	uint8_t uuid[16];
};

int serve_track(struct serve_disk *d, const struct cbt_options *options)
{
	struct tide_disk *tracked;
	struct tide_error err;
	int ret = cbt_open(d->disk, options, &d->cbt, &err);

	if (!ret && cbt_take_kept(d->cbt, &err))
		snprintf(d->note, sizeof(d->note), "its own bitmaps: %s",
			 err.text);
	if (!ret)
		ret = serve_instant_layer(d, &err);
	if (!ret)
		ret = cbt_filter_create(d->disk, d->cbt, &tracked, &err);
	if (ret) {
		snprintf(d->untracked, sizeof(d->untracked), "%s", err.text);
		return ret;
	}
	d->disk = tracked;
	return 0;
}

static bool add_turns(void *opaque, const uint64_t *lengths_bytes, size_t n,
		      bool dirty)
{
	return nbd_extents_add_turns(opaque, lengths_bytes, n,
				     dirty ? NBD_STATE_DIRTY : 0,
				     dirty ? 0 : NBD_STATE_DIRTY);
}

static int extents(void *opaque, uint64_t offset_bytes, uint64_t length_bytes,
		   struct nbd_extents *into, struct tide_error *err)
{
	struct asked *a = opaque;

	return cbt_changes_of(a->cbt, a->uuid, offset_bytes, length_bytes,
			      add_turns, into, err);
}

static void offer(struct serve_disk *d, const struct cbt_info *info)
{
	struct serve_context *s = calloc(1, sizeof(*s));
	struct asked *a = calloc(1, sizeof(*a));
	struct nbd_context c = { .extents = extents, .release = free,
				 .opaque = a };

	if (s && a) {
		snprintf(s->name, sizeof(s->name), PREFIX "%s", info->name);
		memcpy(s->uuid, info->uuid, 16);
		memcpy(a->uuid, info->uuid, 16);
		a->cbt = d->cbt;
		s->seen = true;
		if (!nbd_contexts_add(d->export, s->name, &c, NULL)) {
			s->next = d->contexts;
			d->contexts = s;
			return;
		}
	}
	free(s);
	free(a);
}

static struct serve_context *find(const struct serve_disk *d,
				  const struct cbt_info *info)
{
	struct serve_context *s = d->contexts;

	while (s && (memcmp(s->uuid, info->uuid, 16) ||
		     strcmp(s->name + strlen(PREFIX), info->name)))
		s = s->next;
	return s;
}

/* Those whose point is gone, or has another name. */
static void withdraw(struct serve_disk *d)
{
	struct serve_context **at = &d->contexts, *s;

	while ((s = *at)) {
		if (s->seen) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		nbd_contexts_remove(d->export, s->name, NULL);
		free(s);
	}
}

/* The list is of now: who waited here for another does not offer what was. */
static void offer_now(struct serve_disk *d)
{
	struct cbt_info *list;
	size_t count;

	if (cbt_list(d->cbt, CBT_UNCOUNTED, &list, &count))
		return;
	for (struct serve_context *s = d->contexts; s; s = s->next)
		s->seen = false;
	for (size_t i = 0; i < count; i++) {
		struct serve_context *s = find(d, &list[i]);

		if (s && list[i].word != CBT_SAYS_INCONSISTENT)
			s->seen = true;
	}
	withdraw(d);
	for (size_t i = 0; i < count; i++)
		if (list[i].word != CBT_SAYS_INCONSISTENT &&
		    !find(d, &list[i]))
			offer(d, &list[i]);
	free(list);
}

void serve_offer(struct serve_disk *d)
{
	if (!d->export || !d->cbt)
		return;
	pthread_mutex_lock(&d->lock);
	offer_now(d);
	pthread_mutex_unlock(&d->lock);
}

void serve_disk_fini(struct serve_disk *d)
{
	struct serve_context *s;

	serve_instant_fini(d);
	while ((s = d->contexts)) {
		d->contexts = s->next;
		free(s);
	}
	pthread_mutex_destroy(&d->lock);
}
