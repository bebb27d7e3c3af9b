/* SPDX-License-Identifier: BSD-2-Clause */
#include "mirror/release.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "control/ask.h"
#include "base/clock.h"

/* How long a source that nobody can reach is asked again. */
#define SETTLE_NS UINT64_C(5000000000)
#define PAUSE_US 20000

/* What the source said, or that it said nothing. */
enum said { SAID_DONE, SAID_NO, SAID_NOTHING };

/* @state: of a point that was asked for; NULL: not wanted. */
static enum said ask(const struct mirror_end *from, json_t *request,
		     char state[32], struct tide_error *err)
{
	json_t *answer = NULL;
	const char *text;
	enum said said = SAID_DONE;

	if (control_hear(from->control, request, &answer, err))
		return SAID_NOTHING;
	text = json_string_value(json_object_get(answer, "error"));
	if (text) {
		tide_error_set(err, -EREMOTEIO, "mirror", TIDE_NO_OFFSET,
			       "%.400s", text);
		said = SAID_NO;
	}
	text = json_string_value(json_object_get(answer, "state"));
	if (state)
		strncpy(state, text ? text : "", 31);
	json_decref(answer);
	return said;
}

static enum said release(const struct mirror_end *from, const char *to,
			 struct tide_error *err)
{
	return ask(from, json_pack("{s:s, s:s, s:b, s:s}", "command",
				   "release", "disk", from->disk, "moved",
				   to != NULL, "to", to ? to : ""), NULL, err);
}

void mirror_let_go(const struct mirror_end *from)
{
	release(from, NULL, NULL);
}

/* Nothing is held and nobody is about to leave, or that is not known yet. */
static bool is_free(const struct mirror_end *from)
{
	if (ask(from, json_pack("{s:s, s:s, s:i}", "command", "hold", "disk",
				from->disk, "limit_ms", 1), NULL, NULL) !=
	    SAID_DONE)
		return false;
	mirror_let_go(from);
	return true;
}

/* True: *outcome is known for good. */
static bool look(const struct mirror_end *from, const char *since,
		 enum mirror_outcome *outcome, bool *reached)
{
	char state[32] = "";
	enum said said = release(from, NULL, NULL);

	*outcome = MIRROR_STAYS;
	*reached = said != SAID_NOTHING;
	if (said != SAID_NO)
		return said == SAID_DONE;
	said = ask(from, json_pack("{s:s, s:s, s:s}", "command", "bitmap-info",
				   "disk", from->disk, "name", since), state,
		   NULL);
	if (said == SAID_DONE && !strcmp(state, "inconsistent")) {
		*outcome = MIRROR_MOVED;
		return true;
	}
	/* Asked before it was free it may have left since. */
	return said == SAID_DONE && is_free(from) &&
	       ask(from, json_pack("{s:s, s:s, s:s}", "command", "bitmap-info",
				   "disk", from->disk, "name", since), state,
		   NULL) == SAID_DONE && strcmp(state, "inconsistent");
}

enum mirror_outcome mirror_release(const struct mirror_end *from,
				   const char *to, const char *since,
				   struct tide_error *err)
{
	enum said said = release(from, to, err);
	uint64_t heard_ns = tide__now_ns();
	enum mirror_outcome outcome = MIRROR_UNKNOWN;
	bool reached;

	if (said != SAID_NOTHING)
		return said == SAID_DONE ? MIRROR_MOVED : MIRROR_STAYS;
	while (tide__now_ns() - heard_ns < SETTLE_NS) {
		if (look(from, since, &outcome, &reached))
			return outcome;
		if (reached)
			heard_ns = tide__now_ns();
		usleep(PAUSE_US);
	}
	tide_error_set(err, -EOWNERDEAD, "mirror", TIDE_NO_OFFSET,
		       "whether the disk has moved is not known: the source "
		       "is silent. When it lists '%.40s' as moved, the target "
		       "has the disk; else the source has, and the target's "
		       "bitmaps are to be removed", since);
	return MIRROR_UNKNOWN;
}
