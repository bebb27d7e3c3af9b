/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which driver opens a path: the one table of formats.
 *
 * If no format is named, the magic at the file's beginning decides; without a
 * known magic it is raw. When opening an image that a guest can write in full
 * (raw), name the format: otherwise a guest could write a header that names
 * any file of the host as its backing file.
 *
 * A driver that an embedder registered (registry.c) is used if it is named, or
 * if its scheme stands before the path's first colon. file: is ours.
 *
 * This stands above the drivers and above repair, so that neither depends on
 * the other: an image that a crash left dirty is repaired here, if the caller
 * wants that, and opened again.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "disk/disk_internal.h"
#include "image/registry.h"
#include "qcow2/check/repair.h"
#include "qcow2/driver/open.h"

#define MAX_MAGIC 8u

static const struct format {
	const char *name;
	const char *magic; /* NULL: has none, and comes last */
	int (*open)(const char *path, const struct tide_disk_options *options,
		    struct tide_disk **out, struct tide_error *err);
	/* After -EROFS, with repair_dirty. NULL: nothing to repair. */
	int (*repair)(const char *path, const struct tide_disk_options *options,
		      struct tide_error *err);
} formats[] = {
	{ "qcow2", "QFI\xfb", tide__qcow2_open, qcow2_repair_path },
	{ "raw", NULL, tide_disk_open_file, NULL },
};

#define FORMATS (sizeof(formats) / sizeof(*formats))

/* The file of file:PATH or file://PATH, which has no host; else @path. */
static const char *without_scheme(const char *path)
{
	if (strncmp(path, "file:", 5))
		return path;
	path += 5;
	return strncmp(path, "///", 3) ? path : path + 2;
}

static const struct format *named(const char *path, const char *name,
				  struct tide_error *err)
{
	for (size_t i = 0; i < FORMATS; i++)
		if (!strcmp(formats[i].name, name))
			return &formats[i];
	tide_error_set(err, -EINVAL, "disk", TIDE_NO_OFFSET,
		       "%s: no format is named '%.20s'; raw and qcow2 are "
		       "known, and what was registered",
		       path, name);
	return NULL;
}

/* Its first bytes, read as all else will be: through the caller's layer. */
static int read_magic(const char *path, const struct tide_disk_options *options,
		      char magic[MAX_MAGIC], struct tide_error *err)
{
	struct tide_disk_options look = { .no_lock = true,
					  .open_file = options->open_file,
					  .open_opaque = options->open_opaque };
	struct tide_disk *d;
	uint64_t size;
	int ret = tide_disk_open_file(path, &look, &d, err);

	if (ret < 0)
		return ret;
	size = tide_disk_size(d);
	memset(magic, 0, MAX_MAGIC);
	ret = tide_disk_read(d, 0, magic, size < MAX_MAGIC ? size : MAX_MAGIC,
			     err);
	tide_disk_close(d, NULL);
	return ret;
}

static int probe(const char *path, const struct tide_disk_options *options,
		 const struct format **out, struct tide_error *err)
{
	char magic[MAX_MAGIC];
	int ret = read_magic(path, options, magic, err);

	if (ret < 0)
		return ret;
	for (*out = formats; (*out)->magic; ++*out)
		if (!memcmp(magic, (*out)->magic, strlen((*out)->magic)))
			break;
	return 0;
}

static int open_format(const char *path, const struct tide_disk_options *o,
		       struct tide_disk **out, struct tide_error *err)
{
	const struct format *format = NULL;
	struct tide_error why;
	int ret = 0;

	if (o->format)
		format = named(path, o->format, err);
	else
		ret = probe(path, o, &format, err);
	if (ret < 0 || !format)
		return ret < 0 ? ret : -EINVAL;
	ret = format->open(path, o, out, &why);
	if (ret == -EROFS && o->repair_dirty && format->repair) {
		ret = format->repair(path, o, &why);
		if (ret == 0)
			ret = format->open(path, o, out, &why);
	}
	if (ret < 0 && err)
		*err = why;
	return ret;
}

int tide_disk_open(const char *path, const struct tide_disk_options *options,
		   struct tide_disk **out, struct tide_error *err)
{
	const struct tide_disk_driver *driver;
	struct tide_disk_options o;
	int ret = tide__disk_options_take(&o, path, options, err);

	if (ret < 0)
		return ret;
	driver = o.format ? tide__driver_named(o.format)
			  : tide__driver_of(path);
	if (driver)
		return driver->open(driver->opaque, path, &o, out, err);
	return open_format(without_scheme(path), &o, out, err);
}
