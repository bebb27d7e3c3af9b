/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The "migrate" request: connect the channels, run the engine, and tell the
 * connection about each round and the end. If the client hangs up before the
 * end, the migration is called off and the guest runs on.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "cli/vm/daemon.h"
#include "vm/migrate_ops.h"
#include "cli/vm/options.h"
#include "cli/vm/secure.h"
#include "cli/wire.h"

struct moving {
	struct daemon *d;
	struct control_lines *client;
	bool cancel;		/* the client hung up */
	bool done;
};

static json_t *round_json(const struct tide_round *r)
{
	static const char *const kinds[] = { "bulk", "dirty", "stop" };

	return json_pack(
	    "{s:i, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:f,"
	    " s:i}",
	    "number", r->number, "kind", kinds[r->kind], "finished",
	    r->finished, "pages", (json_int_t)r->pages, "pages_total",
	    (json_int_t)r->pages_total, "zero_pages",
	    (json_int_t)r->zero_pages, "ranges", (json_int_t)r->ranges,
	    "bytes", (json_int_t)r->bytes, "ms",
	    (double)r->elapsed_ns / 1e6, "harvest_us",
	    (double)r->harvest_ns / 1e3, "dirty_pages_per_s",
	    (json_int_t)r->dirty_pages_per_s, "bytes_per_s",
	    (json_int_t)r->bytes_per_s, "predicted_downtime_ms",
	    (double)r->predicted_downtime_ns / 1e6, "throttle_percent",
	    r->throttle_percent);
}

static void progress(void *opaque, const struct tide_round *round)
{
	static const enum vm_phase phases[] = { VM_PHASE_BULK, VM_PHASE_DIRTY,
						VM_PHASE_STOP };
	struct moving *m = opaque;
	json_t *j = round_json(round);
	struct vm_stalls stalls;

	if (round->finished) {
		vm_get_stalls(m->d->vm, phases[round->kind], &stalls);
		json_object_set_new(j, "longest_vcpu_stall_us",
				    json_real((double)stalls.longest_ns / 1e3));
	}
	j = json_pack("{s:o}", "round", j);
	/* On the engine's path: never a wait, rather a report less. */
	control_report(m->client, j);
	json_decref(j);
}

static void *watch_client(void *arg)
{
	struct moving *m = arg;

	while (!tide__load_relaxed(&m->done)) {
		struct pollfd p = { .fd = m->client->fd, .events = POLLRDHUP };

		if (poll(&p, 1, 20) > 0) {
			tide__store_relaxed(&m->cancel, true);
			return NULL;
		}
	}
	return NULL;
}

static void close_all(struct secure *secure, const int *fds,
		      unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		secure_forget(secure, fds[i]);
		close(fds[i]);
	}
}

static int connect_all(const char *to, struct secure *secure, int *fds,
		       unsigned int count,
		       const struct tide_precopy_options *o,
		       struct tide_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < count && !ret; i++) {
		fds[i] = wire_connect(to, err);
		ret = fds[i] < 0 ? fds[i]
				: secure_connected(secure, fds[i], to,
						   o->stall_timeout_ns,
						   o->cancel, err);
		if (ret)
			close_all(secure, fds, fds[i] < 0 ? i : i + 1);
	}
	return ret;
}

/* The name that the receiver's certificate must bear, if none was given. */
static char *host_of(const char *to)
{
	const char *end = strrchr(to, ':'), *from = to + 4;

	if (strncmp(to, "tcp:", 4) || !end || end < from)
		return NULL;
	if (*from == '[' && end[-1] == ']') {
		from++;
		end--;
	}
	return strndup(from, (size_t)(end - from));
}

static int open_secure(const json_t *request, const char *to,
		       struct secure **out, struct tide_error *err)
{
	struct secure_wishes w;
	char *host;
	int ret = secure_from_request(request, &w, err);

	if (ret)
		return ret;
	host = host_of(to);
	if (w.tls && !w.tls_name)
		w.tls_name = host;
	ret = secure_open(out, &w, TLS_CLIENT, err);
	free(host);
	return ret;
}

static int options_from(const json_t *request, struct tide_precopy_options *o,
			uint64_t *channels, struct tide_error *err)
{
	uint64_t downtime, stall, zstd, rounds, throttle;
	int ret;

	tide_precopy_defaults(o);
	if ((ret = vm_move_number(request, "channels", channels, err)) ||
	    (ret = vm_move_number(request, "bandwidth",
				  &o->bandwidth_bytes_per_s, err)) ||
	    (ret = vm_move_number(request, "downtime", &downtime, err)) ||
	    (ret = vm_move_number(request, "stall-timeout", &stall, err)) ||
	    (ret = vm_move_number(request, "zstd", &zstd, err)) ||
	    (ret = vm_move_number(request, "max-rounds", &rounds, err)) ||
	    (ret = vm_move_number(request, "max-throttle", &throttle, err)))
		return ret;
	o->downtime_target_ns = downtime * 1000000;
	o->stall_timeout_ns = stall * 1000000;
	o->zstd_level = (int)zstd;
	o->max_rounds = (unsigned int)rounds;
	o->max_throttle_percent = (unsigned int)throttle;
	o->auto_stop_over_target =
	    json_is_true(json_object_get(request, "stop_anyway"));
	return 0;
}

static const char *outcome_name(enum tide_precopy_outcome outcome)
{
	static const char *const names[] = { "moved", "rolled-back",
					     "not-converging", "unknown" };

	return names[outcome];
}

static json_t *result_json(const struct moving *m,
			   const struct tide_precopy_result *r, int ret,
			   const struct tide_error *err)
{
	json_t *j = json_pack(
	    "{s:s, s:i, s:I, s:I, s:f, s:f, s:b, s:f, s:I}", "outcome",
	    outcome_name(r->outcome), "rounds", r->rounds, "pages",
	    (json_int_t)r->pages, "bytes_sent", (json_int_t)r->bytes_sent,
	    "downtime_ms", (double)r->downtime_ns / 1e6,
	    "predicted_downtime_ms", (double)r->predicted_downtime_ns / 1e6,
	    "target_missed", r->target_missed, "total_ms",
	    (double)r->total_ns / 1e6, "reports_dropped",
	    (json_int_t)m->client->dropped);

	if (ret)
		json_object_update_new(j, control_error(err));
	return json_pack("{s:o}", "result", j);
}

static int run(struct daemon *d, struct moving *m, const json_t *request,
	       struct tide_precopy_result *result, struct tide_error *err)
{
	const char *to = json_string_value(json_object_get(request, "to"));
	uint64_t channels;
	struct vm_migration migration = { .vm = d->vm, .progress = progress,
					  .opaque = m };
	struct tide_precopy_options options;
	int fds[TIDE_PRECOPY_MAX_CHANNELS], ret;
	struct secure *secure = NULL;

	migration.want_hash = json_is_true(json_object_get(request, "hash"));
	if (!to)
		return tide_error_set(err, -EINVAL, "vm", TIDE_NO_OFFSET,
				      "migrate needs \"to\"");
	ret = options_from(request, &options, &channels, err);
	if (ret)
		return ret;
	options.cancel = &m->cancel;
	ret = open_secure(request, to, &secure, err);
	if (!ret)
		ret = connect_all(to, secure, fds, (unsigned int)channels,
				  &options, err);
	if (ret) {
		secure_close(secure);
		return ret;
	}
	secure_channels(secure, &options);
	ret = vm_migrate(&migration, fds, (unsigned int)channels, &options,
			 result, err);
	if (ret && !result->pages)
		secure_explain(secure, ret, err);
	close_all(secure, fds, (unsigned int)channels);
	secure_close(secure);
	pthread_mutex_lock(&d->lock);
	d->hash = migration.hash;
	pthread_mutex_unlock(&d->lock);
	return ret;
}

json_t *daemon_migrate(const struct control_request *request)
{
	struct tide_precopy_result result = {
		.outcome = TIDE_PRECOPY_ROLLED_BACK };
	struct daemon *d = request->opaque;
	struct moving m = { .d = d, .client = request->lines };
	struct tide_error err;
	pthread_t watcher;
	bool watched;
	int ret;

	tide_error_clear(&err);
	request->lines->dropped = 0;
	if (!daemon_claim(d, DAEMON_MIGRATING, &err))
		return result_json(&m, &result, err.code, &err);
	watched = !pthread_create(&watcher, NULL, watch_client, &m);
	ret = run(d, &m, request->object, &result, &err);
	tide__store_relaxed(&m.done, true);
	if (watched)
		pthread_join(watcher, NULL);
	daemon_set_state(d, result.outcome == TIDE_PRECOPY_MOVED
				? DAEMON_MOVED
			    : result.outcome == TIDE_PRECOPY_UNKNOWN
				? DAEMON_UNKNOWN : DAEMON_RUNNING,
			 &err);
	return result_json(&m, &result, ret, &err);
}
