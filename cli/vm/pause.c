/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The "pause" request of the control socket: the guest stands still as long as
 * whoever asked says nothing, and goes on when he says "continue" on the same
 * connection, when he hangs up (however he ends), or after a while. So no one
 * who dies leaves a guest standing, and it takes nobody to watch for that.
 *
 * Its state is read while it stands and told once it runs again: it is as long
 * as a hundred pages in JSON, and a pause is counted in microseconds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/vm/daemon.h"
#include "tidemark/slots.h"

#define USUAL_MS 10000
#define MAX_MS 60000
#define LOOK_MS 50

struct standing {
	struct daemon *d;
	struct control_lines *lines;
	uint64_t end_ns;
	void *state;
	size_t state_bytes;
};

json_t *daemon_memory(const struct control_request *r)
{
	struct daemon *d = r->opaque;
	json_t *list = json_array();
	struct tide_slot slot;
	uint64_t from = 0;

	if (daemon_state_of(d) == DAEMON_INCOMING) {
		json_decref(list);
		return control_refuse(EINVAL, "there is no guest here");
	}
	while (tide_slots_next(vm_slots(d->vm), from, &slot)) {
		from = slot.gpa_bytes + slot.len_bytes;
		json_array_append_new(list, json_pack(
		    "{s:I, s:I, s:I, s:I}", "slot", (json_int_t)slot.id,
		    "gpa_bytes", (json_int_t)slot.gpa_bytes, "size_bytes",
		    (json_int_t)slot.len_bytes, "address",
		    (json_int_t)(uintptr_t)slot.host));
	}
	return json_pack("{s:i, s:o}", "pid", (int)getpid(), "slots", list);
}

/* Why it goes on: 0 he said so; -ETIMEDOUT, -ECANCELED. */
static int await_word(const struct standing *s, struct tide_error *err)
{
	for (;;) {
		uint64_t now = tide__now_ns();
		json_t *said = NULL;
		const char *word;
		bool go;

		if (now >= s->end_ns)
			return tide_error_set(err, -ETIMEDOUT, "vm",
					      TIDE_NO_OFFSET, "nobody said "
					      "\"continue\" in time: the guest "
					      "went on by itself");
		switch (control_get(s->lines, LOOK_MS, &said)) {
		case CONTROL_TIMEOUT:
			continue;
		case CONTROL_GOT:
			break;
		default:
			return tide_error_set(err, -ECANCELED, "vm",
					      TIDE_NO_OFFSET, "the client hung "
					      "up: the guest went on");
		}
		word = json_string_value(json_object_get(said, "command"));
		go = word && !strcmp(word, "continue");
		json_decref(said);
		if (!go)
			return tide_error_set(err, -EINVAL, "vm",
					      TIDE_NO_OFFSET, "a paused guest "
					      "takes \"continue\" only, and "
					      "went on");
		return 0;
	}
}

/* From here to its end the guest stands. */
static int stand(struct standing *s, uint64_t *stood_ns,
		 struct tide_error *err)
{
	json_t *paused = json_pack("{s:b}", "paused", 1);
	uint64_t start = tide__now_ns();
	int ret = paused ? vm_pause(s->d->vm, err) : -ENOMEM, again;

	/* He looks at the memory while we look at the vCPUs. */
	if (!ret)
		ret = control_put(s->lines, paused);
	if (!ret)
		ret = vm_still_save(s->d->vm, &s->state, &s->state_bytes, err);
	if (!ret)
		ret = await_word(s, err);
	again = vm_resume(s->d->vm, ret ? NULL : err);
	*stood_ns = tide__now_ns() - start;
	json_decref(paused);
	return ret ? ret : again;
}

static json_t *tell(const struct standing *s, uint64_t stood_ns)
{
	char *text = malloc(2 * s->state_bytes + 1);
	json_t *reply = NULL;

	if (text) {
		tide__text_hex(text, s->state, s->state_bytes);
		reply = json_pack("{s:I, s:s}", "stood_ns",
				  (json_int_t)stood_ns, "state", text);
	}
	free(text);
	return reply;
}

json_t *daemon_pause(const struct control_request *r)
{
	const json_t *limit = json_object_get(r->object, "limit_ms");
	json_int_t ms = limit ? json_integer_value(limit) : USUAL_MS;
	struct standing s = { .d = r->opaque, .lines = r->lines };
	struct tide_error err;
	uint64_t stood_ns = 0;
	json_t *reply;
	int ret;

	tide_error_clear(&err);
	if (ms < 1 || ms > MAX_MS)
		return control_refuse(EINVAL, "limit_ms is a number from 1 to "
				      "60000");
	if (!daemon_claim(s.d, DAEMON_PAUSED, &err))
		return control_error(&err);
	s.end_ns = tide__now_ns() + (uint64_t)ms * 1000000;
	ret = stand(&s, &stood_ns, &err);
	daemon_set_state(s.d, DAEMON_RUNNING, NULL);
	if (ret && !err.code)
		tide_error_set(&err, ret, "vm", TIDE_NO_OFFSET,
			       "the pause failed, and the guest goes on");
	reply = ret ? control_error(&err) : tell(&s, stood_ns);
	free(s.state);
	return reply;
}
