/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The section "ram" of a QEMU migration, of which only the length matters.
 * Plain pages, zero pages, and the two that are compressed page by page are
 * known. What goes over other sockets (multifd), or needs a way back
 * (postcopy), is not in a file, and neither is known.
 */
#include <errno.h>

#include "bitmaps/stream_in.h"

enum ram_flag {
	RAM_ZERO = 0x02,
	RAM_SIZE = 0x04,
	RAM_PAGE = 0x08,
	RAM_EOS = 0x10,
	RAM_CONTINUE = 0x20,
	RAM_XBZRLE = 0x40,
	RAM_COMPRESSED = 0x100,
	RAM_FLAGS = 0x3ff /* below the smallest page of any guest */
};

/* Blocks, until their sizes are what was announced. */
static void pass_blocks(struct stream_in *in, uint64_t total)
{
	char name[STREAM_LONGEST_NAME + 1];

	while (total && !in->ret) {
		uint64_t bytes;

		stream_text(in, name);
		bytes = stream_be(in, 8);
		if (!in->ret && (!bytes || bytes > total))
			stream_fail(in, -EINVAL, "the guest's memory is not as "
				    "large as it was said to be");
		total -= bytes;
	}
}

static void pass_page(struct stream_in *in, uint64_t flags)
{
	char name[STREAM_LONGEST_NAME + 1];

	if (!(flags & RAM_CONTINUE))
		stream_text(in, name);
	switch (flags & ~(uint64_t)RAM_CONTINUE) {
	case RAM_ZERO:
		stream_skip(in, 1);
		break;
	case RAM_PAGE:
		stream_skip(in, in->page_bytes);
		break;
	case RAM_XBZRLE:
		stream_skip(in, 1);
		stream_skip(in, stream_be(in, 2));
		break;
	case RAM_COMPRESSED:
		stream_skip(in, stream_be(in, 4));
		break;
	default:
		stream_fail(in, -ENOTSUP, "the guest's memory is sent in a way "
			    "that is not known here: record with the guest's "
			    "memory left out, or without multifd and postcopy");
	}
}

void stream_pass_ram(struct stream_in *in, bool start)
{
	while (!in->ret) {
		uint64_t word = stream_be(in, 8);
		uint64_t flags = word & RAM_FLAGS;

		if (in->ret || flags == RAM_EOS)
			return;
		if (start && flags == RAM_SIZE)
			pass_blocks(in, word & ~(uint64_t)RAM_FLAGS);
		else
			pass_page(in, flags);
	}
}
