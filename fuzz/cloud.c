/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whoever connects as a Cloud Hypervisor: it offers a guest (first byte even),
 * or asks for pages and then is what a snapshot kept of it (odd). The rest are
 * records: a byte that says what goes along (1 a small file, 2 a large one, 3 a
 * pipe), a byte for the length, and so much of the stream.
 *
 * What is let through must be memory that is there: slots apart from each
 * other, each in a file that reaches so far.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/cloud_give.h"
#include "vmm/cloud_offer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file[4] = { -1, -1, -1, -1 };

static void make_files(void)
{
	int pipes[2];

	if (file[1] >= 0)
		return;
	file[1] = memfd_create("small", MFD_CLOEXEC);
	file[2] = memfd_create("large", MFD_CLOEXEC);
	if (file[1] < 0 || file[2] < 0 || pipe(pipes) ||
	    ftruncate(file[1], CLOUD_PAGE) || ftruncate(file[2], 1 << 30))
		abort();
	file[3] = pipes[0];
}

static void say(int fd, const uint8_t *data, size_t size)
{
	/* So few never fill a socket: nobody reads them yet. */
	for (int i = 0; i < 100 && size > 2; i++) {
		size_t n = data[1] < size - 2 ? data[1] : size - 2;
		int along = file[data[0] % 4];

		if (along >= 0 && n)
			cloud_send_fd(fd, data + 2, n, along, NULL);
		else if (send(fd, data + 2, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
		data += 2 + n;
		size -= 2 + n;
	}
	shutdown(fd, SHUT_WR);
}

static void judge(const struct cloud_offer *o)
{
	struct stat st;

	if (!o->config.slots || o->config.slots != o->passed_count)
		__builtin_trap();
	for (size_t i = 0; i < o->config.slots; i++) {
		const struct cloud_slot *a = &o->config.slot[i];

		if (fstat(o->memory[i], &st) || !a->bytes ||
		    a->offset + a->bytes > (uint64_t)st.st_size)
			__builtin_trap();
		for (size_t k = 0; k < i; k++)
			if (a->gpa < o->config.slot[k].gpa +
					 o->config.slot[k].bytes &&
			    o->config.slot[k].gpa < a->gpa + a->bytes)
				__builtin_trap();
	}
}

/* What was kept is what was sent. */
static void keep(const struct cloud_offer *o)
{
	struct cloud_devices d = { o->config_text, o->state, o->config_bytes,
				   o->state_bytes, o->paused }, back;
	void *bytes;
	size_t n;

	if (cloud_pack(&d, &bytes, &n, NULL))
		return;
	if (cloud_unpack(&back, bytes, n, NULL) ||
	    back.paused != d.paused || back.state_bytes != d.state_bytes ||
	    back.config_bytes != d.config_bytes ||
	    memcmp(back.config, d.config, d.config_bytes) ||
	    memcmp(back.state, d.state, d.state_bytes))
		__builtin_trap();
	free(bytes);
}

static void offer(int fd)
{
	struct cloud_offer o;
	struct tide_error err;
	int ret;

	tide_error_clear(&err);
	ret = cloud_offer_meet(&o, fd, &err);
	if (!ret) {
		judge(&o);
		ret = cloud_offer_state(&o, &err);
	}
	if (!ret)
		keep(&o);
	if (ret && (!err.text[0] || o.fd >= 0))
		__builtin_trap(); /* refused without a word, or kept */
	cloud_offer_end(&o, !ret);
}

static void ask(int fd, const uint8_t *data, size_t size)
{
	struct cloud_fault f = { .over = false };
	struct cloud_devices d;
	struct cloud_config c;
	struct tide_error err;
	int ret = 0;

	while (!ret && !f.over) {
		tide_error_clear(&err);
		ret = cloud_fault_hear(fd, &f, &err);
		if (ret ? !err.text[0]
			: !f.over && (!f.bytes || (f.gpa | f.bytes) % 4096))
			__builtin_trap();
	}
	if (size >= CLOUD_FRAME)
		cloud_get_answer(data, &err);
	if (!cloud_unpack(&d, data, size, &err))
		cloud_config_read(&c, d.config, d.config_bytes, &err);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int pair[2];

	make_files();
	if (size < 2 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 0;
	say(pair[0], data + 1, size - 1);
	if (data[0] % 2)
		ask(pair[1], data + 1, size - 1);
	else
		offer(pair[1]);
	close(pair[0]);
	return 0;
}
