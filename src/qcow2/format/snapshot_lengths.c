/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where an entry of the snapshot table ends.
 *
 * Three lengths in each entry say where the next one starts, so one that is
 * wrong hides all that follow. An entry is believed when a good one follows.
 * Else the place is looked for from where exactly the entries that are still
 * to come read as good ones; and of the last entry, where its text ends. Which
 * of the three lengths was the wrong one: the two others fit, and the id is a
 * number.
 */
#include "qcow2/format/snapshot_lengths.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* Beyond what anybody writes: ids are numbers, names have 255 bytes. */
#define MODEST_ID 127u
#define MODEST_NAME 255u
#define SEARCH_BYTES 4096u
/* Entries that must read as good ones behind a place that was found. */
#define CHAIN 64u

bool snapshot_fixed(const struct snapshot_scan *s, uint64_t at,
		    struct snapshot_fixed *f)
{
	uint8_t b[QCOW2_SNAPSHOT_FIXED_BYTES];

	if (at > s->r->size_bytes || s->r->size_bytes - at < sizeof(b) ||
	    qcow2_read_at(s->r, at, b, sizeof(b), NULL))
		return false;
	f->l1_offset = tide__get_be(b, 8);
	f->l1_entries = (uint32_t)tide__get_be(b + 8, 4);
	f->len.id = (uint32_t)tide__get_be(b + 12, 2);
	f->len.name = (uint32_t)tide__get_be(b + 14, 2);
	f->len.extra = (uint32_t)tide__get_be(b + 36, 4);
	f->len.guessed = false;
	return true;
}

static uint64_t bytes_of(const struct snapshot_lengths *len)
{
	return QCOW2_SNAPSHOT_FIXED_BYTES + (uint64_t)len->extra + len->id +
	       len->name;
}

bool snapshot_holds(const struct snapshot_scan *s, uint64_t at,
		    const struct snapshot_lengths *len)
{
	return len->extra <= SNAPSHOT_MAX_EXTRA_BYTES &&
	       at < s->r->size_bytes &&
	       s->r->size_bytes - at >= bytes_of(len);
}

uint64_t snapshot_next(uint64_t at, const struct snapshot_lengths *len)
{
	return (at + bytes_of(len) + 7) & ~7ull;
}

static bool modest(const struct snapshot_lengths *len)
{
	return len->id <= MODEST_ID && len->name <= MODEST_NAME &&
	       len->extra <= SNAPSHOT_MAX_EXTRA_BYTES;
}

/* Is there an entry at @at that is in order in all that can be told? */
static bool good(const struct snapshot_scan *s, uint64_t at, uint64_t *next)
{
	struct snapshot_fixed f;
	uint64_t size = s->r->size_bytes;

	if (!snapshot_fixed(s, at, &f) || !modest(&f.len) || !f.len.id ||
	    !snapshot_holds(s, at, &f.len))
		return false;
	*next = snapshot_next(at, &f.len);
	return f.l1_offset && f.l1_offset < size && f.l1_entries &&
	       !(f.l1_offset & (qcow2_cluster_bytes(s->h) - 1)) &&
	       f.l1_entries <= QCOW2_MAX_L1_BYTES / 8;
}

static bool chain(const struct snapshot_scan *s, uint64_t at, uint32_t left)
{
	for (uint32_t i = 0; i < left && i < CHAIN; i++)
		if (!good(s, at, &at))
			return false;
	return true;
}

/* Where the @left entries behind the one at @at start; 0: not found. */
static uint64_t search(struct snapshot_scan *s, uint64_t at, uint32_t left)
{
	uint64_t next = at + QCOW2_SNAPSHOT_FIXED_BYTES;

	if (!s->searches)
		return 0;
	s->searches--;
	for (; next < at + SEARCH_BYTES; next += 8)
		if (chain(s, next, left))
			return next;
	return 0;
}

static bool all_digits(const uint8_t *text, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return bytes != 0;
}

/* Id and name that together are @bytes of @text; the better, the higher. */
static int split(const uint8_t *text, uint32_t bytes,
		 struct snapshot_lengths *len)
{
	const struct snapshot_lengths ways[] = {
		{ len->id, len->name, len->extra, true },
		{ bytes - len->name, len->name, len->extra, true },
		{ len->id, bytes - len->id, len->extra, true },
		{ 1, bytes - 1, len->extra, true },
	};
	int best = 0;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		int worth = modest(&ways[i]) && ways[i].id &&
			    ways[i].id + ways[i].name == bytes;

		if (worth && all_digits(text, ways[i].id))
			worth = 2;
		if (worth > best) {
			*len = ways[i];
			best = worth;
		}
	}
	return best;
}

/*
 * @b: the entry and what follows, @bytes of it; with @whole, exactly the entry
 * with its padding, else its text ends at a zero byte.
 */
static bool guess(const uint8_t *b, uint64_t bytes, bool whole,
		  struct snapshot_lengths *len)
{
	const uint32_t extras[] = { len->extra, 24, 16, 8, 0 };
	struct snapshot_lengths found = *len, try;
	int best = 0, worth;

	for (size_t i = 0; i < sizeof(extras) / sizeof(extras[0]); i++) {
		const uint8_t *text;
		uint64_t room, n;

		if (QCOW2_SNAPSHOT_FIXED_BYTES + (uint64_t)extras[i] >= bytes)
			continue;
		text = b + QCOW2_SNAPSHOT_FIXED_BYTES + extras[i];
		room = (uint64_t)(b + bytes - text);
		n = strnlen((const char *)text, room);
		if ((whole && room - n > 7) || n > MODEST_ID + MODEST_NAME)
			continue;
		try = (struct snapshot_lengths){ len->id, len->name, extras[i],
						 true };
		worth = split(text, (uint32_t)n, &try);
		if (worth > best) {
			best = worth;
			found = try;
		}
	}
	*len = found;
	return best > 0;
}

static bool guess_at(const struct snapshot_scan *s, uint64_t at,
		     uint64_t bytes, bool whole, struct snapshot_lengths *len)
{
	uint8_t b[SEARCH_BYTES];

	if (bytes > sizeof(b) || bytes > s->r->size_bytes - at)
		bytes = sizeof(b) < s->r->size_bytes - at ?
				sizeof(b) : s->r->size_bytes - at;
	return !qcow2_read_at(s->r, at, b, bytes, NULL) &&
	       guess(b, bytes, whole, len);
}

bool snapshot_measure(struct snapshot_scan *s, uint64_t at, uint32_t left,
		      struct snapshot_lengths *len)
{
	bool holds = snapshot_holds(s, at, len);
	struct snapshot_lengths other = *len;
	uint64_t next;

	if (!s->counted)
		return holds;
	if (!left) {
		if ((!holds || !modest(len)) &&
		    guess_at(s, at, UINT64_MAX, false, &other))
			*len = other;
		return holds || len->guessed;
	}
	if (holds && good(s, snapshot_next(at, len), &next))
		return true;
	next = search(s, at, left);
	if (next && !(holds && next == snapshot_next(at, len)) &&
	    guess_at(s, at, next - at, true, &other)) {
		*len = other;
		return true;
	}
	return holds;
}
