/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's serial output. Whoever reads it only watches: a pipe or terminal
 * that is full, or stopped, loses lines, and the guest does not stand still for
 * it. Regular files take everything.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm/internal.h"

int vm__serial_open(struct vm *vm, struct tide_error *err)
{
	struct vm_serial *s = &vm->serial;
	const char *path = vm->config.serial_path;
	struct stat st;

	s->fd = STDERR_FILENO;
	if (path) {
		/* A pipe that nobody reads is no place to wait at, either. */
		s->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC |
			     O_NONBLOCK, 0666);
		if (s->fd < 0)
			return tide_error_set(err, -errno, "serial",
					      TIDE_NO_OFFSET, "%s: %s", path,
					      strerror(errno));
	}
	s->owned = path != NULL;
	s->file = !fstat(s->fd, &st) && S_ISREG(st.st_mode);
	return 0;
}

/* A line, at most as long as a pipe takes in one piece. */
static void put_line(struct vm_serial *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLOUT };

	/* What can be written to takes PIPE_BUF bytes without a wait. */
	if (!s->file && poll(&p, 1, 0) <= 0)
		s->dropped += s->used;
	else if (write(s->fd, s->line, s->used) < 0)
		s->dropped += s->used;
	s->used = 0;
}

void vm__serial_put(struct vm *vm, uint32_t byte)
{
	struct vm_serial *s = &vm->serial;

	pthread_mutex_lock(&s->lock);
	s->line[s->used++] = (char)byte;
	if ((byte & 0xff) == '\n' || s->used == sizeof(s->line))
		put_line(s);
	pthread_mutex_unlock(&s->lock);
}

void vm__serial_close(struct vm *vm)
{
	struct vm_serial *s = &vm->serial;

	if (s->used)
		put_line(s);
	if (s->owned)
		close(s->fd);
	s->owned = false;
}
