/* SPDX-License-Identifier: BSD-2-Clause */
#include "mirror/bitmaps.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "control/ask.h"

#define PATIENCE_MS 60000

static const char *text_of(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t ? t : "";
}

/* The two servers, on connections that are kept: clients are held up. */
struct talk {
	struct control_session from, to;
	const struct mirror_end *ends[2];
};

/* Both lists, one after the other, in one array; NULL: *ret says why. */
static json_t *list_points(const struct mirror_end *from, int *ret,
			   struct tide_error *err)
{
	static const char *const verbs[] = { "checkpoint-list",
					     "bitmap-list" };
	static const char *const keys[] = { "checkpoints", "bitmaps" };
	json_t *all = json_array();

	*ret = all ? 0 : -ENOMEM;
	for (int i = 0; i < 2 && !*ret; i++) {
		json_t *answer = NULL;

		*ret = control_ask(from->control, json_pack("{s:s, s:s}",
				  "command", verbs[i], "disk", from->disk),
				  &answer, err);
		if (!*ret && json_array_extend(all,
				json_object_get(answer, keys[i])))
			*ret = tide_error_set(err, -EPROTO, "mirror",
					      TIDE_NO_OFFSET, "%s gives no "
					      "list of %s", from->control,
					      keys[i]);
		json_decref(answer);
	}
	if (*ret) {
		json_decref(all);
		return NULL;
	}
	return all;
}

static bool travels(const json_t *point, const char *except)
{
	return strncmp(text_of(point, "name"), except, strlen(except)) &&
	       strcmp(text_of(point, "state"), "inconsistent");
}

int mirror_bitmaps_count(const struct mirror_end *from, const char *except,
			 struct tide_error *err)
{
	json_t *all, *point;
	int ret, count = 0;
	size_t i;

	all = list_points(from, &ret, err);
	if (!all)
		return ret;
	json_array_foreach(all, i, point)
		count += travels(point, except);
	json_decref(all);
	return count;
}

/* A part of the source's answer, as runs of the target's request. */
static json_t *runs_of(const json_t *part)
{
	const json_t *list = json_object_get(part, "changed");
	json_t *runs = json_array(), *run;
	size_t i;

	json_array_foreach(list, i, run) {
		json_t *pair = json_pack("[O, O]",
			json_object_get(run, "byte_offset"),
			json_object_get(run, "size_bytes"));

		if (!pair || json_array_append_new(runs, pair)) {
			json_decref(runs);
			return NULL;
		}
	}
	return runs;
}

struct sending {
	struct talk *t;
	const json_t *point;
	bool more; /* the bitmap is there */
	struct tide_error *err;
};

static int send_part(struct sending *s, json_t *runs)
{
	int ret;

	if (!runs)
		return tide_error_set(s->err, -ENOMEM, "mirror",
				      TIDE_NO_OFFSET, "no memory for bitmaps");
	ret = control_session_ask(&s->t->to, json_pack(
		"{s:s, s:s, s:s, s:O, s:b, s:o}", "command", "bitmap-import",
		"disk", s->t->ends[1]->disk, "name", text_of(s->point, "name"),
		"granularity_bytes", json_object_get(s->point,
						     "granularity_bytes"),
		"more", s->more, "runs", runs), NULL, s->err);
	s->more = s->more || !ret;
	return ret;
}

/* What the source says of it, part by part. */
static int send_bits(struct sending *s)
{
	struct control_lines *l = &s->t->from.lines;
	json_t *got = NULL;
	int ret = 0;

	while (!ret && control_get(l, PATIENCE_MS, &got) == CONTROL_GOT) {
		bool last = !json_object_get(got, "changed");

		if (last && json_object_get(got, "error"))
			ret = tide_error_set(s->err, -EIO, "mirror",
					     TIDE_NO_OFFSET, "%s",
					     text_of(got, "error"));
		else if (!last)
			ret = send_part(s, runs_of(got));
		json_decref(got);
		got = NULL;
		if (last)
			return ret;
	}
	return ret ? ret : tide_error_set(s->err, -ECONNRESET, "mirror",
					  TIDE_NO_OFFSET, "%s ended in the "
					  "middle of a bitmap",
					  s->t->from.path);
}

static int ask_bits(struct talk *t, const json_t *point,
		    struct tide_error *err)
{
	json_t *request = json_pack("{s:s, s:s, s:s}", "command", "diff",
				    "disk", t->ends[0]->disk, "name",
				    text_of(point, "name"));
	int ret = request ? control_put(&t->from.lines, request) : -ENOMEM;

	json_decref(request);
	return ret ? tide_error_set(err, ret, "mirror", TIDE_NO_OFFSET,
				    "%s: %s", t->from.path, strerror(-ret)) : 0;
}

static json_t *about(const char *verb, const struct mirror_end *end,
		     const json_t *point)
{
	return json_pack("{s:s, s:s, s:s}", "command", verb, "disk",
			 end->disk, "name", text_of(point, "name"));
}

static int send_one(struct talk *t, const json_t *point,
		    struct tide_error *err)
{
	struct sending s = { .t = t, .point = point, .err = err };
	int ret = ask_bits(t, point, err);

	if (!ret)
		ret = send_bits(&s);
	/* Also one without a bit is to be there. */
	if (!ret && !s.more)
		ret = send_part(&s, json_array());
	if (!ret && !strcmp(text_of(point, "state"), "recording"))
		ret = control_session_ask(&t->to, about("bitmap-enable",
						t->ends[1], point), NULL, err);
	/* By a connection of its own: this one may be broken. */
	if (ret && s.more)
		control_ask(t->to.path, about("bitmap-remove", t->ends[1],
					      point), NULL, NULL);
	return ret;
}

static void take_back(const struct mirror_end *to, const json_t *all,
		      size_t end, const char *except)
{
	for (size_t i = 0; i < end; i++) {
		const json_t *point = json_array_get(all, i);

		if (travels(point, except))
			control_ask(to->control, json_pack("{s:s, s:s, s:s}",
				   "command", "bitmap-remove", "disk",
				   to->disk, "name", text_of(point, "name")),
				   NULL, NULL);
	}
}

static int send_all(struct talk *t, const json_t *all, const char *except,
		    uint32_t *count, struct tide_error *err)
{
	json_t *point;
	int ret = 0;
	size_t i;

	json_array_foreach(all, i, point) {
		if (!travels(point, except))
			continue;
		ret = send_one(t, point, err);
		if (ret) {
			take_back(t->ends[1], all, i, except);
			break;
		}
		++*count;
	}
	return ret;
}

int mirror_bitmaps_send(const struct mirror_end *from,
			const struct mirror_end *to, const char *except,
			uint32_t *count, struct tide_error *err)
{
	struct talk t = { .ends = { from, to } };
	int ret;
	json_t *all = list_points(from, &ret, err);

	if (!all)
		return ret;
	ret = control_session_open(&t.from, from->control, err);
	if (!ret)
		ret = control_session_open(&t.to, to->control, err);
	if (!ret)
		ret = send_all(&t, all, except, count, err);
	control_session_close(&t.from);
	control_session_close(&t.to);
	json_decref(all);
	return ret;
}

void mirror_bitmaps_take_back(const struct mirror_end *from,
			      const struct mirror_end *to, const char *except)
{
	int ret;
	json_t *all = list_points(from, &ret, NULL);

	take_back(to, all, json_array_size(all), except);
	json_decref(all);
}
