/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rounds of pre-copy: bulk, dirty, and the last one, with the guest paused.
 *
 * States: open -> bulk -> dirty* -> stop; from each, undo leads back to the
 * start, where everything is dirty and nothing was sent. A round begins with a
 * harvest and a cut, and its pages are clean only once the sink has committed
 * it; until then the epoch is open, and undo rolls it back.
 */
#include "rounds/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"

static const char origin[] = "precopy";

int tide__called(int ret, const char *name, struct tide_error *err)
{
	if (!ret)
		return 0;
	if (ret > 0)
		ret = -EIO;
	if (err && err->code != ret)
		tide_error_set(err, ret, origin, TIDE_NO_OFFSET,
			       "the caller's %s failed: %s", name,
			       strerror(-ret));
	return ret;
}

void tide__engine_init(struct tide__engine *e, struct tide__space *space,
		       struct tide__sink *sink, struct tide_set *set,
		       const struct tide_precopy_ops *ops, void *opaque,
		       const struct tide_precopy_options *options)
{
	pthread_condattr_t attr;

	memset(e, 0, sizeof(*e));
	e->space = space;
	e->sink = sink;
	e->set = set;
	e->out_of_range = tide_set_out_of_range(set);
	e->ops = ops;
	e->opaque = opaque;
	e->options = *options;
	e->policy = (struct tide__policy){
		.target_ns = options->downtime_target_ns,
		.max_rounds = options->max_rounds,
		.max_throttle_percent =
		    ops->throttle ? options->max_throttle_percent : 0,
	};
	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->changed, &attr);
	pthread_condattr_destroy(&attr);
}

void tide__engine_fini(struct tide__engine *e)
{
	e->space->ops->close(e->space);
	pthread_cond_destroy(&e->changed);
	pthread_mutex_destroy(&e->lock);
}

/* A page that the set cannot hold would never be sent, and never missed. */
static int check_set(const struct tide__engine *e, struct tide_error *err)
{
	const struct tide__layout *l = &e->space->layout;
	uint64_t pages = tide_set_pages(e->set), last;

	if (!l->count)
		return 0;
	last = (l->slot[l->count - 1].gpa_bytes +
		(l->slot[l->count - 1].len_bytes - 1)) / TIDE_PAGE_BYTES;
	if (last < pages)
		return 0;
	return tide_error_set(err, -EINVAL, origin, last * TIDE_PAGE_BYTES,
			      "the set has %" PRIu64 " pages, and slot %" PRIu32
			      " ends at page %" PRIu64, pages,
			      l->slot[l->count - 1].id, last);
}

/* Between two rounds: the sink's layout becomes the space's. */
static int renew_layout(struct tide__engine *e, struct tide_error *err)
{
	bool changed = false;
	int ret = e->space->ops->renew(e->space, e->set, &changed, err);

	if (!ret && changed)
		ret = e->sink->ops->change(e->sink, &e->space->layout, err);
	return ret ? ret : check_set(e, err);
}

/* The other side hears signs of life while the guest takes its time. */
static void wait_begin(struct tide__engine *e)
{
	if (e->sink->ops->wait_begin)
		e->sink->ops->wait_begin(e->sink);
}

static void wait_end(struct tide__engine *e)
{
	if (e->sink->ops->wait_end)
		e->sink->ops->wait_end(e->sink);
}

static int harvest_and_cut(struct tide__engine *e, struct tide_error *err)
{
	uint64_t start = tide__now_ns(), since;
	int ret;

	wait_begin(e);
	ret = e->space->ops->harvest(e->space, e->set, err);
	wait_end(e);
	if (!ret)
		ret = renew_layout(e, err);
	if (!ret)
		ret = tide_set_cut(e->set, &e->epoch, err);
	if (ret)
		return ret;
	since = start - e->last_harvest_ns;
	e->round.harvest_ns = tide__now_ns() - start;
	e->round.dirty_pages_per_s =
	    e->last_harvest_ns && since
		? (uint64_t)((double)tide_epoch_count(e->epoch) * 1e9 /
			     (double)since)
		: 0;
	e->last_harvest_ns = start;
	e->round_start_ns = start;
	return 0;
}

void tide__engine_report(struct tide__engine *e)
{
	if (e->ops->progress)
		e->ops->progress(e->opaque, &e->done);
}

static int not_converging(const struct tide__engine *e,
			  const struct tide__left *left,
			  const struct tide__forecast *f,
			  struct tide_error *err)
{
	const struct tide__policy *p = &e->policy;

	if (tide_set_out_of_range(e->set) != e->out_of_range)
		return tide_error_set(
		    err, -ELOOP, origin, TIDE_NO_OFFSET,
		    "will not converge: %" PRIu64 " marks fell outside the set "
		    "while the guest was moved, and each makes all of it "
		    "dirty; somebody marks wrong pages",
		    tide_set_out_of_range(e->set) - e->out_of_range);
	if (f->floor_ns >= p->target_ns)
		return tide_error_set(
		    err, -ELOOP, origin, TIDE_NO_OFFSET,
		    "will not converge: the last harvest and the answers of "
		    "the other side alone take %" PRIu64 " us, the target is %"
		    PRIu64 " us", f->floor_ns / 1000, p->target_ns / 1000);
	return tide_error_set(
	    err, -ELOOP, origin, TIDE_NO_OFFSET,
	    "will not converge: after %u rounds %" PRIu64 " pages are dirty, "
	    "written at %" PRIu64 " pages/s against %" PRIu64 " MB/s of wire, "
	    "throttled by %u %%; the downtime would be %" PRIu64 " ms, the "
	    "target is %" PRIu64 " ms", left->rounds, left->pages,
	    left->pages_per_s, p->wire_bytes_per_s / 1000000,
	    p->throttle_percent, f->downtime_ns / 1000000,
	    p->target_ns / 1000000);
}

/*
 * After the harvest that tells what round before left. 1: the guest may stop.
 */
static int judge(struct tide__engine *e, uint64_t pages_before,
		 struct tide_error *err)
{
	const struct tide__left left = {
		.rounds = e->round.number,
		.pages_before = pages_before,
		.pages = tide_epoch_count(e->epoch),
		.pages_per_s = e->round.dirty_pages_per_s,
		.harvest_ns = e->round.harvest_ns,
	};
	struct tide__forecast f = tide__policy_forecast(&e->policy, &left);

	/* Only this harvest tells what the guest did in that round. */
	e->done.dirty_pages_per_s = left.pages_per_s;
	e->done.predicted_downtime_ns = e->predicted_ns = f.downtime_ns;
	tide__engine_report(e);
	switch (tide__policy_judge(&e->policy, &left)) {
	case TIDE__STOP_GUEST:
		return 1;
	case TIDE__THROTTLE:
		e->ops->throttle(e->opaque, e->policy.throttle_percent);
		return 0;
	case TIDE__GO_ON:
		return 0;
	case TIDE__GIVE_UP:
		break;
	}
	return e->options.auto_stop_over_target
		   ? 1 : not_converging(e, &left, &f, err);
}

int tide__engine_rounds(struct tide__engine *e, struct tide_error *err)
{
	int ret = e->space->ops->open(e->space, err);

	if (!ret)
		ret = e->sink->ops->open(e->sink, &e->space->layout, err);
	if (ret)
		return ret;
	e->space->ops->mark_all(e->space, e->set);
	ret = harvest_and_cut(e, err);
	e->last_harvest_ns = tide__now_ns();
	e->round.dirty_pages_per_s = 0;
	e->round.kind = TIDE_ROUND_BULK;
	while (!ret) {
		uint64_t pages = tide_epoch_count(e->epoch);

		ret = tide__round_send(e, err);
		if (ret)
			return ret;
		e->round.number++;
		e->round.kind = TIDE_ROUND_DIRTY;
		ret = harvest_and_cut(e, err);
		if (!ret)
			ret = judge(e, pages, err);
	}
	if (ret < 0)
		return ret;
	/* The last cut is made when nothing writes: give this one back. */
	tide_epoch_rollback(e->epoch);
	e->epoch = NULL;
	return 0;
}

int tide__engine_stop(struct tide__engine *e, struct tide_error *err)
{
	uint64_t rate = e->round.dirty_pages_per_s;
	int ret;

	e->paused_ns = tide__now_ns();
	wait_begin(e);
	ret = tide__called(e->ops->pause(e->opaque, err), "pause", err);
	wait_end(e);
	if (ret)
		return ret;
	e->paused = true;
	ret = harvest_and_cut(e, err);
	e->round.kind = TIDE_ROUND_STOP;
	/* The harvest before was a moment ago: no time to measure a rate. */
	e->round.dirty_pages_per_s = rate;
	if (!ret)
		ret = tide__round_send(e, err);
	if (!ret && e->space->ops->is_stale(e->space))
		ret = tide_error_set(err, -ESTALE, origin, TIDE_NO_OFFSET,
				     "memory slots changed while the guest "
				     "stood still; try again");
	e->done.predicted_downtime_ns = 0;
	return ret;
}

/*
 * A page that is dirty now was written after the last harvest, so the sink has
 * an old one, or half of it: to go on would lose that, unseen.
 */
int tide__engine_check_still(struct tide__engine *e, struct tide_error *err)
{
	uint64_t cursor = 0, at;
	struct tide_range r;

	if (!tide_set_next(e->set, &cursor, &r, 1))
		return 0;
	at = r.first * TIDE_PAGE_BYTES;
	return tide_error_set(err, -ESTALE, origin, at, "page 0x%" PRIx64
			      " was marked after the pause: somebody writes to "
			      "the memory of a guest that stands still; pause "
			      "must wait for all who do", at);
}

void tide__engine_undo(struct tide__engine *e)
{
	if (e->epoch)
		tide_epoch_rollback(e->epoch);
	e->epoch = NULL;
	e->space->ops->mark_all(e->space, e->set);
}

void tide__engine_resume(struct tide__engine *e)
{
	struct tide_error ignored;

	if (e->paused)
		e->ops->resume(e->opaque, &ignored);
	e->paused = false;
}
