/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names in a header, and the files that they mean.
 *
 * A backing file is looked for beside the image that names it. So is a data
 * file, where both were put and from where both are moved; the reference tool
 * takes that name from its working directory: what it made from another folder
 * is found there, if there is nothing beside the image.
 *
 * Files are told apart by what they are, not by what they are called: a link,
 * or a second node of one device, is the same file.
 */
#include "qcow2/driver/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qcow2/format/reader.h"

#define MAX_LAYERS 200

bool qcow2_layer_identify(const char *path, const struct qcow2_layer *above,
			  struct qcow2_layer *me)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	*me = (struct qcow2_layer){ above, st.st_dev, st.st_ino,
				    above ? above->depth + 1 : 0 };
	if (S_ISBLK(st.st_mode)) {
		me->dev = st.st_rdev;
		me->ino = 0;
	}
	return true;
}

bool qcow2_layer_returns(const struct qcow2_layer *me)
{
	for (const struct qcow2_layer *l = me->above; l; l = l->above)
		if (l->dev == me->dev && l->ino == me->ino)
			return true;
	return false;
}

int qcow2_layer_enter(const char *path, const struct qcow2_layer *above,
		      struct qcow2_layer *me, struct tide_error *err)
{
	if (!qcow2_layer_identify(path, above, me))
		return tide_error_set(err, -errno, "qcow2", TIDE_NO_OFFSET,
				      "%s: %s", path, strerror(errno));
	if (me->depth >= MAX_LAYERS)
		return tide_error_set(err, -ELOOP, "qcow2", TIDE_NO_OFFSET,
				      "%s: more than %d layers of backing "
				      "files", path, MAX_LAYERS);
	if (qcow2_layer_returns(me))
		return tide_error_set(
			err, -ELOOP, "qcow2", TIDE_NO_OFFSET,
			"%s is named by an image that lies on it, "
			"or by itself",
			path);
	return 0;
}

char *qcow2_resolve(const char *path, const char *name, struct tide_error *err)
{
	const char *slash = strrchr(path, '/'), *colon;
	char *full;

	if (!strncmp(name, "file:", 5))
		name += 5;
	colon = strchr(name, ':');
	if (colon && (!strchr(name, '/') || colon < strchr(name, '/'))) {
		tide_error_set(err, -ENOTSUP, "qcow2", TIDE_NO_OFFSET,
			       "%s refers to %s: only files are supported",
			       path, name);
		return NULL;
	}
	if (name[0] == '/' || !slash)
		full = strdup(name);
	else if (asprintf(&full, "%.*s/%s", (int)(slash - path), path, name) <
		 0)
		full = NULL;
	if (!full)
		tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
			       "no memory");
	return full;
}

char *qcow2_find_data(const char *path, const char *name,
		      struct tide_error *err)
{
	char *full = qcow2_resolve(path, name, err);

	if (full && access(full, F_OK) < 0 && access(name, F_OK) == 0) {
		free(full);
		full = strdup(name);
		if (!full)
			tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
				       "%s: no memory for a name", path);
	}
	return full;
}

/* --- looking, without opening what is below as disks --- */

struct look {
	qcow2_names_fn *each;
	void *opaque;
	struct tide_error *err;
	const struct qcow2_header *first; /* of the image that was asked for */
};

/* Where in the first image's header the fault begins; below: its backing. */
static void tell(const struct look *l, const struct qcow2_header *h,
		 uint64_t header_offset, const char *name, const char *why)
{
	if (h == l->first)
		l->each(l->opaque, header_offset, name, why);
	else
		l->each(l->opaque, 8, l->first->backing_name,
			"the files below it lead in a circle");
}

/* A failure to find out is none: only without memory the search fails. */
static int give_up(const struct tide_error *err)
{
	return err->code == -ENOMEM ? -ENOMEM : 0;
}

/* 1: there is an image, whose header is in *out. */
static int read_header(const char *path, struct qcow2_header *out,
		       struct tide_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret;
	struct qcow2_reader r;
	struct stat st;

	if (fd < 0)
		return 0;
	ret = fstat(fd, &st) < 0 ||
	     !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
	if (!ret)
		ret = qcow2_reader_fd(&r, &fd, path, err);
	if (!ret)
		ret = qcow2_header_read(&r, 1, out, err);
	close(fd);
	return ret == -ENOMEM ? ret : !ret;
}

static int look_at(const struct look *l, const char *path,
		   const struct qcow2_header *h,
		   const struct qcow2_layer *above);

static int look_below(const struct look *l, const char *path,
		      const struct qcow2_header *h,
		      const struct qcow2_layer *above)
{
	struct qcow2_layer me;
	struct qcow2_header below;
	struct stat st;
	int ret = 0;

	/* A device that is no disk is not to be opened. */
	if (stat(path, &st) < 0 ||
	    !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) ||
	    !qcow2_layer_identify(path, above, &me))
		return 0;
	if (qcow2_layer_returns(&me)) {
		tell(l, h, 8, h->backing_name,
		     above->above ? "its backing file is its data file, or "
				    "lies on it" :
				    "its backing file is the image itself");
		return 0;
	}
	if (me.depth >= MAX_LAYERS) {
		tell(l, h, 8, h->backing_name, "more layers than are followed");
		return 0;
	}
	if (h->backing_format && !strcmp(h->backing_format, "raw"))
		return 0;
	ret = read_header(path, &below, l->err);
	if (ret <= 0)
		return ret;
	ret = look_at(l, path, &below, above);
	qcow2_header_fini(&below);
	return ret;
}

static int look_at(const struct look *l, const char *path,
		   const struct qcow2_header *h,
		   const struct qcow2_layer *above)
{
	struct qcow2_layer me, data;
	const struct qcow2_layer *last = &me;
	char *name;
	int ret;

	if (!qcow2_layer_identify(path, above, &me))
		return 0;
	if (h->incompatible & QCOW2_INCOMPAT_DATA_FILE && h->data_file) {
		name = qcow2_find_data(path, h->data_file, l->err);
		if (!name && give_up(l->err))
			return -ENOMEM;
		if (name && qcow2_layer_identify(name, &me, &data)) {
			last = &data;
			data.depth = me.depth;
			if (qcow2_layer_returns(&data))
				tell(l, h, 72, h->data_file,
				     "its data file is the image itself, or "
				     "one that lies on it");
		}
		free(name);
	}
	if (!h->backing_name)
		return 0;
	name = qcow2_resolve(path, h->backing_name, l->err);
	if (!name)
		return give_up(l->err);
	ret = look_below(l, name, h, last);
	free(name);
	return ret;
}

int qcow2_names_look(const char *path, const struct qcow2_header *h,
		     qcow2_names_fn *each, void *opaque, struct tide_error *err)
{
	struct tide_error own;
	struct look l = { each, opaque, err ? err : &own, h };

	tide_error_clear(l.err);
	return look_at(&l, path, h, NULL);
}
