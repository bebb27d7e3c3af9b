/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers of the handshake: small messages in memory of their own. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "nbd/conn.h"

struct message {
	struct nbd_out out; /* first */
	struct iovec part;
	uint8_t bytes[];
};

static void sent(struct nbd_out *out)
{
	free(out);
}

static struct message *message_new(uint32_t length)
{
	struct message *m = calloc(1, sizeof(*m) + length);

	if (!m)
		return NULL;
	m->part = (struct iovec){ m->bytes, length };
	m->out.parts = &m->part;
	m->out.count = 1;
	m->out.sent = sent;
	return m;
}

void nbd_put_bytes(struct nbd_conn *c, const void *data, uint32_t length)
{
	struct message *m = message_new(length);

	if (!m) {
		nbd_conn_close(c, "no memory for an answer");
		return;
	}
	memcpy(m->bytes, data, length);
	nbd_conn_put(c, &m->out);
}

void nbd_option_reply(struct nbd_conn *c, uint32_t type, const void *data,
		      uint32_t length)
{
	struct nbd_option_reply_head *head;
	struct message *m = message_new((uint32_t)sizeof(*head) + length);

	if (!m) {
		nbd_conn_close(c, "no memory for an answer");
		return;
	}
	head = (void *)m->bytes;
	tide__put_be(head->magic, NBD_OPTION_REPLY_MAGIC, 8);
	tide__put_be(head->option, c->option, 4);
	tide__put_be(head->type, type, 4);
	tide__put_be(head->length, length, 4);
	if (length)
		memcpy(head + 1, data, length);
	nbd_conn_put(c, &m->out);
}

void nbd_option_fail(struct nbd_conn *c, uint32_t type, const char *text)
{
	nbd_option_reply(c, type, text, (uint32_t)strlen(text));
	nbd_option_next(c);
}

void nbd_option_ack(struct nbd_conn *c)
{
	nbd_option_reply(c, NBD_REP_ACK, NULL, 0);
	nbd_option_next(c);
}
