/* SPDX-License-Identifier: BSD-2-Clause */
/* Before a change: what it will overwrite is kept for those who need it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "instant/internal.h"

void instant_die(struct instant *i, const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&i->reason_lock);
	if (!i->reason[0]) { /* the first reason stays */
		va_start(args, format);
		vsnprintf(i->reason, sizeof(i->reason), format, args);
		va_end(args);
	}
	pthread_mutex_unlock(&i->reason_lock);
	/* Before the change goes down: a reader looks after its read. */
	tide__store_seqcst(&i->shared->dead, 1);
}

/* The blocks of [offset, offset + length) that the instant has. */
static void blocks_of(const struct instant *i, uint64_t offset,
		      uint64_t length, uint64_t *first, uint64_t *end)
{
	*first = offset >> i->shift;
	*end = ((offset + length - 1) >> i->shift) + 1;
	if (*end > i->blocks)
		*end = i->blocks;
}

bool instant_is_cheap(struct instant *i, uint64_t offset, uint64_t length)
{
	uint64_t first, end;

	if (tide__load_seqcst(&i->shared->dead))
		return true;
	blocks_of(i, offset, length, &first, &end);
	for (; first < end; first++) {
		enum instant_block is = instant_get(i, first);

		/* It may have been passed over, but never becomes needed. */
		if (is == INSTANT_NEEDED)
			return false;
		if (is == INSTANT_FREE)
			instant_set(i, first, INSTANT_FREE, INSTANT_GONE);
	}
	return true;
}

static int write_scratch(const struct instant *i, const uint8_t *buf,
			 uint64_t length, uint64_t offset)
{
	while (length) {
		ssize_t n = pwrite(i->scratch, buf, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? errno : EIO;
		buf += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

/* False: there is none left, and the instant is dead. */
static bool reserve(struct instant *i, uint64_t bytes)
{
	uint64_t now = tide__add_seqcst(&i->kept_bytes, bytes) + bytes;
	uint64_t max = tide__load_relaxed(&i->max_kept_bytes);

	if (now > i->bound_bytes) {
		tide__add_seqcst(&i->kept_bytes, -bytes);
		instant_die(i, "its scratch file is full: %llu bytes are kept "
			    "already", (unsigned long long)(now - bytes));
		return false;
	}
	while (now > max && !tide__cas_seqcst(&i->max_kept_bytes, max, now))
		;
	return true;
}

static void give_back(struct instant *i, uint64_t offset, uint64_t bytes)
{
	/* A file system that cannot punch keeps it until the end. */
	fallocate(i->scratch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  (off_t)offset, (off_t)bytes);
	tide__add_seqcst(&i->kept_bytes, -bytes);
}

static uint64_t block_bytes(const struct instant *i, uint64_t block)
{
	uint64_t left = i->disk.size_bytes - (block << i->shift);

	return left < UINT64_C(1) << i->shift ? left : UINT64_C(1) << i->shift;
}

/* The block's lock is held. */
static void copy(struct instant *i, uint64_t block, uint8_t *buf)
{
	uint64_t offset = block << i->shift, bytes = block_bytes(i, block);
	struct tide_error err;
	int code;

	if (tide_disk_read(i->layer->below, offset, buf, bytes, &err)) {
		instant_die(i, "what it held could not be read: %.150s",
			    err.text);
		return;
	}
	if (!reserve(i, bytes))
		return;
	code = write_scratch(i, buf, bytes, offset);
	if (code) {
		instant_die(i, "its scratch file could not be written: %s",
			    strerror(code));
		return;
	}
	tide__add_relaxed(&i->copies, 1);
	if (instant_set(i, block, INSTANT_NEEDED, INSTANT_KEPT))
		return;
	/* Passed over meanwhile: it changes now, and nobody wants it. */
	instant_set(i, block, INSTANT_FREE, INSTANT_GONE);
	give_back(i, offset, bytes);
}

static void keep_block(struct instant *i, uint64_t block, uint8_t *buf)
{
	pthread_mutex_t *lock = &i->locks[block % INSTANT_LOCKS];

	if (instant_set(i, block, INSTANT_FREE, INSTANT_GONE))
		return;
	if (instant_get(i, block) != INSTANT_NEEDED)
		return;
	pthread_mutex_lock(lock);
	if (instant_get(i, block) == INSTANT_NEEDED)
		copy(i, block, buf);
	else
		instant_set(i, block, INSTANT_FREE, INSTANT_GONE);
	pthread_mutex_unlock(lock);
}

void instant_keep(struct instant *i, uint64_t offset, uint64_t length)
{
	uint64_t block, end;
	void *buf;

	if (instant_is_cheap(i, offset, length))
		return;
	if (posix_memalign(&buf, 4096, (size_t)1 << i->shift)) {
		instant_die(i, "no memory to keep what it held");
		return;
	}
	blocks_of(i, offset, length, &block, &end);
	for (; block < end && !tide__load_seqcst(&i->shared->dead); block++)
		keep_block(i, block, buf);
	free(buf);
}

void instant_pass(struct instant *i, uint64_t offset, uint64_t length)
{
	uint64_t block = (offset + (UINT64_C(1) << i->shift) - 1) >> i->shift;
	uint64_t end = offset + length >= i->disk.size_bytes ?
			       i->blocks : (offset + length) >> i->shift;

	for (; block < end; block++) {
		if (instant_set(i, block, INSTANT_NEEDED, INSTANT_FREE))
			continue;
		if (instant_set(i, block, INSTANT_KEPT, INSTANT_GONE))
			give_back(i, block << i->shift, block_bytes(i, block));
	}
}
