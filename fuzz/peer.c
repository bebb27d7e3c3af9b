/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A receiver and its source, who may say anything on up to sixteen channels:
 * the greeting, frames in and out of order, slots that change, the hand-over;
 * through the door or without it.
 *
 * Held against it beside not crashing: memory outside of the slots is never
 * touched (it cannot be), a guest is run only after its state was loaded and
 * at most once, "it runs here" is told exactly then, and every word that is
 * logged or sent back is printable.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "peer/door.h"
#include "peer/frame.h"
#include "stream.h"
#include "tidemark/precopy.h"

#define ARENA (UINT64_C(32) << 20)
#define STALL_NS 40000000u
#define WAIT_MS 15
#define MAX_ITEMS 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A frame, as it is sent; also a piece of one. */
struct item {
	unsigned int who;
	size_t at, len;
};

struct attempt {
	unsigned int how;
	uint8_t *bytes;
	size_t used;
	struct item item[MAX_ITEMS];
	unsigned int items;
	uint64_t sequence[STREAM_CHANNELS];
	int near[STREAM_CHANNELS], far[STREAM_CHANNELS]; /* -1: not there */
	unsigned int accepted;
	/* The receiver's words on the control channel; the sender's thread. */
	uint8_t heard[TIDE__FRAME_BYTES + 4096];
	bool done;
	struct tide_slots *slots;
	char *arena;
	unsigned int loaded, resumed;
};

/* One door for all inputs, as a receiver has it: it takes its time to close. */
static struct tide__door *door;
static struct sockaddr_un door_at;
static socklen_t door_at_bytes;

static void must_be_printable(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 127)
			abort();
}

static void log_line(void *opaque, const char *what)
{
	(void)opaque;
	must_be_printable(what, strlen(what));
}

static void open_door(void)
{
	static const struct tide__door_options o = { .log = log_line };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	door_at.sun_family = AF_UNIX;
	door_at_bytes = sizeof(door_at);
	/* A family alone: the kernel finds a name that is in no folder. */
	if (fd < 0 || bind(fd, (void *)&door_at, sizeof(sa_family_t)) ||
	    getsockname(fd, (void *)&door_at, &door_at_bytes) ||
	    listen(fd, 64) || tide__door_open(&door, fd, &o, NULL))
		abort();
}

/* --- what is sent --- */

/* The frame at @from, of which @size bytes are there; returns its length. */
static size_t put_frame(struct attempt *a, unsigned int who,
			const uint8_t *from, size_t size)
{
	uint8_t *head = a->bytes + a->used;
	size_t payload, len = size;

	if (size >= TIDE__FRAME_BYTES) {
		payload = (size_t)tide__get_le(from + 28, 4);
		if (payload > size - TIDE__FRAME_BYTES)
			payload = size - TIDE__FRAME_BYTES;
		len = TIDE__FRAME_BYTES + payload;
	}
	memcpy(head, from, len);
	a->item[a->items++] = (struct item){ who, a->used, len };
	a->used += len;
	if (size < TIDE__FRAME_BYTES)
		return len;
	if (!(who & STREAM_SEQUENCE))
		tide__put_le(head + 8,
			     a->sequence[who & STREAM_CHANNEL]++, 8);
	if (who & STREAM_SUMS)
		return len;
	tide__put_le(head, TIDE__WIRE_MAGIC, 4);
	tide__put_le(head + 32, payload ?
		     tide__frame_sum(from + TIDE__FRAME_BYTES, payload) : 0, 8);
	tide__put_le(head + 40, tide__frame_sum(head, 40), 8);
	return len;
}

static void put_all(struct attempt *a, const uint8_t *data, size_t size)
{
	a->bytes = malloc(size);
	if (!a->bytes)
		abort();
	while (size > 1 && a->items < MAX_ITEMS) {
		size_t n = 1 + put_frame(a, *data, data + 1, size - 1);

		data += n;
		size -= n;
	}
}

static bool is_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, WAIT_MS) > 0;
}

/* Exactly @len bytes from the receiver. */
static bool hear_bytes(int fd, uint8_t *to, size_t len)
{
	while (len) {
		ssize_t n;

		if (!is_ready(fd, POLLIN))
			return false;
		n = recv(fd, to, len, MSG_DONTWAIT);
		if (n <= 0)
			return false;
		to += n;
		len -= (size_t)n;
	}
	return true;
}

/* The next frame on the control channel, if one comes soon. */
static bool hear(struct attempt *a)
{
	unsigned int type;
	size_t len;

	if (a->near[0] < 0 ||
	    !hear_bytes(a->near[0], a->heard, TIDE__FRAME_BYTES))
		return false;
	type = (unsigned int)tide__get_le(a->heard + 4, 2);
	len = (size_t)tide__get_le(a->heard + 28, 4);
	if (len > sizeof(a->heard) - TIDE__FRAME_BYTES ||
	    !hear_bytes(a->near[0], a->heard + TIDE__FRAME_BYTES, len))
		abort(); /* the receiver's own frames are whole */
	if (type == TIDE__FRAME_REFUSED)
		must_be_printable((char *)a->heard + TIDE__FRAME_BYTES, len);
	a->done |= type == TIDE__FRAME_DONE;
	return true;
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (void *)&door_at, door_at_bytes))
		abort();
	return fd;
}

static void send_bytes(int fd, const uint8_t *at, size_t len)
{
	while (len) {
		ssize_t n = send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN || !is_ready(fd, POLLOUT)) {
			return;
		}
	}
}

static void send_item(struct attempt *a, const struct item *item)
{
	unsigned int channel = item->who & STREAM_CHANNEL;
	const uint8_t *at = a->bytes + item->at;
	size_t first = 0;

	if (item->who & STREAM_WAIT)
		hear(a);
	if (a->near[channel] < 0) {
		a->near[channel] = dial();
		first = a->how & STREAM_SPLIT && item->len > 20 ? 20 : 0;
	}
	if (first) {
		send_bytes(a->near[channel], at, first);
		usleep(100);
	}
	send_bytes(a->near[channel], at + first, item->len - first);
}

static void *send_all(void *opaque)
{
	struct attempt *a = opaque;

	for (unsigned int i = 0; i < a->items; i++)
		send_item(a, &a->item[i]);
	for (unsigned int i = 0; i < STREAM_CHANNELS; i++)
		if (a->near[i] >= 0)
			shutdown(a->near[i], SHUT_WR);
	while (hear(a))
		;
	return NULL;
}

/* --- the receiver's side --- */

/* Who comes in first says so: else nobody is received. */
static bool says_hello(const struct attempt *a)
{
	uint32_t seen = 0;

	for (unsigned int i = 0; i < a->items; i++) {
		unsigned int channel = a->item[i].who & STREAM_CHANNEL;
		struct tide__frame f;

		if (!(seen >> channel & 1) &&
		    a->item[i].len >= TIDE__FRAME_BYTES &&
		    !tide__frame_get(&f, a->bytes + a->item[i].at, 0, NULL) &&
		    f.type == TIDE__FRAME_HELLO)
			return true;
		seen |= 1u << channel;
	}
	return false;
}

static int next_channel(void *opaque, struct tide_error *err)
{
	struct attempt *a = opaque;
	unsigned int n = a->accepted++;
	int fd;

	if (a->how & STREAM_DOOR)
		return n ? tide__door_join(door, STALL_NS / 2, err)
			 : tide__door_source(door, err);
	if (n >= STREAM_CHANNELS || a->far[n] < 0)
		return tide_error_set(err, -ETIMEDOUT, "fuzz", TIDE_NO_OFFSET,
				      "there are no more channels");
	fd = a->far[n];
	a->far[n] = -1;
	return fd;
}

/* Without the door: a pair for each channel that is used. */
static void make_pairs(struct attempt *a)
{
	for (unsigned int i = 0; i < a->items; i++) {
		unsigned int channel = a->item[i].who & STREAM_CHANNEL;
		int pair[2];

		if (a->near[channel] >= 0)
			continue;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			abort();
		a->near[channel] = pair[0];
		a->far[channel] = pair[1];
	}
}

static int add_slot(struct attempt *a, const struct tide_slot *wanted,
		    struct tide_error *err)
{
	struct tide_slot slot = *wanted;
	int ret;

	if (slot.gpa_bytes > ARENA || slot.len_bytes > ARENA - slot.gpa_bytes)
		return tide_error_set(err, -ENOMEM, "fuzz", slot.gpa_bytes,
				      "too large for this test");
	slot.host = a->arena + slot.gpa_bytes;
	ret = tide_slots_insert(a->slots, &slot, err);
	if (!ret && mmap(slot.host, slot.len_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
			 MAP_NORESERVE, -1, 0) == MAP_FAILED)
		abort();
	return ret;
}

static int prepare(void *opaque, const struct tide_slot *wanted, size_t count,
		   struct tide_slots *slots, struct tide_error *err)
{
	int ret = 0;

	(void)slots;
	for (size_t i = 0; i < count && !ret; i++)
		ret = add_slot(opaque, &wanted[i], err);
	return ret;
}

static bool is_wanted(const struct tide_slot *slot,
		      const struct tide_slot *wanted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (wanted[i].id == slot->id &&
		    wanted[i].gpa_bytes == slot->gpa_bytes &&
		    wanted[i].len_bytes == slot->len_bytes)
			return true;
	return false;
}

static int change(void *opaque, const struct tide_slot *wanted, size_t count,
		  struct tide_slots *slots, struct tide_error *err)
{
	struct attempt *a = opaque;
	struct tide_slot slot;
	uint64_t from = 0;
	int ret = 0;

	while (tide_slots_next(slots, from, &slot)) {
		from = slot.gpa_bytes + slot.len_bytes;
		if (is_wanted(&slot, wanted, count))
			continue;
		tide_slots_remove(slots, slot.id, NULL);
		mmap(slot.host, slot.len_bytes, PROT_NONE, MAP_PRIVATE |
		     MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	}
	for (size_t i = 0; i < count && !ret; i++)
		if (!tide_slots_find_id(slots, wanted[i].id, NULL))
			ret = add_slot(a, &wanted[i], err);
	return ret;
}

static int load_state(void *opaque, const void *state, size_t len,
		      struct tide_error *err)
{
	struct attempt *a = opaque;
	volatile uint8_t last;

	(void)err;
	if (len)
		last = ((const uint8_t *)state)[len - 1];
	(void)last;
	a->loaded++;
	return 0;
}

static int resume(void *opaque, struct tide_error *err)
{
	struct attempt *a = opaque;

	(void)err;
	if (a->loaded != 1 || a->resumed++)
		abort();
	return 0;
}

static void receive(struct attempt *a)
{
	static const struct tide_receive_ops ops = {
		prepare, load_state, resume, NULL, change };
	struct tide_precopy_options options;
	struct tide_precopy_result result;
	struct tide_error err;
	int ret;

	tide_precopy_defaults(&options);
	options.stall_timeout_ns = STALL_NS;
	ret = tide_receive_run(next_channel, a->slots, &ops, a, &options,
			       &result, &err);
	if (ret)
		must_be_printable(err.text, strlen(err.text));
	if (!ret != (a->resumed == 1) ||
	    !ret != (result.outcome == TIDE_PRECOPY_MOVED))
		abort();
	if (a->how & STREAM_DOOR)
		tide__door_done(door);
}

static void close_all(struct attempt *a)
{
	for (unsigned int i = 0; i < STREAM_CHANNELS; i++) {
		if (a->near[i] >= 0)
			close(a->near[i]);
		if (a->far[i] >= 0)
			close(a->far[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct attempt a;
	pthread_t sender;

	if (!size)
		return 0;
	if (!door)
		open_door();
	memset(&a, 0, sizeof(a));
	a.how = *data;
	memset(a.near, -1, sizeof(a.near));
	memset(a.far, -1, sizeof(a.far));
	put_all(&a, data + 1, size - 1);
	if (!(a.how & STREAM_DOOR))
		make_pairs(&a);
	a.arena = mmap(NULL, ARENA, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a.arena == MAP_FAILED || tide_slots_create(&a.slots, NULL) ||
	    pthread_create(&sender, NULL, send_all, &a))
		abort();
	if (!(a.how & STREAM_DOOR) || says_hello(&a))
		receive(&a);
	pthread_join(sender, NULL);
	if (a.done && !a.resumed)
		abort();
	close_all(&a);
	free(a.bytes);
	tide_slots_destroy(a.slots);
	munmap(a.arena, ARENA);
	return 0;
}
