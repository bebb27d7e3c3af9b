/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving a guest from one process to another, both ends, without KVM: the guest
 * is a thread that counts in pages of its memory. What it counted in all is its
 * device state; if a single count is lost on the way, the sums differ. To send
 * takes six calls of the library and three callbacks, to receive four and two.
 *
 *	cc move.c $(pkg-config --cflags --libs tidemark) -pthread && ./a.out
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tidemark/move.h>

#define PAGES 4096u
#define BYTES (PAGES * (size_t)TIDE_PAGE_BYTES)

struct guest {
	uint64_t *memory;
	uint64_t counted;		/* the state that moves */
	struct tide_set *marks;		/* NULL: a source sees its writes */
	pthread_t thread;
	pthread_mutex_t lock;
	bool run;
};

static bool runs(struct guest *g)
{
	bool run;

	pthread_mutex_lock(&g->lock);
	run = g->run;
	pthread_mutex_unlock(&g->lock);
	return run;
}

static void *guest_main(void *opaque)
{
	const struct timespec nap = { 0, 20000 };
	struct guest *g = opaque;

	for (; runs(g); nanosleep(&nap, NULL)) {
		uint64_t page = g->counted * 7919 % PAGES;

		g->memory[page * TIDE_PAGE_BYTES / 8]++;
		g->counted++;
		if (g->marks)
			tide_set_mark(g->marks, page);
	}
	return NULL;
}

static int resume(void *opaque, struct tide_error *err)
{
	struct guest *g = opaque;

	(void)err;
	g->run = true;
	return -pthread_create(&g->thread, NULL, guest_main, g);
}

static int pause_guest(void *opaque, struct tide_error *err)
{
	struct guest *g = opaque;

	(void)err;
	pthread_mutex_lock(&g->lock);
	g->run = false;
	pthread_mutex_unlock(&g->lock);
	return -pthread_join(g->thread, NULL);
}

static int save_state(void *opaque, void **state, size_t *len,
		      struct tide_error *err)
{
	struct guest *g = opaque;

	(void)err;
	*len = sizeof(g->counted);
	*state = malloc(*len);
	if (*state)
		memcpy(*state, &g->counted, *len);
	return *state ? 0 : -12;	/* ENOMEM */
}

static int load_state(void *opaque, const struct tide_slots *slots,
		      const void *state, size_t len, struct tide_error *err)
{
	struct guest *g = opaque;
	struct tide_slot slot;

	if (len != sizeof(g->counted) || !tide_slots_next(slots, 0, &slot) ||
	    slot.len_bytes != BYTES)
		return tide_error_set(err, -22, "example", TIDE_NO_OFFSET,
				      "this is another kind of guest");
	memcpy(&g->counted, state, len);
	g->memory = slot.host;
	return 0;
}

static bool is_whole(const struct guest *g)
{
	uint64_t sum = 0;

	for (unsigned int p = 0; p < PAGES; p++)
		sum += g->memory[p * (size_t)TIDE_PAGE_BYTES / 8];
	printf("%s: %" PRIu64 " counts in memory, %" PRIu64 " in the state\n",
	       sum == g->counted ? "whole" : "DAMAGED", sum, g->counted);
	return sum == g->counted;
}

static int receiver(int socket)
{
	const struct timespec while_ = { 0, 20000000 };
	struct guest g = { .lock = PTHREAD_MUTEX_INITIALIZER };
	const struct tide_move_target target = { load_state, resume, &g };
	struct tide_slots *slots;
	struct tide_error err;
	bool whole;

	if (tide_slots_create(&slots, &err) ||
	    tide_move_receive(&target, &socket, 1, slots, NULL, NULL, &err)) {
		fprintf(stderr, "receiver: %s\n", err.text);
		return 1;
	}
	nanosleep(&while_, NULL);	/* it runs here now */
	pause_guest(&g, NULL);
	whole = is_whole(&g);
	tide_move_unmap(slots);
	tide_slots_destroy(slots);
	return whole ? 0 : 1;
}

static int sender(int socket, bool may_use_source)
{
	struct guest g = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct tide_slot slot = { .id = 0, .len_bytes = BYTES };
	const struct tide_source_vm no_vm = { .struct_size = sizeof(no_vm),
					      .vm_fd = -1 };
	struct tide_move_guest move = {
		.pause = pause_guest, .resume = resume,
		.save_state = save_state, .opaque = &g,
	};
	struct tide_precopy_result result;
	struct tide_source *source = NULL;
	struct tide_slots *slots;
	struct tide_error err;
	int ret;

	g.memory = slot.host = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (tide_slots_create(&slots, &err) ||
	    tide_slots_insert(slots, &slot, &err)) {
		fprintf(stderr, "sender: %s\n", err.text);
		return 1;
	}
	/* Without userfaultfd here, the guest marks what it writes. */
	if ((!may_use_source ||
	     tide_source_create(&source, TIDE_SOURCE_UFFD, &no_vm, &err)) &&
	    tide_set_create(&g.marks, PAGES, &err))
		return 1;
	move.slots = slots;
	move.source = source;
	move.set = g.marks;
	resume(&g, NULL);
	ret = tide_move_send(&move, &socket, 1, NULL, &result, &err);
	if (ret)
		fprintf(stderr, "sender: %s\n", err.text);
	else
		printf("moved: %u rounds, %" PRIu64 " pages, %" PRIu64
		       " us down\n", result.rounds, result.pages,
		       result.downtime_ns / 1000);
	tide_source_destroy(source);
	tide_set_destroy(g.marks);
	tide_slots_destroy(slots);
	munmap(g.memory, BYTES);
	return ret ? 1 : 0;
}

/* With an argument: as if there were no userfaultfd here. */
int main(int argc, char **argv)
{
	int pair[2], status;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	(void)argv;
	child = fork();
	if (child == 0)
		return receiver(pair[1]);
	close(pair[1]);
	status = sender(pair[0], argc < 2);
	close(pair[0]);
	if (child > 0)
		waitpid(child, &pair[0], 0);
	return status || child < 0 || pair[0] ? 1 : 0;
}
