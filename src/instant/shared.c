/* SPDX-License-Identifier: BSD-2-Clause */
#include "instant/shared.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"

_Static_assert(offsetof(struct instant_shared, states) == INSTANT_HEAD_BYTES,
	       "states begin at their own page");

/* Ours is mapped already, and is the last mapping that can be written to. */
static int seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW |
				      F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

static void *map(uint64_t bytes, int fd)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd,
			0);

	return at == MAP_FAILED ? NULL : at;
}

static void *map_sealed(uint64_t bytes, int *out)
{
	int fd = memfd_create("tidemark-instant",
			      MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *at;

	*out = fd;
	if (fd < 0)
		return NULL;
	at = ftruncate(fd, (off_t)bytes) ? NULL : map(bytes, fd);
	if (at && !seal(fd))
		return at;
	if (at)
		munmap(at, bytes);
	close(fd);
	*out = -1;
	return NULL;
}

struct instant_shared *instant_shared_create(uint64_t size_bytes,
					     uint32_t shift, int *fd)
{
	uint64_t bytes = instant_shared_bytes(size_bytes, shift);
	struct instant_shared *s = map_sealed(bytes, fd);

	if (!s)
		s = map(bytes, -1);
	if (!s)
		return NULL;
	memcpy(s->magic, INSTANT_MAGIC, sizeof(s->magic));
	s->version = INSTANT_VERSION;
	s->shift = shift;
	s->size_bytes = size_bytes;
	return s;
}

void instant_shared_free(struct instant_shared *s, int fd)
{
	if (s)
		munmap(s, instant_shared_bytes(s->size_bytes, s->shift));
	if (fd >= 0)
		close(fd);
}

uint64_t instant_shared_next_changed(const struct instant_shared *s,
				     uint64_t from, uint64_t end)
{
	while (from < end) {
		uint64_t word = tide__load_seqcst(
			&s->states[from / INSTANT_BLOCKS_A_WORD]);
		uint32_t at = 2 * (uint32_t)(from % INSTANT_BLOCKS_A_WORD);

		word = (word & INSTANT_CHANGED) >> at << at;
		from -= from % INSTANT_BLOCKS_A_WORD;
		if (word) {
			from += (uint64_t)__builtin_ctzll(word) / 2;
			return from < end ? from : end;
		}
		from += INSTANT_BLOCKS_A_WORD;
	}
	return end;
}
