/* SPDX-License-Identifier: BSD-2-Clause */
/* What is said of points. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cbt/tracker.h"

const char *cbt_word(enum cbt_word word)
{
	static const char *const words[] = {
		[CBT_SAYS_RECORDING] = "recording",
		[CBT_SAYS_DISABLED] = "disabled",
		[CBT_SAYS_BUSY] = "busy",
		[CBT_SAYS_READONLY] = "readonly",
		[CBT_SAYS_INCONSISTENT] = "inconsistent",
	};

	return words[word];
}

static enum cbt_word word_of(const struct cbt_point *p)
{
	if (p->state == CBT_INCONSISTENT)
		return CBT_SAYS_INCONSISTENT;
	if (p->pending || p->making)
		return CBT_SAYS_BUSY;
	return p->state == CBT_DISABLED ? CBT_SAYS_DISABLED
					: CBT_SAYS_RECORDING;
}

/* Under the lock. 0, -ENOMEM. */
static int describe(struct cbt *c, const struct cbt_point *p,
		    struct cbt_info *out)
{
	uint64_t bits = cbt_bits_of(c->catalog.size_bytes, p->shift), count;
	struct cbt_image all;
	int ret = cbt_image_init(&all, bits, p->shift);

	if (!ret)
		ret = cbt_gather(c, p, &all);
	count = cbt_image_count(&all);
	cbt_image_fini(&all);
	if (ret)
		return ret;
	*out = (struct cbt_info){
		.kind = p->kind, .word = word_of(p), .pending = p->pending,
		.granularity_bytes = UINT64_C(1) << p->shift,
		.created_s = p->created_s, .dirty_bytes = count << p->shift,
	};
	if (out->dirty_bytes > c->catalog.size_bytes)
		out->dirty_bytes = c->catalog.size_bytes;
	snprintf(out->name, sizeof(out->name), "%s", p->name);
	snprintf(out->reason, sizeof(out->reason), "%s",
		 p->reason ? p->reason : p->pending ?
		 "begun, and neither committed nor aborted" : "");
	memcpy(out->uuid, p->uuid, 16);
	memcpy(out->parent, p->parent, 16);
	return 0;
}

int cbt_list(struct cbt *c, struct cbt_info **out, size_t *count)
{
	struct cbt_info *list;
	size_t n;
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	n = c->catalog.point_count;
	list = malloc((n + 1) * sizeof(*list));
	if (!list)
		ret = -ENOMEM;
	for (size_t i = 0; i < n && !ret; i++)
		ret = describe(c, c->catalog.points[i], &list[i]);
	pthread_mutex_unlock(&c->lock);
	if (ret) {
		free(list);
		return ret;
	}
	*out = list;
	*count = n;
	return 0;
}

int cbt_info(struct cbt *c, const char *name, struct cbt_info *out,
	     struct tide_error *err)
{
	struct cbt_point *p;
	int ret;

	pthread_mutex_lock(&c->lock);
	p = cbt_catalog_find(&c->catalog, name);
	ret = p ? describe(c, p, out) : cbt_no_point(c, name, err);
	pthread_mutex_unlock(&c->lock);
	return ret == -ENOMEM ? cbt_no_memory(c, err) : ret;
}
