/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest of tidemark's own VMM, over its control socket.
 *
 * It stands as long as the connection that asked for it is open and says
 * nothing, so it takes no guard: our death is a hang-up. Its state comes with
 * the answer to "continue", when it runs already. Which memory is the guest's
 * it says itself, slot by slot; it is tracked and read from outside, as any
 * process's is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/ask.h"
#include "control/lines.h"
#include "control/listener.h"
#include "vmm/vmm.h"

#define ANSWER_MS 10000

struct own {
	char *path;
	struct control_lines lines;	/* while it stands, or will */
	bool connected, standing;
	json_t *answer;			/* to "continue" */
};

static int fail(int ret, const char *what, struct tide_error *err)
{
	return tide_error_set(err, ret, "vmm", TIDE_NO_OFFSET,
			      "the VM's control socket: %s", what);
}

static void hang_up(struct vmm *vmm)
{
	struct own *o = vmm->impl;

	if (o->connected)
		control_lines_fini(&o->lines);
	if (vmm->fd >= 0)
		close(vmm->fd);
	vmm->fd = -1;
	o->connected = false;
}

static int ask_memory(struct vmm *vmm, json_t **answer, struct tide_error *err)
{
	struct own *o = vmm->impl;

	return control_ask(o->path, json_pack("{s:s}", "command", "memory"),
			   answer, err);
}

static int find_pid(struct vmm *vmm, struct tide_error *err)
{
	json_t *answer = NULL;
	int ret = ask_memory(vmm, &answer, err);

	if (!ret)
		vmm->pid = (int)json_integer_value(json_object_get(answer,
								   "pid"));
	json_decref(answer);
	if (!ret && vmm->pid <= 0)
		ret = fail(-EPROTO, "it does not say whose it is", err);
	return ret;
}

static int open_it(struct vmm *vmm, const char *path, struct tide_error *err)
{
	struct own *o = calloc(1, sizeof(*o));

	if (o)
		o->path = strdup(path);
	if (!o || !o->path) {
		free(o);
		return fail(-ENOMEM, "no memory", err);
	}
	vmm->impl = o;
	return vmm->pid ? 0 : find_pid(vmm, err);
}

static void close_it(struct vmm *vmm)
{
	struct own *o = vmm->impl;

	if (!o)
		return;
	hang_up(vmm);
	json_decref(o->answer);
	free(o->path);
	free(o);
	vmm->impl = NULL;
}

static bool take(const json_t *from, const char *name, uint64_t *to)
{
	const json_t *j = json_object_get(from, name);

	*to = (uint64_t)json_integer_value(j);
	return json_is_integer(j) && json_integer_value(j) >= 0;
}

static int put_slot(struct tide__ram *ram, const json_t *slot,
		    struct tide_error *err)
{
	struct tide__ram_area *a = &ram->area[ram->count];
	uint64_t at, bytes, gpa;

	if (ram->count == TIDE__RAM_MAX)
		return fail(-E2BIG, "more memory slots than 32", err);
	if (!take(slot, "address", &at) || !take(slot, "size_bytes", &bytes) ||
	    !take(slot, "gpa_bytes", &gpa) || !bytes || (at | bytes) % 4096)
		return fail(-EPROTO, "a memory slot makes no sense", err);
	*a = (struct tide__ram_area){ .start = at, .len_bytes = bytes,
				      .kind = TIDE__MAP_ANONYMOUS };
	snprintf(a->name, sizeof(a->name), "guest memory at 0x%llx",
		 (unsigned long long)gpa);
	ram->bytes += bytes;
	ram->count++;
	return 0;
}

static int choose(struct vmm *vmm, struct tide__ram *ram,
		  struct tide_error *err)
{
	json_t *answer = NULL, *slots, *slot;
	size_t i;
	int ret = ask_memory(vmm, &answer, err);

	if (ret)
		return ret;
	if (json_integer_value(json_object_get(answer, "pid")) != vmm->pid)
		ret = fail(-EINVAL, "it is another process's", err);
	ram->count = 0;
	ram->bytes = 0;
	slots = json_object_get(answer, "slots");
	json_array_foreach(slots, i, slot)
		if (!ret)
			ret = put_slot(ram, slot, err);
	if (!ret && !ram->count)
		ret = fail(-ENOENT, "the guest has no memory", err);
	json_decref(answer);
	return ret;
}

/* An idle connection is given up there: one for each pause. */
static int prepare(struct vmm *vmm, struct tide_error *err)
{
	struct own *o = vmm->impl;

	hang_up(vmm);
	json_decref(o->answer);
	o->answer = NULL;
	vmm->fd = control_connect(o->path, err);
	if (vmm->fd < 0)
		return vmm->fd;
	control_lines_init(&o->lines, vmm->fd);
	o->connected = true;
	vmm->was_running = true;
	return 0;
}

/* Its words are taken for an error. */
static int hear(struct own *o, json_t **out, struct tide_error *err)
{
	json_t *got = NULL;
	const char *why;
	int ret = 0;

	if (control_get(&o->lines, ANSWER_MS, &got) != CONTROL_GOT)
		return fail(-ECONNRESET, "no answer", err);
	why = json_string_value(json_object_get(got, "error"));
	if (why)
		ret = fail(-EREMOTEIO, why, err);
	if (ret)
		json_decref(got);
	else
		*out = got;
	return ret;
}

static int say(struct own *o, const char *command, struct tide_error *err)
{
	json_t *j = json_pack("{s:s}", "command", command);
	int ret = j ? control_put(&o->lines, j) : -ENOMEM;

	json_decref(j);
	return ret ? fail(ret, strerror(-ret), err) : 0;
}

static int pause_it(struct vmm *vmm, struct tide_error *err)
{
	struct own *o = vmm->impl;
	json_t *paused = NULL;
	int ret = say(o, "pause", err);

	if (!ret)
		ret = hear(o, &paused, err);
	json_decref(paused);
	o->standing = !ret;
	return ret;
}

/* Whoever does not know whether it stands hangs up: it goes on. */
static int resume(struct vmm *vmm, struct tide_error *err)
{
	struct own *o = vmm->impl;
	int ret;

	if (!o->standing) {
		hang_up(vmm);
		return 0;
	}
	o->standing = false;
	ret = say(o, "continue", err);
	vmm->resumed_ns = tide__now_ns();
	if (!ret)
		ret = hear(o, &o->answer, err);
	if (!ret)
		vmm->stood_ns = (uint64_t)json_integer_value(
		    json_object_get(o->answer, "stood_ns"));
	hang_up(vmm);
	return ret;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int devices(struct vmm *vmm, void **bytes, size_t *n,
		   struct tide_error *err)
{
	struct own *o = vmm->impl;
	const json_t *state = json_object_get(o->answer, "state");
	const char *text = json_string_value(state);
	size_t length = text ? json_string_length(state) : 0;
	unsigned char *to = malloc(length / 2 + 1);

	if (!to)
		return fail(-ENOMEM, "no memory", err);
	for (size_t i = 0; i + 1 < length; i += 2) {
		int high = digit(text[i]), low = digit(text[i + 1]);

		if (high < 0 || low < 0)
			length = 0;
		else
			to[i / 2] = (unsigned char)(high << 4 | low);
	}
	if (!length || length % 2) {
		free(to);
		return fail(-EPROTO, "it gave no state", err);
	}
	*bytes = to;
	*n = length / 2;
	return 0;
}

const struct vmm_ops vmm_own = {
	.name = "tidemark",
	.devices_later = true,
	.names_memory = true,
	.open = open_it,
	.close = close_it,
	.choose = choose,
	.prepare = prepare,
	.pause = pause_it,
	.resume = resume,
	.devices = devices,
};
