/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a harvest of another process costs: idle, and with one page of a hundred
 * written since. usage: bench-harvest [MIB [ROUNDS]]
 *
 * A child has so much private memory, of small pages, all of it there, and
 * writes when it is told. Measured is tide_source_harvest and nothing else.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tidemark/dirty.h"
#include "tidemark/slots.h"
#include "tidemark/source.h"

#define PAGE 4096u
#define MAX_ROUNDS 1000

struct bench {
	uint64_t pages;
	unsigned char *memory;
	int order[2], done[2];	/* pipes: "write", "written" */
	pid_t child;
	struct tide_slots *slots;
	struct tide_set *set;
	struct tide_source *source;
};

static void give_up(const struct tide_error *err)
{
	fprintf(stderr, "bench-harvest: %s\n", err->text);
	exit(1);
}

/* One page of a hundred, all over it. */
static void work(struct bench *b)
{
	char c;

	memset(b->memory, 1, b->pages * PAGE);
	while (write(b->done[1], "", 1) == 1 && read(b->order[0], &c, 1) == 1)
		for (uint64_t i = 0; i < b->pages / 100; i++)
			b->memory[(i * 100 + (i * 7919) % 100) * PAGE]++;
	_exit(0);
}

static void start(struct bench *b)
{
	char c;

	b->memory = mmap(NULL, b->pages * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b->memory == MAP_FAILED || pipe(b->order) || pipe(b->done)) {
		perror("bench-harvest");
		exit(1);
	}
	madvise(b->memory, b->pages * PAGE, MADV_NOHUGEPAGE);
	b->child = fork();
	if (!b->child)
		work(b);
	if (b->child < 0 || read(b->done[0], &c, 1) != 1) {
		perror("bench-harvest");
		exit(1);
	}
}

static void watch(struct bench *b)
{
	struct tide_source_vm vm = { .struct_size = sizeof(vm), .vm_fd = -1,
				     .pid = (int)b->child };
	struct tide_slot slot = { .len_bytes = b->pages * PAGE,
				  .host = b->memory };
	struct tide_error err;

	tide_error_clear(&err);
	if (tide_slots_create(&b->slots, &err) ||
	    tide_slots_insert(b->slots, &slot, &err) ||
	    tide_set_create(&b->set, b->pages, &err) ||
	    tide_source_create(&b->source, TIDE_SOURCE_FOREIGN, &vm, &err) ||
	    tide_source_start(b->source, b->slots, &err))
		give_up(&err);
}

static uint64_t harvest(struct bench *b, uint64_t *pages)
{
	struct tide_epoch *epoch;
	struct tide_error err;
	uint64_t at = tide__now_ns(), took;

	tide_error_clear(&err);
	if (tide_source_harvest(b->source, b->set, &err))
		give_up(&err);
	took = tide__now_ns() - at;
	if (tide_set_cut(b->set, &epoch, &err))
		give_up(&err);
	*pages = tide_epoch_count(epoch);
	tide_epoch_commit(epoch);
	return took;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void series(struct bench *b, const char *name, int rounds, bool dirty)
{
	uint64_t took[MAX_ROUNDS], pages = 0;
	double gib = (double)b->pages * PAGE / (1u << 30);
	char c;

	for (int i = 0; i < rounds; i++) {
		if (dirty && (write(b->order[1], "", 1) != 1 ||
			      read(b->done[0], &c, 1) != 1))
			exit(1);
		took[i] = harvest(b, &pages);
	}
	qsort(took, (size_t)rounds, sizeof(*took), by_size);
	printf("%-12s %8" PRIu64 " pages: %8.3f ms (worst %.3f), %.3f ms a "
	       "GiB\n", name, pages, (double)took[rounds / 2] / 1e6,
	       (double)took[rounds - 1] / 1e6,
	       (double)took[rounds / 2] / 1e6 / gib);
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 256;
	int rounds = argc > 2 ? atoi(argv[2]) : 20;
	struct bench b = { .pages = mib * 256 };
	uint64_t pages;

	if (!mib || rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: bench-harvest [MIB [ROUNDS]]\n");
		return 2;
	}
	start(&b);
	watch(&b);
	harvest(&b, &pages);
	series(&b, "idle", rounds, false);
	series(&b, "1 % dirty", rounds, true);
	tide_source_destroy(b.source);
	tide_slots_destroy(b.slots);
	tide_set_destroy(b.set);
	kill(b.child, SIGKILL);
	waitpid(b.child, NULL, 0);
	return 0;
}
