/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/qcow2/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/file_lock.h"

int qcow2_image_reread(const struct cli_parsed *p, struct qcow2_image *image)
{
	struct tide_error err;

	qcow2_header_fini(&image->header);
	if (qcow2_reader_fd(&image->reader, &image->fd, image->path, &err) ||
	    qcow2_header_read(&image->reader, 1, &image->header, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return CLI_OK;
}

/* O_NONBLOCK: a pipe that nobody writes is to be refused, not waited for. */
static int open_file(const struct cli_parsed *p, const char *path,
		     bool writable, int *fd)
{
	struct stat st;

	*fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC |
		   O_NONBLOCK);
	if (*fd < 0)
		return cli_fail(p->command, CLI_FAILED, "%s: %s", path,
				strerror(errno));
	if (fstat(*fd, &st) == 0 &&
	    (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return CLI_OK;
	close(*fd);
	return cli_fail(p->command, CLI_FAILED, "%s is neither a regular file "
			"nor a block device", path);
}

/*
 * Beside a writer what is read is from different moments: a check would find
 * faults in a healthy image. So it is refused, unless the caller insists; then
 * every verdict says so.
 */
static int lock(const struct cli_parsed *p, struct qcow2_image *image,
		bool writable)
{
	struct tide_error err;

	if (tide__lock_fd(image->fd, writable, image->path, &err) == 0)
		return CLI_OK;
	image->in_use = true;
	if (!writable && cli_flag(p, "force-share"))
		return CLI_OK;
	return cli_fail(p->command, QCOW2_NOT_CHECKED, "%s%s", err.text,
			writable ? "" : "; --force-share looks all the same");
}

int qcow2_image_open_path(const struct cli_parsed *p, const char *path,
			  bool writable, struct qcow2_image *image)
{
	int ret;

	memset(image, 0, sizeof(*image));
	image->path = path;
	ret = open_file(p, path, writable, &image->fd);
	if (ret)
		return ret;
	ret = lock(p, image, writable);
	if (ret == CLI_OK)
		ret = qcow2_image_reread(p, image);
	if (ret)
		close(image->fd);
	return ret;
}

int qcow2_image_open(const struct cli_parsed *p, bool writable,
		     struct qcow2_image *image)
{
	if (p->argc != 1)
		return cli_fail(p->command, CLI_USAGE,
				"one image is needed; see --help");
	return qcow2_image_open_path(p, p->argv[0], writable, image);
}

void qcow2_image_close(struct qcow2_image *image)
{
	qcow2_header_fini(&image->header);
	close(image->fd);
}
