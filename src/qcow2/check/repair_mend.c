/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entries that are wrong by themselves (mend.c says how they ought to be).
 * Where it is known what they mean, they are put right at once; where it is
 * not, only if the loss is accepted. All of that needs no place in the file,
 * and what leads behind its end is gone before it is made longer.
 */
#include "qcow2/check/repair_tables.h"

struct mending {
	uint64_t mended, given_up;
};

static bool may(const struct repair *x, const struct qcow2_mend *m)
{
	return m->why &&
	       (!m->doubt || (x->options->accept_loss && !x->doubtful));
}

static void put(struct repair *x, struct mending *n, struct repair_entry *e,
		const struct qcow2_mend *m)
{
	if (m->doubt) {
		repair_lose(x, e, m->why);
		n->given_up++;
	} else {
		n->mended++;
	}
	e->entry = m->entry;
	e->subclusters = m->subclusters;
}

static int each_l1(struct repair *x, void *opaque, struct repair_entry *e)
{
	struct qcow2_mend m;

	qcow2_mend_l1(&x->h, x->r->size_bytes, e->entry, &m);
	if (may(x, &m))
		put(x, opaque, e, &m);
	return 0;
}

static int each_l2(struct repair *x, void *opaque, struct repair_entry *e)
{
	struct qcow2_mend m;

	qcow2_mend_l2(&x->h, x->r->size_bytes, e->entry, e->subclusters, &m);
	if (may(x, &m))
		put(x, opaque, e, &m);
	return 0;
}

int repair_mend(struct repair *x, bool resolved)
{
	struct mending n = { 0 };
	int ret = repair_each_l1(x, resolved, each_l1, &n);

	if (!ret)
		ret = repair_each_l2(x,
				     resolved ? USES_GUEST | USES_REFCOUNTS : 0,
				     each_l2, &n);
	if (!ret && n.mended)
		repair_say(x, "references: %llu corrected",
			   (unsigned long long)n.mended);
	if (!ret && n.given_up)
		repair_say(x, "references: %llu that led nowhere were given up",
			   (unsigned long long)n.given_up);
	if (!ret && (n.mended || n.given_up))
		ret = repair_look(x);
	return ret;
}
