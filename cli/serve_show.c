/* SPDX-License-Identifier: BSD-2-Clause */
/* What a server tells of its disks, their points, and how they are tracked. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/serve_call.h"
#include "cli/serve_instant.h"
#include "control/server.h"

static json_t *uuid_json(const uint8_t uuid[16])
{
	char text[37];

	tide__text_uuid(text, uuid);
	return json_string(text);
}

static json_t *point_json(const struct cbt_info *i)
{
	return json_pack(
		"{s:s, s:s, s:s, s:s*, s:b, s:I, s:I, s:I, s:o, s:o}", "name",
		i->name, "kind",
		i->kind == CBT_CHECKPOINT ? "checkpoint" : "bitmap", "state",
		cbt_word(i->word), "reason", *i->reason ? i->reason : NULL,
		"pending", i->pending,
		"granularity_bytes", (json_int_t)i->granularity_bytes,
		"dirty_bytes", (json_int_t)i->dirty_bytes, "created",
		(json_int_t)i->created_s, "uuid", uuid_json(i->uuid), "parent",
		uuid_json(i->parent));
}

/* The points of one kind, or of both (0); NULL: no memory. */
static json_t *points_json(struct serve_disk *d, int kind)
{
	json_t *array = json_array();
	struct cbt_info *list;
	size_t count;

	if (!array || cbt_list(d->cbt, CBT_COUNTED, &list, &count)) {
		json_decref(array);
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		if ((!kind || (int)list[i].kind == kind) &&
		    json_array_append_new(array, point_json(&list[i]))) {
			json_decref(array);
			array = NULL;
			break;
		}
	free(list);
	return array;
}

static json_t *tracking_json(struct serve_disk *d)
{
	struct cbt_status s;

	if (!d->cbt)
		return json_pack("{s:s, s:s}", "state", "off", "reason",
				 d->untracked);
	cbt_status(d->cbt, &s);
	return json_pack(
		"{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
		" s:I, s:b, s:s*, s:s*}",
		"state", s.lost ? "failing" : *s.trouble ? "failing" : "on",
		"durability",
		s.durability == CBT_POWER ? "power" : "process", "store",
		s.store_path, "uuid", uuid_json(s.uuid), "granularity_bytes",
		(json_int_t)s.granularity_bytes, "epoch", (json_int_t)s.epoch,
		"dirty_bytes", (json_int_t)s.live_bytes, "safety_bytes",
		(json_int_t)s.safety_bytes, "active_regions",
		(json_int_t)s.active_regions, "region_bytes",
		(json_int_t)s.region_bytes, "intent_blocks",
		(json_int_t)s.intents, "first_writes",
		(json_int_t)s.first_writes, "commits", (json_int_t)s.commits,
		"power_loss_would_lose", s.lost, "trouble",
		*s.trouble ? s.trouble : NULL, "note",
		*cbt_note(d->cbt) ? cbt_note(d->cbt) : NULL);
}

static json_t *disk_json(struct serve_disks *disks, struct serve_disk *d)
{
	json_t *points = d->cbt ? points_json(d, 0) : json_array();

	return json_pack("{s:s, s:s, s:I, s:b, s:o, s:o, s:o}", "name", d->name,
			 "path", d->disk->path, "size_bytes",
			 (json_int_t)tide_disk_size(d->disk), "read_only",
			 !d->disk->writable, "tracking", tracking_json(d),
			 "points", points, "instants",
			 serve_instant_list(disks, d));
}

json_t *serve_show_status(struct serve_call *c)
{
	json_t *array = json_array();

	for (int i = 0; array && i < c->disks->count; i++)
		if (json_array_append_new(array,
					  disk_json(c->disks,
						    &c->disks->list[i]))) {
			json_decref(array);
			array = NULL;
		}
	return array ? json_pack("{s:o}", "disks", array) : NULL;
}

static json_t *do_list(struct serve_call *c, int kind, const char *key)
{
	json_t *points = points_json(c->d, kind);

	return points ? json_pack("{s:s, s:o}", "disk", c->d->name, key,
				  points) : NULL;
}

json_t *serve_show_checkpoints(struct serve_call *c)
{
	return do_list(c, CBT_CHECKPOINT, "checkpoints");
}

json_t *serve_show_bitmaps(struct serve_call *c)
{
	return do_list(c, CBT_BITMAP, "bitmaps");
}

json_t *serve_show_info(struct serve_call *c)
{
	struct cbt_info info;
	struct tide_error err;
	json_t *answer;
	int ret = cbt_info(c->d->cbt, c->name, CBT_COUNTED, &info, &err);

	if (ret)
		return control_error(&err);
	answer = point_json(&info);
	if (answer && (json_object_set_new(answer, "tracking",
					   tracking_json(c->d)) ||
		       json_object_set_new(answer, "size_bytes", json_integer(
				(json_int_t)tide_disk_size(c->d->disk))))) {
		json_decref(answer);
		return NULL;
	}
	return answer;
}
