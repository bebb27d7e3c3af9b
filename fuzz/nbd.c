/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An NBD connection, from its first byte on: handshake, options, requests, in
 * whatever pieces they come, by a client that may read slowly or leave in the
 * middle, on a disk that may fail. Held against the code beside not crashing:
 * everything that was charged is given back, and it ends when the client does.
 */
#include <errno.h>
#include <stdlib.h>

#include "../tests/support/nbd_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nbd_memory_client client;
	static struct nbd_memory m;
	struct nbd_limits limits = { .requests = 8 };
	uint8_t how;

	if (!size)
		return 0;
	how = *data;
	nbd_memory_init(&m, &limits);
	nbd_memory_connect(&m, &client);
	client.in = data + 1;
	client.in_length = size - 1;
	client.piece = how & 15;
	client.may_send = how & 16 ? 100 : SIZE_MAX;
	m.disk.hold = how & 32;
	m.disk.fail = how & 64 ? -EIO : 0;
	nbd_memory_turn(&m, &client);
	client.may_send = SIZE_MAX;
	nbd_memory_turn(&m, &client);
	if (how & 32) {
		nbd_memory_release(&m.disk);
		nbd_memory_turn(&m, &client);
	}
	client.in_ended = true;
	m.disk.hold = false;
	nbd_memory_release(&m.disk);
	nbd_memory_turn(&m, &client);
	/* All was read and answered: it is over, and nothing is held. */
	if (m.loop.conns || m.loop.charged_bytes || !client.closed)
		abort();
	nbd_memory_fini(&m);
	nbd_memory_client_fini(&client);
	return 0;
}
