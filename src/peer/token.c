/* SPDX-License-Identifier: BSD-2-Clause */
#include "peer/token.h"

#include <string.h>

#include "peer/channel.h"

int tide__token_send(const struct tide__token *token, int fd,
		     const struct tide_stream_ops *ops, void *opaque,
		     uint64_t timeout_ns, struct tide_error *err)
{
	struct tide__frame f = { .type = TIDE__FRAME_TOKEN };
	struct tide__channel c;
	int ret;

	/* Not to be ended: the channel proper comes after it. */
	tide__channel_init(&c, fd, 0);
	c.stall_ns = timeout_ns;
	ret = tide__channel_wrap(&c, ops, opaque, err);
	return ret ? ret : tide__channel_send(&c, &f, token->bytes, token->len,
					      err);
}

bool tide__token_is(const struct tide__token *token,
		    const unsigned char *bytes, size_t len)
{
	unsigned char theirs[TIDE__TOKEN_MAX_BYTES] = { 0 };
	volatile unsigned char different = len != token->len;

	memcpy(theirs, bytes, len < sizeof(theirs) ? len : sizeof(theirs));
	for (size_t i = 0; i < sizeof(theirs); i++)
		different |= theirs[i] ^ token->bytes[i];
	return !different;
}
