/* SPDX-License-Identifier: BSD-2-Clause */
/* The numbers of the format; all of it is big-endian but the bits. */
#ifndef TIDE_BITMAPS_STREAM_BYTES_H
#define TIDE_BITMAPS_STREAM_BYTES_H

#define STREAM_MAGIC 0x5145564du
#define STREAM_VERSION 3u
#define STREAM_SECTION "dirty-bitmap"

enum stream_section {
	SECTION_EOF = 0,
	SECTION_START = 1,
	SECTION_PART = 2,
	SECTION_END = 3,
	SECTION_FULL = 4,
	SECTION_SUBSECTION = 5,
	SECTION_DESCRIPTION = 6, /* behind the end: for people and tools */
	SECTION_CONFIGURATION = 7,
	SECTION_COMMAND = 8,
	SECTION_FOOTER = 0x7e
};

/* Of a chunk of the section. */
enum stream_flag {
	CHUNK_EOS = 0x01,
	CHUNK_ZEROES = 0x02,
	CHUNK_BITMAP_NAME = 0x04,
	CHUNK_NODE_NAME = 0x08,
	CHUNK_START = 0x10,
	CHUNK_COMPLETE = 0x20,
	CHUNK_BITS = 0x40
};

enum stream_state {
	STATE_ENABLED = 0x01,
	STATE_PERSISTENT = 0x02,
	STATE_IGNORED = 0x04 /* bitmaps that were made by themselves */
};

#define STREAM_SECTOR_BITS 9u
/* Bits of one chunk, usually; and the bytes of one that QEMU takes at most. */
#define STREAM_CHUNK_BITS 8192u
#define STREAM_MAX_BYTES 10240u

#endif
