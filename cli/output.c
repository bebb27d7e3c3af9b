/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(const char *path, int ret, struct tide_error *err)
{
	return tide_error_set(err, ret, "output", TIDE_NO_OFFSET, "%s: %s",
			      path, strerror(-ret));
}

int output_check(const char *path, bool force, struct tide_error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : failed(path, -errno, err);
	if (!S_ISREG(st.st_mode))
		return tide_error_set(err, -EEXIST, "output", TIDE_NO_OFFSET,
				      "%s is no regular file, and stays", path);
	if (!force)
		return tide_error_set(err, -EEXIST, "output", TIDE_NO_OFFSET,
				      "%s is there already; --force replaces "
				      "it", path);
	return 0;
}

int output_open(struct output_file *o, const char *path, bool force,
		struct tide_error *err)
{
	int fd, ret = output_check(path, force, err);

	if (ret < 0)
		return ret;
	*o = (struct output_file){ .path = path, .force = force };
	if (asprintf(&o->beside, "%s.%d.tmp", path, (int)getpid()) < 0)
		return failed(path, -ENOMEM, err);
	fd = open(o->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd >= 0)
		o->file = fdopen(fd, "w");
	if (o->file)
		return 0;
	ret = failed(path, -errno, err);
	if (fd >= 0) {
		close(fd);
		unlink(o->beside);
	}
	free(o->beside);
	return ret;
}

void output_drop(struct output_file *o)
{
	fclose(o->file);
	unlink(o->beside);
	free(o->beside);
}

/* Under its name; the one beside it is gone in any case. */
static int place(const struct output_file *o)
{
	int ret = 0;

	if (o->force)
		ret = rename(o->beside, o->path) < 0 ? -errno : 0;
	else if (link(o->beside, o->path) < 0)
		ret = -errno;
	if (ret < 0 || !o->force)
		unlink(o->beside);
	return ret;
}

int output_close(struct output_file *o, struct tide_error *err)
{
	int ret;

	errno = 0;
	ret = ferror(o->file) || fflush(o->file) ? -(errno ? errno : EIO) : 0;
	if (fclose(o->file) && ret == 0)
		ret = -errno;
	if (ret < 0)
		unlink(o->beside);
	else
		ret = place(o);
	free(o->beside);
	return ret < 0 ? failed(o->path, ret, err) : 0;
}
