/* SPDX-License-Identifier: BSD-2-Clause */
#include "nbd/counts.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "nbd/conn.h"
#include "nbd/loop.h"

static const char *const commands[NBD_COUNTED_COMMANDS] = {
	[NBD_CMD_READ] = "read",
	[NBD_CMD_WRITE] = "write",
	[NBD_CMD_DISC] = "unknown",
	[NBD_CMD_FLUSH] = "flush",
	[NBD_CMD_TRIM] = "trim",
	[NBD_CMD_CACHE] = "cache",
	[NBD_CMD_WRITE_ZEROES] = "write_zeroes",
	[NBD_CMD_BLOCK_STATUS] = "block_status",
};

static const struct {
	uint32_t error;
	const char *word;
} errors[NBD_COUNTED_ERRORS] = {
	[NBD_COUNTED_PERM] = { NBD_EPERM, "EPERM" },
	[NBD_COUNTED_IO] = { NBD_EIO, "EIO" },
	[NBD_COUNTED_NOMEM] = { NBD_ENOMEM, "ENOMEM" },
	[NBD_COUNTED_INVAL] = { NBD_EINVAL, "EINVAL" },
	[NBD_COUNTED_NOSPC] = { NBD_ENOSPC, "ENOSPC" },
	[NBD_COUNTED_OVERFLOW] = { NBD_EOVERFLOW, "EOVERFLOW" },
	[NBD_COUNTED_NOTSUP] = { NBD_ENOTSUP, "ENOTSUP" },
	[NBD_COUNTED_SHUTDOWN] = { NBD_ESHUTDOWN, "ESHUTDOWN" },
};

/* One writer: no locked instruction. Pairs with nothing: only a count. */
static void bump(uint64_t *at, uint64_t by)
{
	tide__store_relaxed(at, *at + by);
}

void nbd_count_opened(struct nbd_conn *c)
{
	c->counts = c->loop->counts && c->export->index != NBD_UNCOUNTED
			    ? &c->loop->counts[c->export->index] : NULL;
	if (c->counts)
		bump(&c->counts->opened, 1);
}

void nbd_count_denied(struct nbd_conn *c, const struct nbd_export *e)
{
	if (c->loop->counts && e->index != NBD_UNCOUNTED)
		bump(&c->loop->counts[e->index].denied, 1);
}

static uint64_t bytes_of(const struct nbd_request *r)
{
	switch (r->command) {
	case NBD_CMD_READ:
	case NBD_CMD_WRITE:
	case NBD_CMD_TRIM:
	case NBD_CMD_WRITE_ZEROES:
		return r->length;
	default:
		return 0;
	}
}

/*
 * By the loop's clock, read twice a turn; a request asks no clock, but for one
 * that was carried out at once.
 */
static uint64_t took_ns(const struct nbd_request *r)
{
	uint64_t now = r->conn->loop->now_ns;

	return (now == r->began_ns ? tide__now_ns() : now) - r->began_ns;
}

void nbd_count_answer(const struct nbd_request *r, uint32_t error)
{
	struct nbd_counts *k = r->conn->counts;
	uint32_t command = r->command < NBD_COUNTED_COMMANDS ? r->command
							     : NBD_CMD_DISC;

	if (!k)
		return;
	bump(&k->requests[command], 1);
	bump(&k->request_ns[command], took_ns(r));
	if (!error)
		bump(&k->bytes[command], bytes_of(r));
	for (uint32_t i = 0; error && i < NBD_COUNTED_ERRORS; i++)
		if (errors[i].error == error)
			bump(&k->errors[i], 1);
}

void nbd_count_uncopied(const struct nbd_request *r)
{
	if (r->conn->counts)
		bump(&r->conn->counts->uncopied, r->length);
}

void nbd_counts_add(struct nbd_counts *into, const struct nbd_counts *from)
{
	uint64_t *to = (uint64_t *)into;
	const uint64_t *at = (const uint64_t *)from;

	for (size_t i = 0; i < sizeof(*into) / sizeof(*to); i++)
		to[i] += tide__load_relaxed(&at[i]);
}

const char *nbd_command_word(uint32_t command)
{
	return commands[command];
}

const char *nbd_error_word(uint32_t counted)
{
	return errors[counted].word;
}

const char *nbd_refusal_word(uint32_t refusal)
{
	static const char *const words[NBD_REFUSALS] = {
		[NBD_REFUSED_UID] = "uid",
		[NBD_REFUSED_LIMIT] = "limit",
		[NBD_REFUSED_DESCRIPTORS] = "descriptors",
		[NBD_REFUSED_MEMORY] = "memory",
	};

	return words[refusal];
}

const char *nbd_stage_word(uint32_t stage)
{
	static const char *const words[NBD_STAGES] = {
		[NBD_STAGE_HANDSHAKE] = "handshake",
		[NBD_STAGE_TRANSMISSION] = "transmission",
		[NBD_STAGE_END] = "end",
	};

	return words[stage];
}
