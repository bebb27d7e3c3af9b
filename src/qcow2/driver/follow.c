/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which files an image's header may lead to. A header is a stranger's word:
 * where it was followed anywhere, an uploaded image named /etc/shadow as its
 * data or backing file, and a cloud served it. So a name leads to a regular
 * file within the folder of the image that says it, after all links; or within
 * one that the caller trusts. What is a device, a pipe or a folder is not
 * opened.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "qcow2/driver/qcow2.h"
#include "qcow2/driver/follow.h"

static bool within(const char *file, const char *folder)
{
	size_t n = strlen(folder);

	if (n && folder[n - 1] == '/')
		n--;
	return !strncmp(file, folder, n) && file[n] == '/';
}

/* The folder of a path that has no links any more. */
static void cut_name(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		slash[slash == path] = 0;
}

static bool allowed(const char *file, char *image, const char *trusted)
{
	char *folder = trusted ? realpath(trusted, NULL) : NULL;
	bool yes = folder && within(file, folder);

	free(folder);
	cut_name(image);
	return yes || within(file, image);
}

int qcow2_follow(const char *image, const char *path, const char *trusted,
		struct tide_error *err)
{
	char *file = realpath(path, NULL);
	int ret = file ? 0 : -errno;
	char *real = ret ? NULL : realpath(image, NULL);
	struct stat st;

	if (!ret && (!real || stat(file, &st) < 0))
		ret = -errno;
	if (ret)
		tide_error_set(err, ret, "qcow2", TIDE_NO_OFFSET,
			       "%s leads to %s: %s", image, path,
			       strerror(-ret));
	else if (!S_ISREG(st.st_mode))
		ret = tide_error_set(err, -EPERM, "qcow2", TIDE_NO_OFFSET,
				     "%s leads to %s, which is no regular file",
				     image, path);
	else if (!allowed(file, real, trusted))
		ret = tide_error_set(err, -EPERM, "qcow2", TIDE_NO_OFFSET,
				     "%s leads to %s, which is not in its own "
				     "folder: name the folder that may be "
				     "followed to, if you trust the image",
				     image, path);
	free(file);
	free(real);
	return ret;
}
