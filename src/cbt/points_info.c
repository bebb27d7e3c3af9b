/* SPDX-License-Identifier: BSD-2-Clause */
/* What is reported about points. */
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

/* Under the lock; what is dirty is counted without it, if it is. */
static void describe(const struct cbt_point *p, struct cbt_info *out)
{
	*out = (struct cbt_info){
		.kind = p->kind, .word = word_of(p), .pending = p->pending,
		.granularity_bytes = UINT64_C(1) << p->shift,
		.created_s = p->created_s,
	};
	snprintf(out->name, sizeof(out->name), "%s", p->name);
	snprintf(out->reason, sizeof(out->reason), "%s",
		 p->reason ? p->reason : p->pending ?
		 "begun, and neither committed nor aborted" : "");
	memcpy(out->uuid, p->uuid, 16);
	memcpy(out->parent, p->parent, 16);
}

int cbt_list(struct cbt *c, enum cbt_detail detail, struct cbt_info **out,
	     size_t *count)
{
	struct cbt_info *list;
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = c->catalog.point_count;
	list = malloc((n + 1) * sizeof(*list));
	for (size_t i = 0; list && i < n; i++)
		describe(c->catalog.points[i], &list[i]);
	pthread_mutex_unlock(&c->lock);
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; detail == CBT_COUNTED && i < n; i++)
		list[i].dirty_bytes = cbt_count_of(c, list[i].uuid);
	*out = list;
	*count = n;
	return 0;
}

int cbt_info(struct cbt *c, const char *name, enum cbt_detail detail,
	     struct cbt_info *out, struct tide_error *err)
{
	struct cbt_point *p;
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	p = cbt_catalog_find(&c->catalog, name);
	if (p)
		describe(p, out);
	else
		ret = cbt_no_point(c, name, err);
	pthread_mutex_unlock(&c->lock);
	if (!ret && detail == CBT_COUNTED)
		out->dirty_bytes = cbt_count_of(c, out->uuid);
	return ret;
}
