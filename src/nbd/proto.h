/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The numbers of the NBD protocol, and where each lies in its message.
 *
 * Every integer on the wire is big-endian. The structures here are never
 * pointed at the wire: they name the offsets and sizes of messages, each
 * checked when this is compiled, and the code reads and writes through
 * base/bytes.h. Source: proto.md of the NBD project, with extended headers.
 */
#ifndef TIDE_NBD_PROTO_H
#define TIDE_NBD_PROTO_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_GREETING_MAGIC UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71u
#define NBD_SIMPLE_REPLY_MAGIC 0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu
#define NBD_EXTENDED_REPLY_MAGIC 0x6e8a278cu

#define NBD_DEFAULT_PORT "10809"
#define NBD_LONGEST_STRING 4096u
/* What the protocol lets a client assume when it was told nothing. */
#define NBD_LARGEST_PAYLOAD (UINT32_C(32) << 20)

/* Handshake flags, server's and client's: the same bits. */
enum {
	NBD_HANDSHAKE_FIXED = 1 << 0,
	NBD_HANDSHAKE_NO_ZEROES = 1 << 1,
};

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
	NBD_OPT_EXTENDED_HEADERS = 11,
};

#define NBD_REP_ERROR 0x80000000u

enum nbd_option_reply {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
};

/* Errors of options are these with NBD_REP_ERROR. */
#define NBD_REP_ERR_UNSUP (NBD_REP_ERROR + 1)
#define NBD_REP_ERR_POLICY (NBD_REP_ERROR + 2)
#define NBD_REP_ERR_INVALID (NBD_REP_ERROR + 3)
#define NBD_REP_ERR_PLATFORM (NBD_REP_ERROR + 4)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_ERROR + 5)
#define NBD_REP_ERR_UNKNOWN (NBD_REP_ERROR + 6)
#define NBD_REP_ERR_SHUTDOWN (NBD_REP_ERROR + 7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD (NBD_REP_ERROR + 8)
#define NBD_REP_ERR_TOO_BIG (NBD_REP_ERROR + 9)
#define NBD_REP_ERR_EXT_HEADER_REQD (NBD_REP_ERROR + 10)

enum nbd_info {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_DESCRIPTION = 2,
	NBD_INFO_BLOCK_SIZE = 3,
};

/* Transmission flags: what an export can do. */
enum {
	NBD_FLAG_HAS_FLAGS = 1 << 0,
	NBD_FLAG_READ_ONLY = 1 << 1,
	NBD_FLAG_SEND_FLUSH = 1 << 2,
	NBD_FLAG_SEND_FUA = 1 << 3,
	NBD_FLAG_ROTATIONAL = 1 << 4,
	NBD_FLAG_SEND_TRIM = 1 << 5,
	NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
	NBD_FLAG_SEND_DF = 1 << 7,
	NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
	NBD_FLAG_SEND_CACHE = 1 << 10,
	NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
	NBD_FLAG_BLOCK_STATUS_PAYLOAD = 1 << 12,
};

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

enum {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
	NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5,
};

enum { NBD_REPLY_FLAG_DONE = 1 << 0 };

#define NBD_REPLY_ERROR 0x8000u

enum nbd_reply_type {
	NBD_REPLY_NONE = 0,
	NBD_REPLY_OFFSET_DATA = 1,
	NBD_REPLY_OFFSET_HOLE = 2,
	NBD_REPLY_BLOCK_STATUS = 5,
	NBD_REPLY_BLOCK_STATUS_EXT = 6,
	NBD_REPLY_ERROR_PLAIN = NBD_REPLY_ERROR + 1,
	NBD_REPLY_ERROR_OFFSET = NBD_REPLY_ERROR + 2,
};

/* Bits of base:allocation, and the one of qemu:dirty-bitmap. */
enum {
	NBD_STATE_HOLE = 1 << 0,
	NBD_STATE_ZERO = 1 << 1,
	NBD_STATE_DIRTY = 1 << 0,
};

enum nbd_error {
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

struct nbd_greeting {
	uint8_t magic[8];
	uint8_t option_magic[8];
	uint8_t flags[2];
};

/* Followed by `length` bytes. */
struct nbd_option_head {
	uint8_t magic[8];
	uint8_t option[4];
	uint8_t length[4];
};

struct nbd_option_reply_head {
	uint8_t magic[8];
	uint8_t option[4];
	uint8_t type[4];
	uint8_t length[4];
};

/* The answer to EXPORT_NAME, without a head. */
struct nbd_export_name_reply {
	uint8_t size[8];
	uint8_t flags[2];
	uint8_t zeroes[124]; /* unless NBD_HANDSHAKE_NO_ZEROES */
};

struct nbd_info_export {
	uint8_t type[2];
	uint8_t size[8];
	uint8_t flags[2];
};

struct nbd_info_block_size {
	uint8_t type[2];
	uint8_t minimum[4];
	uint8_t preferred[4];
	uint8_t maximum[4];
};

struct nbd_request_head {
	uint8_t magic[4];
	uint8_t flags[2];
	uint8_t type[2];
	uint8_t cookie[8];
	uint8_t offset[8];
	uint8_t length[4];
};

struct nbd_extended_request_head {
	uint8_t magic[4];
	uint8_t flags[2];
	uint8_t type[2];
	uint8_t cookie[8];
	uint8_t offset[8];
	uint8_t length[8];
};

struct nbd_simple_reply_head {
	uint8_t magic[4];
	uint8_t error[4];
	uint8_t cookie[8];
};

struct nbd_structured_reply_head {
	uint8_t magic[4];
	uint8_t flags[2];
	uint8_t type[2];
	uint8_t cookie[8];
	uint8_t length[4];
};

struct nbd_extended_reply_head {
	uint8_t magic[4];
	uint8_t flags[2];
	uint8_t type[2];
	uint8_t cookie[8];
	uint8_t offset[8];
	uint8_t length[8];
};

struct nbd_hole_chunk {
	uint8_t offset[8];
	uint8_t length[4];
};

struct nbd_error_chunk {
	uint8_t error[4];
	uint8_t text_length[2]; /* the text follows */
};

struct nbd_extent_narrow {
	uint8_t length[4];
	uint8_t flags[4];
};

struct nbd_extent_wide {
	uint8_t length[8];
	uint8_t flags[8];
};

#define NBD_IS(type, bytes)                                                    \
	static_assert(sizeof(struct type) == (bytes) &&                        \
			      _Alignof(struct type) == 1,                      \
		      #type " is " #bytes " bytes on the wire")
NBD_IS(nbd_greeting, 18);
NBD_IS(nbd_option_head, 16);
NBD_IS(nbd_option_reply_head, 20);
NBD_IS(nbd_export_name_reply, 134);
NBD_IS(nbd_info_export, 12);
NBD_IS(nbd_info_block_size, 14);
NBD_IS(nbd_request_head, 28);
NBD_IS(nbd_extended_request_head, 32);
NBD_IS(nbd_simple_reply_head, 16);
NBD_IS(nbd_structured_reply_head, 20);
NBD_IS(nbd_extended_reply_head, 32);
NBD_IS(nbd_hole_chunk, 12);
NBD_IS(nbd_error_chunk, 6);
NBD_IS(nbd_extent_narrow, 8);
NBD_IS(nbd_extent_wide, 16);
static_assert(offsetof(struct nbd_request_head, cookie) == 8 &&
		      offsetof(struct nbd_request_head, offset) == 16 &&
		      offsetof(struct nbd_request_head, length) == 24,
	      "a request's fields lie where the protocol has them");
static_assert(offsetof(struct nbd_structured_reply_head, cookie) == 8 &&
		      offsetof(struct nbd_structured_reply_head, length) == 16,
	      "a structured reply's, too");
static_assert(offsetof(struct nbd_extended_reply_head, offset) == 16 &&
		      offsetof(struct nbd_extended_reply_head, length) == 24,
	      "and an extended one's");
#undef NBD_IS

#endif
