/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmaps/stream.h"
#include "bitmaps/stream_bytes.h"
#include "bitmaps/stream_in.h"

/* Of sections that were begun: which of the two kinds that are known. */
#define MAX_SECTIONS 16u

enum kind { KIND_RAM, KIND_BITMAPS };

struct reading {
	struct stream_in in;
	struct stream_bitmaps *out;
	struct {
		uint64_t id;
		enum kind kind;
	} sections[MAX_SECTIONS];
	uint32_t section_count;
	uint64_t bits; /* of all bitmaps; what they may take is bounded */
	bool over; /* the bitmaps are */
	/* Names that the next chunk does not repeat. */
	char node[STREAM_LONGEST_NAME + 1], name[STREAM_LONGEST_NAME + 1];
};

static struct stream_bitmap *find(const struct reading *r)
{
	for (size_t i = 0; i < r->out->count; i++)
		if (!strcmp(r->out->list[i].name, r->name) &&
		    !strcmp(r->out->list[i].node, r->node))
			return &r->out->list[i];
	return NULL;
}

/* A name, a granularity and a state; no bits yet. */
static int begin_bitmap(struct reading *r)
{
	uint64_t granularity = stream_be(&r->in, 4), state = stream_be(&r->in, 1);
	struct stream_bitmap *list, *b;

	if (r->in.ret)
		return r->in.ret;
	if (granularity < 512 || granularity > UINT64_C(1) << 31 ||
	    granularity & (granularity - 1))
		return stream_fail(&r->in, -EINVAL, "a granularity is no power "
				   "of two from 512 to 2G");
	if (state & ~(uint64_t)(STATE_ENABLED | STATE_PERSISTENT |
				STATE_IGNORED))
		return stream_fail(&r->in, -ENOTSUP, "a bitmap is in a state "
				   "that is not known here");
	if (find(r) || r->out->count == STREAM_MAX_BITMAPS)
		return stream_fail(&r->in, -EINVAL, "a bitmap begins twice, or "
				   "there are too many");
	list = realloc(r->out->list, (r->out->count + 1) * sizeof(*list));
	if (!list)
		return stream_fail(&r->in, -ENOMEM, "no memory");
	r->out->list = list;
	b = &list[r->out->count++];
	memset(b, 0, sizeof(*b));
	memcpy(b->node, r->node, sizeof(b->node));
	memcpy(b->name, r->name, sizeof(b->name));
	b->enabled = state & STATE_ENABLED;
	b->persistent = state & STATE_PERSISTENT;
	b->bits.shift = (uint32_t)__builtin_ctzll(granularity);
	return 0;
}

/* @bytes of little-endian bits, of which @count count, behind those we have. */
static int take_bits(struct reading *r, struct stream_bitmap *b,
		     uint64_t first, uint64_t count)
{
	uint64_t bytes = stream_be(&r->in, 8), need = (count + 7) / 8;
	unsigned char buf[STREAM_MAX_BYTES];
	uint64_t words[STREAM_MAX_BYTES / 8] = { 0 };
	struct cbt_run run;

	if (!r->in.ret && (bytes > sizeof(buf) || bytes < need))
		stream_fail(&r->in, -EINVAL, "a part has not as many bytes as "
			    "it has bits");
	if (r->in.ret)
		return r->in.ret;
	stream_get(&r->in, buf, (size_t)bytes);
	for (uint64_t i = 0; i < need; i++)
		words[i / 8] |= (uint64_t)buf[i] << i % 8 * 8;
	for (run = cbt_next_run(words, count, 0); run.start < run.end;
	     run = cbt_next_run(words, count, run.end))
		if (cbt_image_set(&b->bits, first + run.start,
				  first + run.end))
			return stream_fail(&r->in, -ENOMEM, "no memory");
	return r->in.ret;
}

static int take_part(struct reading *r, struct stream_bitmap *b, bool zeroes)
{
	uint64_t start = stream_be(&r->in, 8), sectors = stream_be(&r->in, 4);
	uint32_t by = b->bits.shift - STREAM_SECTOR_BITS;
	uint64_t count = cbt_bits_of(sectors, by);

	if (r->in.ret)
		return r->in.ret;
	if (start != b->size_bytes >> STREAM_SECTOR_BITS || b->complete ||
	    (start & ((UINT64_C(1) << by) - 1)) || !sectors)
		return stream_fail(&r->in, -EINVAL, "a part does not begin "
				   "where the one before ended");
	if (count > CBT_MAX_BITS - r->bits ||
	    b->size_bytes > INT64_MAX - (sectors << STREAM_SECTOR_BITS))
		return stream_fail(&r->in, -EINVAL, "there are too many bits");
	r->bits += count;
	b->size_bytes += sectors << STREAM_SECTOR_BITS;
	if (cbt_image_grow(&b->bits, (start >> by) + count))
		return stream_fail(&r->in, -ENOMEM, "no memory");
	return zeroes ? 0 : take_bits(r, b, start >> by, count);
}

static int take_chunk(struct reading *r, uint64_t flags)
{
	uint64_t what = flags & ~(uint64_t)(CHUNK_BITMAP_NAME | CHUNK_NODE_NAME |
					    CHUNK_ZEROES);
	struct stream_bitmap *b;

	if (flags & CHUNK_NODE_NAME)
		stream_text(&r->in, r->node);
	if (flags & CHUNK_BITMAP_NAME)
		stream_text(&r->in, r->name);
	if (r->in.ret || what == CHUNK_START)
		return r->in.ret ? r->in.ret : begin_bitmap(r);
	b = find(r);
	if (!b)
		return stream_fail(&r->in, -EINVAL, "a part is of a bitmap "
				   "that was not begun");
	if (what == CHUNK_BITS)
		return take_part(r, b, flags & CHUNK_ZEROES);
	if (what != CHUNK_COMPLETE)
		return stream_fail(&r->in, -ENOTSUP, "a part of a bitmap is of "
				   "a kind that is not known here");
	b->complete = true;
	return 0;
}

static void take_chunks(struct reading *r)
{
	while (!r->in.ret) {
		uint64_t flags = stream_be(&r->in, 1);

		if (r->in.ret || flags == CHUNK_EOS)
			return;
		take_chunk(r, flags);
	}
}

/* What a machine says of itself; its parts have no lengths. */
static void pass_configuration(struct reading *r)
{
	struct stream_in *in = &r->in;
	char name[STREAM_LONGEST_NAME + 1];
	int next = EOF;

	stream_skip(in, stream_be(in, 4));
	while (!in->ret && (next = getc(in->from)) == SECTION_SUBSECTION) {
		in->at++;
		stream_text(in, name);
		stream_be(in, 4);
		if (!strcmp(name, "configuration/target-page-bits")) {
			uint64_t bits = stream_be(in, 4);

			if (bits < 10 || bits > 16)
				stream_fail(in, -EINVAL, "pages of the guest "
					    "have an odd size");
			else
				in->page_bytes = UINT64_C(1) << bits;
		} else if (!strcmp(name, "configuration/uuid")) {
			stream_skip(in, 16);
		} else if (!strcmp(name, "configuration/capabilities")) {
			for (uint64_t n = stream_be(in, 4); n && !in->ret; n--)
				stream_text(in, name);
		} else {
			stream_fail(in, -ENOTSUP, "the machine says of itself "
				    "what is not known here");
		}
	}
	if (!in->ret && next != EOF)
		ungetc(next, in->from);
}

static int unknown(struct reading *r, const char *name)
{
	if (!r->in.ret)
		r->in.ret = tide_error_set(r->in.err, -ENOTSUP, "bitmap",
			r->in.at, "%s: before its bitmaps end it has a section "
			"'%s', of which it is not known where it ends",
			r->in.path, name);
	return r->in.ret;
}

static void begin_section(struct reading *r, uint64_t id)
{
	char name[STREAM_LONGEST_NAME + 1];
	uint32_t n = r->section_count;

	stream_text(&r->in, name);
	stream_be(&r->in, 4); /* of several devices, which */
	stream_be(&r->in, 4); /* its version */
	if (r->in.ret)
		return;
	if (n == MAX_SECTIONS || (strcmp(name, "ram") &&
				  strcmp(name, STREAM_SECTION))) {
		unknown(r, name);
		return;
	}
	r->sections[n].id = id;
	r->sections[n].kind = *name == 'r' ? KIND_RAM : KIND_BITMAPS;
	r->section_count++;
}

/* The payload of a section, and that it ends with its own number. */
static void take_section(struct reading *r, uint64_t type)
{
	uint64_t id = stream_be(&r->in, 4), footer;
	uint32_t i = 0;

	if (type == SECTION_START)
		begin_section(r, id);
	while (i < r->section_count && r->sections[i].id != id)
		i++;
	if (r->in.ret)
		return;
	if (i == r->section_count) {
		stream_fail(&r->in, -EINVAL, "a section goes on that was not "
			    "begun");
		return;
	}
	if (r->sections[i].kind == KIND_RAM)
		stream_pass_ram(&r->in, type == SECTION_START);
	else
		take_chunks(r);
	footer = stream_be(&r->in, 1);
	if (!r->in.ret && (footer != SECTION_FOOTER ||
			   stream_be(&r->in, 4) != id))
		stream_fail(&r->in, -EINVAL, "a section does not end where its "
			    "content does");
	r->over = r->sections[i].kind == KIND_BITMAPS && type == SECTION_END;
}

static void take_any(struct reading *r)
{
	uint64_t type = stream_be(&r->in, 1);

	if (r->in.ret)
		return;
	switch (type) {
	case SECTION_START:
	case SECTION_PART:
	case SECTION_END:
		take_section(r, type);
		return;
	case SECTION_COMMAND:
		stream_be(&r->in, 2);
		stream_skip(&r->in, stream_be(&r->in, 2));
		return;
	case SECTION_CONFIGURATION:
		pass_configuration(r);
		return;
	case SECTION_EOF:
	case SECTION_FULL:
		stream_fail(&r->in, -EINVAL, "it has no bitmaps: was the "
			    "capability dirty-bitmaps set?");
		return;
	default:
		stream_fail(&r->in, -EINVAL, "a section is of no known type");
	}
}

static int all_complete(struct reading *r)
{
	for (size_t i = 0; i < r->out->count && !r->in.ret; i++)
		if (!r->out->list[i].complete)
			stream_fail(&r->in, -EINVAL, "it ends before a bitmap "
				    "is complete");
	return r->in.ret;
}

int stream_read(FILE *from, const char *path, struct stream_bitmaps *out,
		struct tide_error *err)
{
	struct reading r = {
		.in = { .from = from, .path = path, .err = err,
			.page_bytes = 4096 },
		.out = out,
	};
	uint64_t magic = stream_be(&r.in, 4), version = stream_be(&r.in, 4);

	memset(out, 0, sizeof(*out));
	if (magic != STREAM_MAGIC || version != STREAM_VERSION)
		stream_fail(&r.in, -EINVAL, "this is no migration stream of "
			    "QEMU, version 3");
	while (!r.in.ret && !r.over)
		take_any(&r);
	if (all_complete(&r))
		stream_fini(out);
	return r.in.ret;
}

void stream_fini(struct stream_bitmaps *b)
{
	for (size_t i = 0; i < b->count; i++)
		cbt_image_fini(&b->list[i].bits);
	free(b->list);
	memset(b, 0, sizeof(*b));
}

const struct stream_bitmap *stream_find(const struct stream_bitmaps *b,
					const char *node, const char *name)
{
	const struct stream_bitmap *found = NULL;

	for (size_t i = 0; i < b->count; i++) {
		if (strcmp(b->list[i].name, name) ||
		    (node && strcmp(b->list[i].node, node)))
			continue;
		if (found)
			return NULL;
		found = &b->list[i];
	}
	return found;
}
