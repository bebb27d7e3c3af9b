/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/live.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/recover.h"
#include "control/ask.h"

struct live {
	struct backup_folder *f;
	const struct backup_point *point;
	const char *uri, *control;
	char *disk, *own_control;
	char name[64]; /* of the checkpoint */
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t ? t : "";
}

static int look(struct live *l, struct tide_error *err)
{
	int ret = nbd_client_look(l->uri, &l->disk, &l->own_control, err);

	if (ret)
		return ret;
	if (!l->control && *l->own_control)
		l->control = l->own_control;
	if (!l->control)
		return tide_error_set(err, -ENOTSUP, "backup", TIDE_NO_OFFSET,
				      "%.120s has no checkpoints to ask from",
				      l->uri);
	l->point = folder_newest(l->f);
	if (!l->point || !*l->point->checkpoint)
		return tide_error_set(err, -ESTALE, "backup", TIDE_NO_OFFSET,
				      "%s: the newest point has no checkpoint",
				      l->f->path);
	return 0;
}

/* The instant holds all of the disk: what is unchanged is read, too. */
static int begin(struct live *l, json_t **answer, struct tide_error *err)
{
	json_t *pending = json_pack("{s:s, s:s, s:s}", "does", "verify", "disk",
				    l->disk, "checkpoint", l->name);
	int ret = folder_set_pending(l->f, pending, err);

	if (ret)
		return ret;
	return control_ask(l->control, json_pack(
		"{s:s, s:s, s:[s], s:{s:s}, s:b}", "command",
		"checkpoint-begin", "name", l->name, "disks", l->disk, "since",
		l->disk, l->point->checkpoint, "whole", 1), answer, err);
}

static int compare(struct live *l, const json_t *answer,
		   const struct backup_verify_options *o,
		   struct backup_truth *out, struct tide_error *err)
{
	const json_t *one = json_array_get(json_object_get(answer, "disks"), 0);
	char dirty[BACKUP_NAME + 64];
	struct nbd_client_options so = {
		.export = text_of(one, "export"), .dirty = dirty,
		.connections = o->jobs,
	};
	struct nbd_client *source;
	int ret;

	if (!*text_of(one, "since") ||
	    strcmp(text_of(one, "tracker"), l->point->disk))
		return tide_error_set(err, -ESTALE, "backup", TIDE_NO_OFFSET,
				      "the server cannot say what changed: %.150s",
				      *text_of(one, "why_full") ?
					      text_of(one, "why_full") :
					      "it is another disk");
	snprintf(dirty, sizeof(dirty), "qemu:dirty-bitmap:%s",
		 text_of(one, "since"));
	ret = nbd_client_open(l->uri, &so, &source, err);
	if (ret)
		return ret;
	ret = backup_verify_disk(l->f, l->point, source, o, out, err);
	nbd_client_close(source);
	return ret;
}

int backup_verify_live(struct backup_folder *f, const char *uri,
		       const char *control,
		       const struct backup_verify_options *o,
		       struct backup_truth *out, struct tide_error *err)
{
	struct live l = { .f = f, .uri = uri, .control = control };
	json_t *answer = NULL;
	struct tide_error why;
	int ret = look(&l, err), ended;

	if (!ret)
		ret = backup_recover(f, l.control, err);
	if (!ret) {
		snprintf(l.name, sizeof(l.name), "verify-%.16s-%d", f->id,
			 (int)getpid());
		ret = begin(&l, &answer, err);
		if (!ret)
			ret = compare(&l, answer, o, out, err);
		json_decref(answer);
		ended = backup_recover(f, l.control, &why);
		if (!ret && ended) {
			ret = ended;
			*err = why;
		}
	}
	free(l.disk);
	free(l.own_control);
	return ret;
}
