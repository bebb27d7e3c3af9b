/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/cloud_give.h"

#include <errno.h>
#include <unistd.h>

#include "base/bytes.h"
#include "control/listener.h"
#include "vmm/cloud_config.h"

#define FAULT_ROLE 2
#define RANGE 16u
#define MAX_PAGE (UINT64_C(1) << 30)

int cloud_give_connect(const char *path, bool faults, struct tide_error *err)
{
	unsigned char role[2];
	int fd = control_connect(path, err), ret;

	if (fd < 0 || !faults)
		return fd;
	tide__put_le(role, FAULT_ROLE, 2);
	ret = cloud_send(fd, role, sizeof(role), err);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

int cloud_give_ask(int fd, enum cloud_command command, const void *text,
		   uint64_t bytes, struct tide_error *err)
{
	const struct cloud_request r = {
		.command = (uint16_t)command, .bytes = bytes,
		.version = command == CLOUD_START ? CLOUD_VERSION : 0,
	};
	unsigned char frame[CLOUD_FRAME];
	int ret;

	cloud_put_request(frame, &r);
	ret = cloud_send(fd, frame, sizeof(frame), err);
	return ret || !text ? ret : cloud_send(fd, text, bytes, err);
}

int cloud_give_hear(int fd, struct tide_error *err)
{
	unsigned char frame[CLOUD_FRAME];
	int ret = cloud_receive(fd, frame, sizeof(frame), err);

	return ret ? ret : cloud_get_answer(frame, err);
}

int cloud_give(int fd, enum cloud_command command, const void *text,
	       uint64_t bytes, struct tide_error *err)
{
	int ret = cloud_give_ask(fd, command, text, bytes, err);

	return ret ? ret : cloud_give_hear(fd, err);
}

int cloud_give_memory(int fd, uint32_t slot, int memory,
		      struct tide_error *err)
{
	unsigned char number[4];
	int ret = cloud_give_ask(fd, CLOUD_MEMORY_FD, NULL, sizeof(number),
				 err);

	tide__put_le(number, slot, 4);
	if (!ret)
		ret = cloud_send_fd(fd, number, sizeof(number), memory, err);
	return ret ? ret : cloud_give_hear(fd, err);
}

int cloud_fault_hear(int fd, struct cloud_fault *f, struct tide_error *err)
{
	unsigned char frame[CLOUD_FRAME], range[RANGE];
	struct cloud_request r;
	int ret = cloud_receive(fd, frame, sizeof(frame), err);

	*f = (struct cloud_fault){ .over = ret == -ECONNRESET };
	if (f->over)
		return 0;
	if (!ret)
		ret = cloud_get_request(frame, &r, err);
	if (ret)
		return ret;
	if (r.command == CLOUD_ABANDON) {
		f->over = true;
		cloud_fault_answer(fd, true, NULL);
		return 0;
	}
	if (r.command != CLOUD_PAGE_FAULT || r.bytes != RANGE)
		return cloud_fail(-EPROTO, "it asks for something else than a "
				  "page", err);
	ret = cloud_receive(fd, range, sizeof(range), err);
	if (ret)
		return ret;
	f->gpa = tide__get_le(range, 8);
	f->bytes = tide__get_le(range + 8, 8);
	if (!f->bytes || f->bytes > MAX_PAGE || (f->gpa | f->bytes) % CLOUD_PAGE)
		return cloud_fail(-EPROTO, "it asks for a page that is none",
				  err);
	return 0;
}

int cloud_fault_answer(int fd, bool good, struct tide_error *err)
{
	unsigned char frame[CLOUD_FRAME];

	cloud_put_answer(frame, good);
	return cloud_send(fd, frame, sizeof(frame), err);
}
