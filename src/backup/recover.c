/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/recover.h"

#include <errno.h>
#include <string.h>

#include "control/ask.h"

/* Gone, or never there: what was wanted. */
static int but_missing(int ret)
{
	return ret == -ENOENT || ret == -ESTALE ? 0 : ret;
}

static int tell(const char *control, const char *verb, const char *disk,
		const char *checkpoint, struct tide_error *err)
{
	return control_ask(control, json_pack("{s:s, s:s, s:s}", "command", verb,
					      "disk", disk, "name", checkpoint),
			  NULL, err);
}

/* A manifest that was put back may be older. */
int recover_call_off(const char *control, const char *disk,
		     const char *checkpoint, struct tide_error *err)
{
	int ret = tell(control, "checkpoint-abort", disk, checkpoint, err);

	if (ret == -EINVAL)
		ret = tell(control, "checkpoint-delete", disk, checkpoint,
			   err);
	return but_missing(ret);
}

const char *recover_text(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t ? t : "";
}

int recover_finish(const json_t *pending, const char *control,
		   struct tide_error *err)
{
	const char *disk = recover_text(pending, "disk");
	const char *now = recover_text(pending, "checkpoint");
	const char *before = recover_text(pending, "previous");
	int ret = but_missing(tell(control, "checkpoint-commit", disk, now,
				   err));

	if (!ret && *before && strcmp(before, now))
		ret = but_missing(tell(control, "checkpoint-delete", disk,
				       before, err));
	return ret;
}

static bool has_point_of(const struct backup_folder *f, const json_t *pending)
{
	const char *name = recover_text(pending, "checkpoint");

	for (size_t i = 0; i < f->count; i++)
		if (!strcmp(f->points[i].checkpoint, name))
			return true;
	return false;
}

int backup_recover(struct backup_folder *f, const char *control,
		   struct tide_error *err)
{
	const char *name;
	json_t *pending;
	int ret = folder_pending(f, &pending, err);

	if (ret == -EBADMSG)
		ret = 0; /* it names nothing that could be undone */
	if (ret)
		return ret;
	name = recover_text(pending, "checkpoint");
	if (pending && *name && control && *control) {
		if (has_point_of(f, pending))
			ret = recover_finish(pending, control, err);
		else
			ret = recover_call_off(control, recover_text(pending, "disk"), name,
				       err);
	} else if (pending && *name) {
		/* The files can be put right; the server is told later. */
		json_decref(pending);
		return folder_sweep(f, err);
	}
	if (!ret)
		ret = folder_sweep(f, err);
	if (!ret && pending)
		ret = folder_set_pending(f, NULL, err);
	json_decref(pending);
	return ret;
}
