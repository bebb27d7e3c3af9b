/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/qcow2/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int qcow2_image_reread(const struct cli_parsed *p, struct qcow2_image *image)
{
	struct tide_error err;

	qcow2_header_fini(&image->header);
	if (qcow2_reader_fd(&image->reader, &image->fd, image->path, &err) ||
	    qcow2_header_read(&image->reader, 1, &image->header, &err))
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	return CLI_OK;
}

int qcow2_image_open_path(const struct cli_parsed *p, const char *path,
			  bool writable, struct qcow2_image *image)
{
	int rc;

	memset(image, 0, sizeof(*image));
	image->path = path;
	image->fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (image->fd < 0)
		return cli_fail(p->command, CLI_FAILED, "%s: %s", path,
				strerror(errno));
	rc = qcow2_image_reread(p, image);
	if (rc)
		close(image->fd);
	return rc;
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

int qcow2_json_print(const struct cli_parsed *p, json_t *object)
{
	int bad = !object || json_dumpf(object, stdout, JSON_INDENT(2));

	putchar('\n');
	json_decref(object);
	if (bad || fflush(stdout))
		return cli_fail(p->command, CLI_FAILED,
				"the JSON could not be written");
	return CLI_OK;
}
