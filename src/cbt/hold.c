/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Holding a disk still for a while, so that a move to another server can copy
 * the rest of it. Reads go on, changes wait. Afterwards the disk goes on as if
 * nothing had happened, or it has moved: then changes are refused here, and
 * its points say where it went.
 */
#include <errno.h>
#include <stdio.h>

#include "base/atomic.h"
#include "cbt/tracker.h"

int cbt_hold(struct cbt *c, uint64_t limit_ns, struct tide_error *err)
{
	if (!cbt_gate_hold(&c->gate, limit_ns))
		return 0;
	return tide_error_set(err, -ETIMEDOUT, "tracker", TIDE_NO_OFFSET,
			      "%s: writes that are under way did not end in "
			      "time; it goes on", c->disk_path);
}

void cbt_let_go(struct cbt *c)
{
	cbt_gate_release(&c->gate);
}

int cbt_give_away(struct cbt *c, const char *to, struct tide_error *err)
{
	int ret;

	pthread_mutex_lock(&c->lock);
	snprintf(c->where, sizeof(c->where), "the disk has moved to %.300s",
		 to);
	tide__store_seqcst(&c->moved, true);
	cbt_doubt(&c->catalog, c->where);
	ret = cbt_commit(c, err);
	pthread_mutex_unlock(&c->lock);
	return ret;
}
