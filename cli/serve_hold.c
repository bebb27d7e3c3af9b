/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/serve_hold.h"

#include <errno.h>

#include "base/clock.h"
#include "control/server.h"
#include "nbd/server.h"

#define MOST_HOLD_MS 60000

static json_t *refuse(int code, const char *why)
{
	struct tide_error err;

	tide_error_set(&err, code, "control", TIDE_NO_OFFSET, "%s", why);
	return control_error(&err);
}

json_t *serve_hold(struct serve_disk *d, const json_t *request)
{
	json_int_t ms = json_integer_value(json_object_get(request,
							   "limit_ms"));
	struct tide_error err;
	int ret = 0;

	if (ms < 1 || ms > MOST_HOLD_MS)
		return refuse(-EINVAL, "limit_ms is a number from 1 to 60000");
	pthread_mutex_lock(&d->lock);
	if (d->held_until_ns)
		ret = tide_error_set(&err, -EBUSY, "control", TIDE_NO_OFFSET,
				     "'%.200s' is held already", d->name);
	if (!ret)
		ret = cbt_hold(d->cbt, (uint64_t)ms * 1000000, &err);
	if (!ret)
		d->held_until_ns = tide__now_ns() + (uint64_t)ms * 1000000;
	pthread_mutex_unlock(&d->lock);
	return ret ? control_error(&err) : json_pack("{s:b}", "held", 1);
}

/* Held, under the lock. Its clients are gone before their changes could end. */
static int give_away(struct serve_disks *disks, struct serve_disk *d,
		     const char *to, struct tide_error *err)
{
	if (d->export && disks->server &&
	    nbd_server_close_export(disks->server, d->export))
		return tide_error_set(err, -ETIMEDOUT, "control",
				      TIDE_NO_OFFSET, "the clients of '%.200s' "
				      "could not be hung up on", d->name);
	return cbt_give_away(d->cbt, to, err);
}

json_t *serve_release(struct serve_disks *disks, struct serve_disk *d,
		      const json_t *request)
{
	const char *to = json_string_value(json_object_get(request, "to"));
	bool moved = json_is_true(json_object_get(request, "moved"));
	struct tide_error err;
	int ret = 0;

	if (moved && !to)
		return refuse(-EINVAL, "where has it moved? Say it in 'to'");
	pthread_mutex_lock(&d->lock);
	if (!d->held_until_ns)
		ret = tide_error_set(&err, -ESTALE, "control", TIDE_NO_OFFSET,
				     "'%.200s' is not held: its time was over, "
				     "and its clients go on", d->name);
	else if (moved)
		ret = give_away(disks, d, to, &err);
	if (d->held_until_ns) {
		d->held_until_ns = 0;
		cbt_let_go(d->cbt);
	}
	pthread_mutex_unlock(&d->lock);
	return ret ? control_error(&err) : json_pack("{s:b}", "done", 1);
}

void serve_hold_tick(struct serve_disks *disks, bool all)
{
	uint64_t now = tide__now_ns();

	for (int i = 0; i < disks->count; i++) {
		struct serve_disk *d = &disks->list[i];

		pthread_mutex_lock(&d->lock);
		if (d->held_until_ns && (all || now >= d->held_until_ns)) {
			d->held_until_ns = 0;
			cbt_let_go(d->cbt);
		}
		pthread_mutex_unlock(&d->lock);
	}
}
