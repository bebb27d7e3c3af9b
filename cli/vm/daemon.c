/* SPDX-License-Identifier: BSD-2-Clause */
/* The verbs of a VM's control socket, and its states. See daemon.h. */
#include "cli/vm/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "control/server.h"

#define VERIFY_TIMEOUT_NS 60000000000ull

void daemon_init(struct daemon *d, struct vm *vm, enum daemon_state state)
{
	memset(d, 0, sizeof(*d));
	d->vm = vm;
	d->state = state;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
}

const char *daemon_state_name(enum daemon_state state)
{
	static const char *const names[] = {
		"incoming", "running", "migrating", "recording", "paused",
		"moved", "unknown", "dead", "failed",
	};

	return names[state];
}

void daemon_set_state(struct daemon *d, enum daemon_state state,
		      const struct tide_error *why)
{
	pthread_mutex_lock(&d->lock);
	d->state = state;
	if (why)
		d->why = *why;
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

enum daemon_state daemon_state_of(struct daemon *d)
{
	enum daemon_state state;

	pthread_mutex_lock(&d->lock);
	state = d->state;
	pthread_mutex_unlock(&d->lock);
	/* A guest that died did so by itself: nobody set a state for it. */
	if ((state == DAEMON_RUNNING || state == DAEMON_RECORDING ||
	     state == DAEMON_PAUSED) &&
	    vm_failed(d->vm, NULL))
		return DAEMON_DEAD;
	return state;
}

bool daemon_claim(struct daemon *d, enum daemon_state job,
		  struct tide_error *err)
{
	struct tide_error why;
	bool mine;

	if (vm_failed(d->vm, &why)) {
		tide_error_set(err, -EIO, "vm", TIDE_NO_OFFSET,
			       "the guest is dead: %s", why.text);
		return false;
	}
	pthread_mutex_lock(&d->lock);
	mine = d->state == DAEMON_RUNNING;
	if (mine)
		d->state = job;
	else
		tide_error_set(err, -EBUSY, "vm", TIDE_NO_OFFSET,
			       "a guest in state '%s' cannot be migrated, "
			       "recorded or paused",
			       daemon_state_name(d->state));
	pthread_mutex_unlock(&d->lock);
	return mine;
}

static json_t *phase_json(struct daemon *d, enum vm_phase phase)
{
	struct vm_stalls s;
	json_t *buckets = json_object();

	vm_get_stalls(d->vm, phase, &s);
	for (unsigned int i = 0; i < 64; i++) {
		char name[24];

		if (!s.bucket[i])
			continue;
		snprintf(name, sizeof(name), "%llu", 1ull << i);
		json_object_set_new(buckets, name,
				    json_integer((json_int_t)s.bucket[i]));
	}
	return json_pack("{s:I, s:o}", "longest_ns", (json_int_t)s.longest_ns,
			 "histogram_ns", buckets);
}

static json_t *stalls_json(struct daemon *d)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "none",
			 phase_json(d, VM_PHASE_NONE), "bulk",
			 phase_json(d, VM_PHASE_BULK), "dirty",
			 phase_json(d, VM_PHASE_DIRTY), "stop",
			 phase_json(d, VM_PHASE_STOP));
}

static json_t *status(const struct control_request *r)
{
	struct daemon *d = r->opaque;
	enum daemon_state state = daemon_state_of(d);
	const struct vm_config *c = vm_get_config(d->vm);
	struct tide_error err;
	json_t *j = json_pack(
	    "{s:s, s:s, s:s}", "state", daemon_state_name(state), "accel",
	    vm_accel(d->vm) == VM_ACCEL_KVM ? "kvm" : "process", "source",
	    tide_source_kind_name(c->source));

	if (state != DAEMON_INCOMING && state != DAEMON_FAILED) {
		json_object_update_new(j, json_pack(
		    "{s:b, s:s, s:i, s:I, s:I, s:I, s:o}", "running",
		    vm_is_running(d->vm), "pattern",
		    vm_pattern_name(c->pattern), "vcpus", c->vcpus,
		    "memory_bytes",
		    (json_int_t)c->memory_bytes, "pages_written",
		    (json_int_t)vm_pages_written(d->vm), "dirty_pages",
		    (json_int_t)tide_set_count(vm_set(d->vm)), "stalls",
		    stalls_json(d)));
		if (vm_failed(d->vm, &err))
			json_object_set_new(j, "failure",
					    json_string(err.text));
	} else {
		json_object_set_new(j, "running", json_false());
	}
	pthread_mutex_lock(&d->lock);
	if (d->why.code && (state == DAEMON_FAILED || state == DAEMON_UNKNOWN))
		json_object_set_new(j, "reason", json_string(d->why.text));
	if (d->hash)
		json_object_update_new(j, json_pack("{s:I, s:I}", "memory_hash",
		    (json_int_t)d->hash, "hash_ns", (json_int_t)d->hash_ns));
	pthread_mutex_unlock(&d->lock);
	return j;
}

static json_t *verify(const struct control_request *r)
{
	struct daemon *d = r->opaque;
	struct tide_error err;
	struct vm_verdict v;

	if (!vm_is_running(d->vm))
		return control_refuse(EINVAL, "the guest does not run here");
	if (vm_verify(d->vm, VERIFY_TIMEOUT_NS, &v, &err))
		return control_error(&err);
	return json_pack("{s:b, s:I, s:I, s:I, s:s, s:I, s:I, s:I}",
			 "verified", !v.bad && !v.disk_bad, "pages",
			 (json_int_t)v.pages, "bad", (json_int_t)v.bad,
			 "first_bad", (json_int_t)v.first_bad, "kind",
			 v.first_bad_kind ? v.first_bad_kind : "",
			 "disk_reads", (json_int_t)v.disk_reads, "disk_writes",
			 (json_int_t)v.disk_writes, "disk_bad",
			 (json_int_t)v.disk_bad);
}

/*
 * Resuming is for a guest that was paused by an unanswered GO, and only by
 * force: it may run at the other side. One that moved never comes back.
 */
static json_t *resume(const struct control_request *r)
{
	struct daemon *d = r->opaque;
	bool force = json_is_true(json_object_get(r->object, "force"));
	struct tide_error err;

	switch (daemon_state_of(d)) {
	case DAEMON_UNKNOWN:
		if (!force)
			return control_refuse(
				EINVAL, "GO was sent and no answer came: the "
					"guest may run at the other side. Make "
					"sure that it does not, then resume "
					"with --force");
		if (vm_resume(d->vm, &err))
			return control_error(&err);
		daemon_set_state(d, DAEMON_RUNNING, NULL);
		return json_pack("{s:b}", "resumed", 1);
	case DAEMON_MOVED:
		return control_refuse(EINVAL,
				      "the guest has moved and runs elsewhere");
	case DAEMON_DEAD:
		return control_refuse(EIO, "the guest is dead");
	case DAEMON_PAUSED:
		return control_refuse(EBUSY, "the guest is paused for a "
				      "snapshot, and goes on by itself");
	case DAEMON_RUNNING:
	case DAEMON_RECORDING:
	case DAEMON_MIGRATING:
		return control_refuse(EINVAL, "the guest runs already");
	default:
		return control_refuse(EINVAL, "there is no guest here");
	}
}

static json_t *stop(const struct control_request *r)
{
	struct daemon *d = r->opaque;

	pthread_mutex_lock(&d->lock);
	d->quit = true;
	pthread_mutex_unlock(&d->lock);
	return json_pack("{s:b}", "stopping", 1);
}

static const struct control_verb verbs[] = {
	{ "status", status },
	{ "verify", verify },
	{ "migrate", daemon_migrate },
	{ "record", daemon_record },
	{ "memory", daemon_memory },
	{ "pause", daemon_pause },
	{ "resume", resume },
	{ "stop", stop },
	{ NULL, NULL },
};

static bool over(void *opaque)
{
	struct daemon *d = opaque;
	bool yes;

	pthread_mutex_lock(&d->lock);
	yes = d->quit || d->state == DAEMON_FAILED;
	pthread_mutex_unlock(&d->lock);
	return yes;
}

int daemon_serve(struct daemon *d, const char *path, struct tide_error *err)
{
	struct control_options o = { .path = path, .verbs = verbs,
				     .opaque = d, .over = over };
	int ret = control_serve(&o, err);

	/* Somebody works on with @d and its VM: nothing may be taken down. */
	if (ret == -ETIMEDOUT) {
		fprintf(stderr, "tidemark: %s; ending without them\n",
			err->text);
		_exit(CLI_FAILED);
	}
	if (ret == 0 && daemon_state_of(d) == DAEMON_FAILED) {
		*err = d->why;
		ret = d->why.code;
	}
	return ret;
}
