/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/cloud_offer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "vmm/cloud_wire.h"

static int answer(const struct cloud_offer *o, bool good,
		  struct tide_error *err)
{
	unsigned char frame[CLOUD_FRAME];

	cloud_put_answer(frame, good);
	return cloud_send(o->fd, frame, sizeof(frame), err);
}

void cloud_offer_end(struct cloud_offer *o, bool good)
{
	if (o->fd < 0)
		return;
	answer(o, good, NULL);
	close(o->fd);
	for (size_t i = 0; i < o->passed_count; i++)
		close(o->passed[i]);
	free(o->config_text);
	free(o->state);
	*o = (struct cloud_offer)CLOUD_NO_OFFER;
}

/* It is told, and forgotten. */
static int give_up(struct cloud_offer *o, int ret)
{
	/* Of its change of mind it is told that it was understood. */
	cloud_offer_end(o, ret == -ECANCELED);
	return ret;
}

static int next(const struct cloud_offer *o, struct cloud_request *r,
		struct tide_error *err)
{
	unsigned char frame[CLOUD_FRAME];
	int ret = cloud_receive(o->fd, frame, sizeof(frame), err);

	if (!ret)
		ret = cloud_get_request(frame, r, err);
	if (!ret && r->command == CLOUD_ABANDON)
		ret = cloud_fail(-ECANCELED, "it abandoned the snapshot", err);
	return ret;
}

static int start(const struct cloud_offer *o, struct tide_error *err)
{
	struct cloud_request r;
	int ret = next(o, &r, err);

	if (ret)
		return ret;
	if (r.command != CLOUD_START || r.bytes)
		return cloud_fail(-EPROTO, "it does not begin with Start", err);
	if (r.version != CLOUD_VERSION)
		return cloud_fail(-EPROTO, "it speaks a newer version of its "
				  "protocol", err);
	return answer(o, true, err);
}

static int take_memory(struct cloud_offer *o, const struct cloud_request *r,
		       struct tide_error *err)
{
	unsigned char slot[4];
	size_t i = o->passed_count;
	int ret;

	if (r->bytes != sizeof(slot))
		return cloud_fail(-EPROTO, "a MemoryFd is not of 4 bytes", err);
	if (i == CLOUD_MAX_SLOTS)
		return cloud_fail(-E2BIG, "more than 32 memory slots", err);
	ret = cloud_receive_fd(o->fd, slot, sizeof(slot), &o->passed[i], err);
	if (ret)
		return ret;
	o->number[i] = (uint32_t)tide__get_le(slot, 4);
	o->passed_count++;
	for (size_t k = 0; k < i; k++)
		if (o->number[k] == o->number[i])
			return cloud_fail(-EPROTO, "it sent a memory slot "
					  "twice", err);
	return answer(o, true, err);
}

/* A file that is large enough, and can be read. */
static int judge_memory(int fd, const struct cloud_slot *s,
			struct tide_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0 ||
	    (uint64_t)st.st_size < s->offset + s->bytes)
		return cloud_fail(-EPROTO, "a memory slot's file is not as "
				  "large as its configuration says", err);
	return 0;
}

/* Each slot has its file, and there is no other. */
static int match_memory(struct cloud_offer *o, struct tide_error *err)
{
	int ret = 0;

	if (o->passed_count != o->config.slots)
		return cloud_fail(-EPROTO, "its configuration has other memory "
				  "slots than it sent (local=on?)", err);
	for (size_t i = 0; !ret && i < o->config.slots; i++) {
		const struct cloud_slot *s = &o->config.slot[i];
		size_t k = 0;

		while (k < o->passed_count && o->number[k] != s->slot)
			k++;
		if (k == o->passed_count)
			return cloud_fail(-EPROTO, "it sent no memory for a "
					  "slot of its configuration", err);
		o->memory[i] = o->passed[k];
		ret = judge_memory(o->memory[i], s, err);
	}
	return ret;
}

static int meet(struct cloud_offer *o, struct tide_error *err)
{
	struct cloud_request r = { 0 };
	int ret = start(o, err);

	while (!ret && !o->config_text) {
		ret = next(o, &r, err);
		if (ret)
			break;
		if (r.command == CLOUD_MEMORY_FD)
			ret = take_memory(o, &r, err);
		else if (r.command == CLOUD_CONFIG)
			ret = cloud_receive_text(o->fd, r.bytes,
						 &o->config_text, err);
		else
			ret = cloud_fail(-EPROTO, "a command out of its order "
					 "before Config", err);
	}
	o->config_bytes = r.bytes;
	if (!ret)
		ret = cloud_config_read(&o->config, o->config_text,
					o->config_bytes, err);
	return ret ? ret : match_memory(o, err);
}

int cloud_offer_meet(struct cloud_offer *o, int fd, struct tide_error *err)
{
	int ret;

	*o = (struct cloud_offer){ .fd = fd };
	ret = meet(o, err);
	return ret ? give_up(o, ret) : 0;
}

static int hear_state(struct cloud_offer *o, struct tide_error *err)
{
	struct cloud_request r;
	int ret = answer(o, true, err);

	if (!ret)
		ret = next(o, &r, err);
	if (ret)
		return ret;
	if (r.command == CLOUD_MEMORY)
		return cloud_fail(-EPROTO, "it sends its memory over the "
				  "socket; it takes local=on", err);
	if (r.command != CLOUD_STATE)
		return cloud_fail(-EPROTO, "it does not send State after "
				  "Config", err);
	ret = cloud_receive_text(o->fd, r.bytes, &o->state, err);
	o->state_bytes = r.bytes;
	if (!ret)
		ret = answer(o, true, err);
	if (!ret)
		ret = next(o, &r, err);
	if (ret)
		return ret;
	if ((r.command != CLOUD_COMPLETE &&
	     r.command != CLOUD_COMPLETE_PAUSED) || r.bytes)
		return cloud_fail(-EPROTO, "it does not end with Complete",
				  err);
	o->paused = r.command == CLOUD_COMPLETE_PAUSED;
	return 0;
}

int cloud_offer_state(struct cloud_offer *o, struct tide_error *err)
{
	int ret = hear_state(o, err);

	return ret ? give_up(o, ret) : 0;
}
