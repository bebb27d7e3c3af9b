/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/serve_hold.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "control/server.h"
#include "nbd/server.h"

#define MAX_HOLD_MS 60000

static json_t *refuse(int code, const char *why)
{
	struct tide_error err;

	tide_error_set(&err, code, "control", TIDE_NO_OFFSET, "%s", why);
	return control_error(&err);
}

/* To who waits for the clients of a disk, the lock is not to be held. */
static void become(struct serve_disk *d, enum serve_hold_state state)
{
	pthread_mutex_lock(&d->lock);
	d->hold.state = state;
	pthread_mutex_unlock(&d->lock);
}

/* From @from to @to, or why not. */
static int turn(struct serve_disk *d, enum serve_hold_state from,
		enum serve_hold_state to, struct tide_error *err)
{
	enum serve_hold_state was;

	pthread_mutex_lock(&d->lock);
	was = d->hold.state;
	if (was == from)
		d->hold.state = to;
	pthread_mutex_unlock(&d->lock);
	if (was == from)
		return 0;
	if (from == SERVE_FREE)
		return tide_error_set(err, -EBUSY, "control", TIDE_NO_OFFSET,
				      "'%.200s' is held already", d->name);
	return tide_error_set(err, -ESTALE, "control", TIDE_NO_OFFSET,
			      "'%.200s' is not held: its time was over, and "
			      "its clients go on", d->name);
}

/* It is held: from here on the time runs. False: the server ends. */
static bool begin(struct serve_disk *d, uint64_t limit_ns)
{
	bool ending;

	pthread_mutex_lock(&d->lock);
	ending = d->hold.ending;
	d->hold.until_ns = tide__now_ns() + limit_ns;
	d->hold.state = ending ? SERVE_FREE : SERVE_HELD;
	pthread_mutex_unlock(&d->lock);
	if (ending)
		cbt_let_go(d->cbt);
	return !ending;
}

json_t *serve_hold(struct serve_disk *d, const json_t *request)
{
	json_int_t ms = json_integer_value(json_object_get(request,
							   "limit_ms"));
	uint64_t limit_ns = (uint64_t)ms * 1000000;
	struct tide_error err;
	int ret;

	if (ms < 1 || ms > MAX_HOLD_MS)
		return refuse(-EINVAL, "limit_ms is a number from 1 to 60000");
	ret = turn(d, SERVE_FREE, SERVE_TAKING, &err);
	if (ret)
		return control_error(&err);
	ret = cbt_hold(d->cbt, limit_ns, &err);
	if (ret) {
		become(d, SERVE_FREE);
		return control_error(&err);
	}
	if (!begin(d, limit_ns))
		return refuse(-ESHUTDOWN, "the server ends");
	return json_pack("{s:b}", "held", 1);
}

/*
 * Its clients are gone before their changes could end. What the store says of
 * it is no reason to go on here: that would be two disks.
 */
static json_t *give_away(struct serve_disks *disks, struct serve_disk *d,
			 const char *to)
{
	struct tide_error err;

	if (d->export && disks->server &&
	    nbd_server_close_export(disks->server, d->export)) {
		tide_error_set(&err, -ETIMEDOUT, "control", TIDE_NO_OFFSET,
			       "the clients of '%.200s' could not be hung up "
			       "on: it stays here", d->name);
		return control_error(&err);
	}
	if (!cbt_give_away(d->cbt, to, &err))
		return json_pack("{s:b}", "done", 1);
	return json_pack("{s:b, s:s%}", "done", 1, "warning", err.text,
			 strlen(err.text));
}

json_t *serve_release(struct serve_disks *disks, struct serve_disk *d,
		      const json_t *request)
{
	const char *to = json_string_value(json_object_get(request, "to"));
	bool moved = json_is_true(json_object_get(request, "moved"));
	struct tide_error err;
	json_t *answer;

	if (moved && !to)
		return refuse(-EINVAL, "where has it moved? Say it in 'to'");
	/* Its time does not end in the middle of this. */
	if (turn(d, SERVE_HELD, SERVE_LEAVING, &err))
		return control_error(&err);
	answer = moved ? give_away(disks, d, to)
		       : json_pack("{s:b}", "done", 1);
	cbt_let_go(d->cbt);
	become(d, SERVE_FREE);
	return answer;
}

void serve_hold_tick(struct serve_disks *disks, bool all)
{
	uint64_t now = tide__now_ns();

	for (int i = 0; i < disks->count; i++) {
		struct serve_disk *d = &disks->list[i];
		bool over;

		pthread_mutex_lock(&d->lock);
		over = d->hold.state == SERVE_HELD &&
		       (all || now >= d->hold.until_ns);
		if (over)
			d->hold.state = SERVE_FREE;
		if (all)
			d->hold.ending = true;
		pthread_mutex_unlock(&d->lock);
		if (over)
			cbt_let_go(d->cbt);
	}
}
