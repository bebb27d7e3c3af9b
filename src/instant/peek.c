/* SPDX-License-Identifier: BSD-2-Clause */
#include "instant/peek.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "instant/shared.h"

#define MIN_SHIFT 9u
#define MAX_SHIFT 30u

struct instant_peek {
	int disk;
	struct instant_shared *shared; /* read-only */
	uint64_t bytes, size_bytes;
	uint32_t shift;
};

static int strange(const char *why, struct tide_error *err)
{
	return tide_error_set(err, -EPROTO, "instant", TIDE_NO_OFFSET,
			      "the server's offer to read the disk itself is "
			      "no good: %s", why);
}

/* Memory that gets shorter under us would be a signal, not an error. */
static bool cannot_shrink(int fd, uint64_t bytes)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	return seals >= 0 && seals & F_SEAL_SHRINK && !fstat(fd, &st) &&
	       st.st_size > 0 && (uint64_t)st.st_size >= bytes;
}

static bool is_disk(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

/* Each number is read once: the other side can still write to it. */
static bool head_fits(struct instant_peek *p)
{
	const struct instant_shared *s = p->shared;

	p->shift = tide__load_relaxed(&s->shift);
	return !memcmp(s->magic, INSTANT_MAGIC, sizeof(s->magic)) &&
	       s->version == INSTANT_VERSION &&
	       s->size_bytes == p->size_bytes && p->shift >= MIN_SHIFT &&
	       p->shift <= MAX_SHIFT;
}

static int map_states(struct instant_peek *p, int fd, struct tide_error *err)
{
	struct instant_shared *s;

	if (!cannot_shrink(fd, sizeof(*s)))
		return strange("its states are not sealed memory", err);
	s = mmap(NULL, sizeof(*s), PROT_READ, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		return strange(strerror(errno), err);
	p->shared = s;
	p->bytes = sizeof(*s);
	if (!head_fits(p))
		return strange("its states are of another disk or version",
			       err);
	munmap(s, sizeof(*s));
	p->bytes = instant_shared_bytes(p->size_bytes, p->shift);
	p->shared = NULL;
	if (!cannot_shrink(fd, p->bytes))
		return strange("its states are too few", err);
	s = mmap(NULL, p->bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		return strange(strerror(errno), err);
	p->shared = s;
	return 0;
}

int instant_peek_open(int disk_fd, int states_fd, uint64_t size_bytes,
		      struct instant_peek **out, struct tide_error *err)
{
	struct instant_peek *p = calloc(1, sizeof(*p));
	int ret;

	if (!p) {
		close(disk_fd);
		close(states_fd);
		return tide_error_set(err, -ENOMEM, "instant", TIDE_NO_OFFSET,
				      "no memory to read an instant");
	}
	p->disk = disk_fd;
	p->size_bytes = size_bytes;
	ret = is_disk(disk_fd) ? map_states(p, states_fd, err) :
		strange("it is neither a file nor a block device", err);
	close(states_fd); /* the mapping stays */
	if (ret)
		instant_peek_close(p);
	else
		*out = p;
	return ret;
}

void instant_peek_close(struct instant_peek *p)
{
	if (!p)
		return;
	if (p->shared)
		munmap(p->shared, p->bytes);
	close(p->disk);
	free(p);
}

static bool read_all(int fd, uint8_t *buf, uint64_t length, uint64_t offset)
{
	while (length) {
		ssize_t n = pread(fd, buf, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* shorter than it was: the server knows why */
			return false;
		buf += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return true;
}

static bool is_whole(const struct instant_peek *p, uint64_t first,
		     uint64_t end)
{
	return instant_shared_next_changed(p->shared, first, end) == end &&
	       !tide__load_seqcst(&p->shared->dead);
}

bool instant_peek_read(const struct instant_peek *p, uint64_t offset,
		       void *buf, uint64_t length)
{
	uint64_t first, end;

	if (!length)
		return true;
	if (offset > p->size_bytes || length > p->size_bytes - offset)
		return false;
	first = offset >> p->shift;
	end = ((offset + length - 1) >> p->shift) + 1;
	/* The first look spares a read that is in vain. */
	if (!is_whole(p, first, end) ||
	    !read_all(p->disk, buf, length, offset))
		return false;
	/* No state may be loaded before the read has ended. */
	tide__fence_seqcst();
	return is_whole(p, first, end);
}
