/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU over QMP.
 *
 * The devices are a migration stream with the capability x-ignore-shared, which
 * leaves shared memory out of it; the same capability brings them back with
 * that memory (docs/snapshot.md). Private memory would go through the stream,
 * at its pace, while the guest stands: its devices are not to be had this way,
 * and only its memory can be snapshotted.
 *
 * The pause is short because nobody waits for an answer that can be had later:
 * `stop` and `migrate` are sent together, and that the stream is complete is an
 * event. Whatever was changed is changed back: the capabilities, the descriptor
 * that was given, a stream on its way (it would pause the guest at its end). A
 * guest that ran is asked to go on until it says that it does; before that the
 * guard, which does the same when we die, is not dismissed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "vmm/qemu.h"

#define FD_NAME "tidemark"
#define PATIENCE_NS UINT64_C(30000000000)
#define TRIES 5000		/* of a millisecond, until it goes on */

struct undo {
	bool was_running;
	bool no_ignore, no_events;	/* capabilities that were off */
};

struct qemu {
	struct qmp *qmp;
	struct undo undo;
	int devices_fd;		/* given to QEMU under FD_NAME, or -1 */
	bool given;		/* and not used there yet */
	bool stopping;		/* it was asked to */
	bool streaming;		/* the devices were asked for, by request @asked */
	unsigned int asked;
	bool over, failed;	/* that stream, by its events */
	uint64_t stopped_us, resumed_us;	/* by its own clock */
	/*
	 * What it gave while its owner had it paused: it gives that only once
	 * (its state is "postmigrate" then), and it is true until it runs.
	 */
	void *kept;
	size_t kept_bytes;
	bool use_kept;
};

static void forget_kept(struct qemu *q)
{
	free(q->kept);
	q->kept = NULL;
}

struct qmp *qemu_monitor(const struct vmm *vmm)
{
	return ((struct qemu *)vmm->impl)->qmp;
}

static uint64_t event_us(const json_t *event)
{
	const json_t *at = json_object_get(event, "timestamp");

	return (uint64_t)json_integer_value(json_object_get(at, "seconds")) *
	       1000000 + (uint64_t)json_integer_value(
			     json_object_get(at, "microseconds"));
}

static void on_event(void *opaque, const char *name, const json_t *event)
{
	const char *status = json_string_value(json_object_get(
	    json_object_get(event, "data"), "status"));
	struct qemu *q = opaque;

	if (!strcmp(name, "STOP"))
		q->stopped_us = event_us(event);
	else if (!strcmp(name, "RESUME"))
		q->resumed_us = event_us(event);
	if (!strcmp(name, "RESUME"))
		forget_kept(q);
	if (strcmp(name, "MIGRATION") || !status)
		return;
	q->failed = !strcmp(status, "failed") || !strcmp(status, "cancelled");
	q->over = q->failed || !strcmp(status, "completed");
}

static int open_it(struct vmm *vmm, const char *path, struct tide_error *err)
{
	struct qemu *q = calloc(1, sizeof(*q));
	struct ucred peer;
	socklen_t n = sizeof(peer);
	int ret;

	if (!q)
		return tide_error_set(err, -ENOMEM, "vmm", TIDE_NO_OFFSET,
				      "no memory");
	q->devices_fd = -1;
	ret = qmp_open(&q->qmp, path, err);
	if (ret) {
		free(q);
		return ret;
	}
	q->qmp->event = on_event;
	q->qmp->opaque = q;
	vmm->impl = q;
	vmm->fd = q->qmp->fd;
	/* Whoever made the socket; libvirt passes one that it made itself. */
	if (!getsockopt(vmm->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) &&
	    !vmm->pid)
		vmm->pid = peer.pid;
	return 0;
}

static void close_it(struct vmm *vmm)
{
	struct qemu *q = vmm->impl;

	if (!q)
		return;
	if (q->devices_fd >= 0)
		close(q->devices_fd);
	qmp_close(q->qmp);
	forget_kept(q);
	free(q);
	vmm->impl = NULL;
}

#define CAPABILITY_OFF(name) \
	"{\"execute\":\"migrate-set-capabilities\",\"arguments\":" \
	"{\"capabilities\":[{\"capability\":\"" name "\"," \
	"\"state\":false}]}}\n"

static bool say(int fd, const char *text)
{
	size_t n = strlen(text);

	return write(fd, text, n) == (ssize_t)n;
}

/*
 * In the guard. The monitor drops what a client sent that is gone, so stay
 * until it was read; what is refused while a stream ends is said again.
 */
static void put_back(int fd, const void *what)
{
	const struct undo *undo = what;

	if (!say(fd, "\n{\"execute\":\"migrate_cancel\"}\n"
		 "{\"execute\":\"closefd\",\"arguments\":"
		 "{\"fdname\":\"" FD_NAME "\"}}\n"))
		return;
	for (int i = 0; i < 5; i++) {
		if ((undo->no_ignore &&
		     !say(fd, CAPABILITY_OFF("x-ignore-shared"))) ||
		    (undo->no_events && !say(fd, CAPABILITY_OFF("events"))) ||
		    (undo->was_running && !say(fd, "{\"execute\":\"cont\"}\n")))
			return;
		usleep(200000);
	}
}

int qemu_set_capability(struct vmm *vmm, const char *name, bool on,
			struct tide_error *err)
{
	return qmp_ask(qemu_monitor(vmm), "migrate-set-capabilities",
		       json_pack("{s:[{s:s, s:b}]}", "capabilities",
				 "capability", name, "state", (int)on), -1,
		       NULL, err);
}

/* A guest of somebody who uses a capability himself keeps it. */
static int look_at_capabilities(struct qemu *q, struct tide_error *err)
{
	json_t *list = NULL, *one;
	size_t i;
	int ret = qmp_ask(q->qmp, "query-migrate-capabilities", NULL, -1, &list,
			  err);

	json_array_foreach(list, i, one) {
		const char *name = json_string_value(
		    json_object_get(one, "capability"));
		bool on = json_is_true(json_object_get(one, "state"));

		if (name && !strcmp(name, "x-ignore-shared"))
			q->undo.no_ignore = !on;
		else if (name && !strcmp(name, "events"))
			q->undo.no_events = !on;
	}
	json_decref(list);
	return ret;
}

static int give_file(struct qemu *q, struct tide_error *err)
{
	int ret;

	if (q->devices_fd >= 0)
		close(q->devices_fd);
	q->devices_fd = memfd_create("devices", MFD_CLOEXEC);
	if (q->devices_fd < 0)
		return tide_error_set(err, -errno, "vmm", TIDE_NO_OFFSET,
				      "memfd: %s", strerror(errno));
	ret = qmp_ask(q->qmp, "getfd", json_pack("{s:s}", "fdname", FD_NAME),
		      q->devices_fd, NULL, err);
	q->given = !ret;
	return ret;
}

/* The guard is there before anything is changed. */
static int prepare(struct vmm *vmm, struct tide_error *err)
{
	struct qemu *q = vmm->impl;
	bool stream = !vmm->private_memory && !vmm->memory_only;
	json_t *status = NULL;
	int ret = qmp_ask(q->qmp, "query-status", NULL, -1, &status, err);
	const char *name = json_string_value(json_object_get(status,
							     "status"));

	q->use_kept = name && !strcmp(name, "postmigrate") && q->kept;
	if (q->use_kept)
		stream = false;
	q->undo = (struct undo){
		json_is_true(json_object_get(status, "running")), false, false
	};
	q->stopping = q->streaming = q->over = q->failed = false;
	q->stopped_us = q->resumed_us = 0;
	vmm->was_running = q->undo.was_running;
	json_decref(status);
	if (!ret && stream)
		ret = look_at_capabilities(q, err);
	if (!ret)
		ret = guard_start(&vmm->guard, put_back, vmm->fd, &q->undo,
				  err);
	if (ret || !stream)
		return ret;
	if (q->undo.no_ignore)
		ret = qemu_set_capability(vmm, "x-ignore-shared", true, err);
	if (!ret && q->undo.no_events)
		ret = qemu_set_capability(vmm, "events", true, err);
	return ret ? ret : give_file(q, err);
}

/* Whom its owner paused since we asked first stays so. */
static int await_stop(struct vmm *vmm, unsigned int asked, unsigned int stop,
		      struct tide_error *err)
{
	struct qemu *q = vmm->impl;
	json_t *status = NULL;
	int ret = qmp_await(q->qmp, asked, &status, err);

	if (!ret && !json_is_true(json_object_get(status, "running")))
		q->stopping = vmm->was_running = false;
	json_decref(status);
	return ret ? ret : qmp_await(q->qmp, stop, NULL, err);
}

static int pause_it(struct vmm *vmm, struct tide_error *err)
{
	struct qemu *q = vmm->impl;
	bool ran = vmm->was_running;
	unsigned int asked = 0, stop = 0;
	int ret = 0;

	q->stopping = ran;
	if (ran)
		ret = qmp_send(q->qmp, "query-status", NULL, -1, &asked, err);
	if (ran && !ret)
		ret = qmp_send(q->qmp, "stop", NULL, -1, &stop, err);
	if (!ret && q->given) {
		q->streaming = true;
		q->given = false;
		ret = qmp_send(q->qmp, "migrate",
			       json_pack("{s:s}", "uri", "fd:" FD_NAME), -1,
			       &q->asked, err);
	}
	return ret || !ran ? ret : await_stop(vmm, asked, stop, err);
}

/* While a stream ends it may say "not yet". */
static int go_on(struct qemu *q, struct tide_error *err)
{
	struct timespec nap = { 0, 1000000 };
	int ret = -EREMOTEIO;

	for (int i = 0; ret == -EREMOTEIO && i < TRIES; i++) {
		if (i)
			nanosleep(&nap, NULL);
		ret = qmp_ask(q->qmp, "cont", NULL, -1, NULL, err);
	}
	return ret;
}

static void switch_off(struct vmm *vmm, const char *capability)
{
	struct timespec nap = { 0, 1000000 };

	for (int i = 0; i < TRIES; i++) {
		if (qemu_set_capability(vmm, capability, false, NULL) !=
		    -EREMOTEIO)
			return;
		nanosleep(&nap, NULL);
	}
}

static int resume(struct vmm *vmm, struct tide_error *err)
{
	struct qemu *q = vmm->impl;
	int ret = 0;

	if (q->streaming && !q->over)
		qmp_ask(q->qmp, "migrate_cancel", NULL, -1, NULL, NULL);
	if (q->stopping)
		ret = go_on(q, err);
	vmm->resumed_ns = tide__now_ns();
	if (q->stopped_us && q->resumed_us > q->stopped_us)
		vmm->stood_ns = (q->resumed_us - q->stopped_us) * 1000;
	if (q->given)
		qmp_ask(q->qmp, "closefd",
			json_pack("{s:s}", "fdname", FD_NAME), -1, NULL, NULL);
	/* The guest's owner may migrate it with its memory next. */
	if (q->undo.no_ignore)
		switch_off(vmm, "x-ignore-shared");
	if (q->undo.no_events)
		switch_off(vmm, "events");
	q->given = q->stopping = q->streaming = false;
	return ret;
}

/* 1: go on waiting; 0 done; -errno. */
static int judge(json_t *info, struct tide_error *err)
{
	const char *status = json_string_value(json_object_get(info,
							       "status"));
	const char *why = json_string_value(json_object_get(info,
							    "error-desc"));

	if (status && !strcmp(status, "completed"))
		return 0;
	if (status && (!strcmp(status, "failed") ||
		       !strcmp(status, "cancelled")))
		return tide_error_set(err, -EREMOTEIO, "vmm", TIDE_NO_OFFSET,
				      "QEMU did not give its devices: %s",
				      why ? why : status);
	return 1;
}

/* Usually the event says it. */
static int await_stream(struct qemu *q, struct tide_error *err)
{
	uint64_t end = tide__now_ns() + PATIENCE_NS;
	int ret = 1;

	while (ret == 1 && !(q->over && !q->failed)) {
		json_t *info = NULL;

		ret = qmp_await_event(q->qmp, 500, err);
		if (!ret && !q->failed) {
			ret = 1;
			continue;
		}
		if (ret && ret != -ETIMEDOUT)
			break;
		ret = qmp_ask(q->qmp, "query-migrate", NULL, -1, &info, err);
		if (!ret)
			ret = judge(info, err);
		json_decref(info);
		if (ret == 1 && tide__now_ns() > end)
			ret = tide_error_set(err, -ETIMEDOUT, "vmm",
					     TIDE_NO_OFFSET, "QEMU's devices "
					     "take longer than 30 s");
	}
	q->over = ret >= 0;
	return ret < 0 ? ret : 0;
}

/* If there is no memory for it, the next snapshot of this pause is refused. */
static void keep(struct qemu *q, const void *bytes, size_t n)
{
	forget_kept(q);
	q->kept = n ? malloc(n) : NULL;
	q->kept_bytes = n;
	if (q->kept)
		memcpy(q->kept, bytes, n);
}

static int devices(struct vmm *vmm, void **bytes, size_t *n,
		   struct tide_error *err)
{
	struct qemu *q = vmm->impl;
	off_t length;
	int ret;

	if (vmm->private_memory)
		return tide_error_set(err, -EOPNOTSUPP, "vmm", TIDE_NO_OFFSET,
				      "this QEMU's memory is private, and its "
				      "devices come with shared memory only "
				      "(-object memory-backend-memfd,share="
				      "on); or --memory-only");
	if (q->use_kept) {
		*bytes = malloc(q->kept_bytes);
		if (!*bytes)
			return tide_error_set(err, -ENOMEM, "vmm",
					      TIDE_NO_OFFSET, "no memory");
		memcpy(*bytes, q->kept, q->kept_bytes);
		*n = q->kept_bytes;
		return 0;
	}
	ret = qmp_await(q->qmp, q->asked, NULL, err);
	if (ret == -EREMOTEIO)
		q->streaming = false;	/* one that runs is not ours */
	if (!ret)
		ret = await_stream(q, err);
	if (ret)
		return ret;
	length = lseek(q->devices_fd, 0, SEEK_END);
	*bytes = malloc(length > 0 ? (size_t)length : 1);
	if (!*bytes || length < 0 ||
	    pread(q->devices_fd, *bytes, (size_t)length, 0) != length) {
		free(*bytes);
		*bytes = NULL;
		return tide_error_set(err, -EIO, "vmm", TIDE_NO_OFFSET,
				      "QEMU's devices cannot be read back");
	}
	*n = (size_t)length;
	if (!vmm->was_running)
		keep(q, *bytes, *n);
	return 0;
}

const struct vmm_ops vmm_qemu = {
	.name = "qemu",
	.open = open_it,
	.close = close_it,
	.choose = qemu_choose,
	.prepare = prepare,
	.pause = pause_it,
	.resume = resume,
	.devices = devices,
};
