/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Seeds of the targets peer and state, recorded: record FOLDER.
 *
 * A small guest is moved over socket pairs with a recorder between them, in
 * several ways; and a VM that threads play is paused and its state written
 * down, with the pages that steer it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "peer/frame.h"
#include "state.h"
#include "stream.h"
#include "tidemark/move.h"
#include "vm/vm.h"

#define PAGES 8u
#define HALF (PAGES / 2 * 4096u)
#define SECOND_GPA (1u << 20)
#define PLUGGED_GPA (2u << 20)

static const char *folder;

static void write_seed(const char *target, const char *name, const void *bytes,
		       size_t len)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, target);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s", folder, target, name);
	f = fopen(path, "wb");
	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f)) {
		perror(path);
		exit(1);
	}
}

/* --- a migration --- */

struct scene {
	unsigned int channels;
	int zstd;
	bool checksum, plug, refuse;

	struct tide_slots *near, *far;
	struct tide_set *set;
	char *memory, *landed;
	unsigned int harvests;
	/* what went by */
	pthread_mutex_t lock;
	uint8_t *bytes;
	size_t used;
	unsigned int answers;	/* of the target, that nothing followed yet */
	int source[STREAM_CHANNELS], target[STREAM_CHANNELS];
	unsigned int accepted;
};

struct wire {
	struct scene *s;
	unsigned int channel;
	int from, to;
	bool recorded;
	pthread_t thread;
};

static bool read_whole(int fd, uint8_t *to, size_t len)
{
	return !len || recv(fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

static void keep(struct wire *w, const uint8_t *frame, size_t len)
{
	struct scene *s = w->s;

	pthread_mutex_lock(&s->lock);
	s->bytes = realloc(s->bytes, s->used + len + 1);
	if (!s->bytes)
		abort();
	s->bytes[s->used] = (uint8_t)(w->channel |
				      (s->answers ? STREAM_WAIT : 0));
	s->answers -= s->answers > 0;
	memcpy(s->bytes + s->used + 1, frame, len);
	s->used += len + 1;
	pthread_mutex_unlock(&s->lock);
}

/* What the source sends from here on, it sends because of this. */
static void note_answer(struct scene *s)
{
	pthread_mutex_lock(&s->lock);
	s->answers++;
	pthread_mutex_unlock(&s->lock);
}

static void *carry(void *opaque)
{
	struct wire *w = opaque;
	uint8_t *frame = malloc(TIDE__FRAME_BYTES + TIDE__MAX_PAYLOAD_BYTES);

	while (frame && read_whole(w->from, frame, TIDE__FRAME_BYTES)) {
		size_t len = (size_t)tide__get_le(frame + 28, 4);

		if (!read_whole(w->from, frame + TIDE__FRAME_BYTES, len))
			break;
		len += TIDE__FRAME_BYTES;
		if (w->recorded)
			keep(w, frame, len);
		else if (!w->channel)
			note_answer(w->s);
		if (send(w->to, frame, len, MSG_NOSIGNAL) != (ssize_t)len)
			break;
	}
	free(frame);
	shutdown(w->to, SHUT_WR);
	return NULL;
}

/* Some pages are written, and at last a slot is plugged. */
static int harvest(void *opaque, struct tide_set *set, struct tide_error *err)
{
	struct scene *s = opaque;
	unsigned int n = s->harvests++;
	struct tide_slot more = { 9, 0, PLUGGED_GPA, 2 * 4096,
				  s->memory + 2 * HALF };

	if (n == 1 && s->plug)
		return tide_slots_insert(s->near, &more, err);
	for (unsigned int page = 1; n < 3 && page < 4; page += 2) {
		s->memory[page * 4096 + n] ^= 0x5a;
		tide_set_mark(set, page);
	}
	return 0;
}

static int nothing(void *opaque, struct tide_error *err)
{
	(void)opaque;
	(void)err;
	return 0;
}

static int save(void *opaque, void **state, size_t *len, struct tide_error *err)
{
	(void)opaque;
	(void)err;
	*len = 300;
	*state = calloc(1, *len);
	return *state ? 0 : -ENOMEM;
}

static int accept_next(void *opaque, struct tide_error *err)
{
	struct scene *s = opaque;

	(void)err;
	return s->target[s->accepted++];
}

static int land(void *opaque, const struct tide_slot *wanted, size_t count,
		struct tide_slots *slots, struct tide_error *err)
{
	struct scene *s = opaque;
	int ret = 0;

	for (size_t i = 0; i < count && !ret; i++) {
		struct tide_slot slot = wanted[i];

		if (tide_slots_find_id(slots, slot.id, NULL))
			continue;
		slot.host = s->landed + slot.gpa_bytes;
		ret = tide_slots_insert(slots, &slot, err);
	}
	return ret;
}

static int load(void *opaque, const void *state, size_t len,
		struct tide_error *err)
{
	const struct scene *s = opaque;

	(void)state;
	(void)len;
	return s->refuse ? tide_error_set(err, -EINVAL, "record", 0, "no") : 0;
}

static void *target(void *opaque)
{
	static const struct tide_receive_ops ops = { land, load, nothing, NULL,
						     land };
	struct scene *s = opaque;
	struct tide_precopy_options options;
	struct tide_precopy_result result;
	struct tide_error err;

	tide_precopy_defaults(&options);
	if (tide_receive_run(accept_next, s->far, &ops, s, &options, &result,
			     &err) && !s->refuse)
		fprintf(stderr, "record: %s\n", err.text);
	return NULL;
}

static void lay_out(struct scene *s)
{
	struct tide_slot a = { 0, 0, 0, HALF, s->memory };
	struct tide_slot b = { 1, 0, SECOND_GPA, HALF, s->memory + HALF };

	for (unsigned int page = 0; page < PAGES; page += 2)
		memset(s->memory + page * 4096, (int)page + 1, 4096);
	if (tide_slots_create(&s->near, NULL) ||
	    tide_slots_create(&s->far, NULL) ||
	    tide_slots_insert(s->near, &a, NULL) ||
	    tide_slots_insert(s->near, &b, NULL) ||
	    tide_set_create(&s->set, PLUGGED_GPA / 4096 + 2, NULL))
		abort();
}

static void source(struct scene *s)
{
	static const struct tide_precopy_ops ops = {
		.harvest = harvest, .pause = nothing, .resume = nothing,
		.save_state = save };
	struct tide_precopy_options options;
	struct tide_precopy_result result;
	struct tide_error err;

	tide_precopy_defaults(&options);
	options.zstd_level = s->zstd;
	options.checksum = s->checksum;
	options.max_rounds = 4;
	options.downtime_target_ns = 1;
	options.auto_stop_over_target = true;
	if (tide_precopy_run(s->source, s->channels, s->near, s->set, &ops, s,
			     &options, &result, &err) && !s->refuse)
		fprintf(stderr, "record: %s\n", err.text);
}

static void run(struct scene *s)
{
	struct wire wire[STREAM_CHANNELS][2];
	pthread_t thread;

	for (unsigned int i = 0; i < s->channels; i++) {
		int a[2], b[2];

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, a) ||
		    socketpair(AF_UNIX, SOCK_STREAM, 0, b))
			abort();
		s->source[i] = a[0];
		s->target[i] = b[0];
		wire[i][0] = (struct wire){ s, i, a[1], b[1], true, 0 };
		wire[i][1] = (struct wire){ s, i, b[1], a[1], false, 0 };
		for (int k = 0; k < 2; k++)
			pthread_create(&wire[i][k].thread, NULL, carry,
				       &wire[i][k]);
	}
	pthread_create(&thread, NULL, target, s);
	source(s);
	for (unsigned int i = 0; i < s->channels; i++)
		shutdown(s->source[i], SHUT_RDWR);
	pthread_join(thread, NULL);
	for (unsigned int i = 0; i < s->channels; i++)
		for (int k = 0; k < 2; k++)
			pthread_join(wire[i][k].thread, NULL);
}

static char *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void record(const char *name, struct scene s)
{
	char file[64];

	pthread_mutex_init(&s.lock, NULL);
	s.memory = pages(2 * HALF + 2 * 4096);
	s.landed = pages(PLUGGED_GPA + 2 * 4096);
	s.bytes = malloc(1);
	if (!s.bytes)
		abort();
	s.used = 1;
	lay_out(&s);
	run(&s);
	for (unsigned int how = 0; how < 2; how++) {
		s.bytes[0] = how ? STREAM_DOOR | STREAM_SPLIT : 0;
		snprintf(file, sizeof(file), "%s-%u", name, how);
		write_seed("peer", file, s.bytes, s.used);
	}
	free(s.bytes);
	tide_slots_destroy(s.near);
	tide_slots_destroy(s.far);
	tide_set_destroy(s.set);
}

/* --- a VM --- */

static void write_state(const char *name, const struct vm_config *c)
{
	struct state_input in = { .magic = STATE_MAGIC };
	uint8_t *bytes;
	struct tide_slot slot;
	struct vm *vm;
	void *blob;
	size_t len;

	if (vm_create(&vm, c, NULL) || vm_resume(vm, NULL))
		abort();
	usleep(20000);
	vm_pause(vm, NULL);
	if (vm_save_state(vm, &blob, &len, NULL) ||
	    !tide_slots_find_gpa(vm_slots(vm), 0, &slot))
		abort();
	memcpy(in.control, (char *)slot.host + GUEST_CONTROL,
	       sizeof(in.control));
	memcpy(in.queue, (char *)slot.host + GUEST_QUEUE, sizeof(in.queue));
	memcpy(in.vcpu, (char *)slot.host + GUEST_VCPUS, sizeof(in.vcpu));
	bytes = malloc(sizeof(in) + len);
	if (!bytes)
		abort();
	memcpy(bytes, &in, sizeof(in));
	memcpy(bytes + sizeof(in), blob, len);
	write_seed("state", name, bytes, sizeof(in) + len);
	free(bytes);
	free(blob);
	vm_destroy(vm);
}

static void record_states(void)
{
	char name[32];

	for (unsigned int p = 0; p < GUEST_PATTERNS; p++) {
		struct vm_config c;

		state_config(&c);
		c.memory_bytes = 16u << 20;
		c.pattern = p;
		c.vcpus = 1 + p % 3;
		c.hole = p & 1;
		snprintf(name, sizeof(name), "pattern-%u", p);
		write_state(name, &c);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	folder = argv[1];
	record("plain", (struct scene){ .channels = 1, .checksum = true });
	record("bare", (struct scene){ .channels = 1 });
	record("packed", (struct scene){ .channels = 2, .checksum = true,
					 .zstd = 1 });
	record("four", (struct scene){ .channels = 4, .checksum = true });
	record("plug", (struct scene){ .channels = 2, .checksum = true,
				       .plug = true });
	record("refused", (struct scene){ .channels = 2, .checksum = true,
					  .refuse = true });
	record_states();
	return 0;
}
