/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/cloud_config.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "vmm/cloud_wire.h"

#define MAGIC "TIDECLHV"
#define HEADER 32u
#define VERSION 1u
#define PAUSED 1u

static bool take(const json_t *from, const char *name, uint64_t *to)
{
	const json_t *j = json_object_get(from, name);

	*to = (uint64_t)json_integer_value(j);
	return json_is_integer(j) && json_integer_value(j) >= 0;
}

static bool is_apart(const struct cloud_slot *a, const struct cloud_slot *b)
{
	return a->slot != b->slot && (a->gpa + a->bytes <= b->gpa ||
				      b->gpa + b->bytes <= a->gpa);
}

static int take_slot(struct cloud_config *c, const json_t *from,
		     struct tide_error *err)
{
	struct cloud_slot *s = &c->slot[c->slots];
	uint64_t number;

	if (c->slots == CLOUD_MAX_SLOTS)
		return cloud_fail(-E2BIG, "more than 32 memory slots", err);
	if (!take(from, "slot", &number) || !take(from, "gpa", &s->gpa) ||
	    !take(from, "size", &s->bytes) ||
	    !take(from, "file_offset", &s->offset) || number > UINT32_MAX ||
	    !s->bytes || (s->gpa | s->bytes | s->offset) % CLOUD_PAGE ||
	    s->bytes > INT64_MAX - s->gpa || s->bytes > INT64_MAX - s->offset)
		return cloud_fail(-EPROTO, "a memory slot of its configuration "
				  "makes no sense", err);
	s->slot = (uint32_t)number;
	for (size_t i = 0; i < c->slots; i++)
		if (!is_apart(&c->slot[i], s))
			return cloud_fail(-EPROTO, "memory slots of its "
					  "configuration overlap", err);
	c->slots++;
	return 0;
}

int cloud_config_read(struct cloud_config *c, const void *json, size_t n,
		      struct tide_error *err)
{
	json_t *all = json_loadb(json, n, 0, NULL), *list, *one;
	size_t i;
	int ret = 0;

	c->slots = 0;
	list = json_object_get(json_object_get(all, "memory_manager_data"),
			       "guest_ram_mappings");
	json_array_foreach(list, i, one)
		if (!ret)
			ret = take_slot(c, one, err);
	if (!ret && !c->slots)
		ret = cloud_fail(-EPROTO, "its configuration names no memory",
				 err);
	json_decref(all);
	return ret;
}

int cloud_pack(const struct cloud_devices *d, void **bytes, size_t *n,
	       struct tide_error *err)
{
	unsigned char *to = malloc(HEADER + d->config_bytes + d->state_bytes);

	if (!to)
		return cloud_fail(-ENOMEM, "no memory", err);
	memcpy(to, MAGIC, 8);
	tide__put_le(to + 8, VERSION, 4);
	tide__put_le(to + 12, d->paused ? PAUSED : 0, 4);
	tide__put_le(to + 16, d->config_bytes, 8);
	tide__put_le(to + 24, d->state_bytes, 8);
	memcpy(to + HEADER, d->config, d->config_bytes);
	memcpy(to + HEADER + d->config_bytes, d->state, d->state_bytes);
	*bytes = to;
	*n = HEADER + d->config_bytes + d->state_bytes;
	return 0;
}

int cloud_unpack(struct cloud_devices *d, const void *bytes, size_t n,
		 struct tide_error *err)
{
	const unsigned char *at = bytes;
	uint64_t flags;

	if (n < HEADER || memcmp(at, MAGIC, 8))
		return tide_error_set(err, -EINVAL, "cloud", TIDE_NO_OFFSET,
				      "it is not a snapshot of a Cloud "
				      "Hypervisor");
	flags = tide__get_le(at + 12, 4);
	d->config_bytes = tide__get_le(at + 16, 8);
	d->state_bytes = tide__get_le(at + 24, 8);
	if (tide__get_le(at + 8, 4) != VERSION || flags & ~(uint64_t)PAUSED ||
	    d->config_bytes > n - HEADER ||
	    d->state_bytes != n - HEADER - d->config_bytes)
		return tide_error_set(err, -EBADMSG, "cloud", TIDE_NO_OFFSET,
				      "what the snapshot has of its Cloud "
				      "Hypervisor cannot be read");
	d->paused = flags & PAUSED;
	d->config = at + HEADER;
	d->state = at + HEADER + d->config_bytes;
	return 0;
}
