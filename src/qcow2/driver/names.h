/* SPDX-License-Identifier: BSD-2-Clause */
/* The files that an image names, and whether they lead back to it. */
#ifndef TIDE_QCOW2_DRIVER_NAMES_H
#define TIDE_QCOW2_DRIVER_NAMES_H

#include <stdbool.h>
#include <sys/types.h>

#include "qcow2/format/header.h"

/*
 * One file of a chain of images. A file comes up once in it: an image that lies
 * on itself has no content, one whose data file is itself loses its tables with
 * the first write.
 */
struct qcow2_layer {
	const struct qcow2_layer *above; /* what names it; NULL: the first */
	dev_t dev;
	ino_t ino;
	int depth;
};

/* False: there is no such file. Nothing is opened. */
bool qcow2_layer_identify(const char *path, const struct qcow2_layer *above,
			  struct qcow2_layer *me);
/* Is the same file above, too? */
bool qcow2_layer_returns(const struct qcow2_layer *me);
/*
 * Both at once, for the file at @path that is to be opened. -ELOOP: it is there
 * already, or there are more than 200; what the system says of the name.
 */
int qcow2_layer_enter(const char *path, const struct qcow2_layer *above,
		      struct qcow2_layer *me, struct tide_error *err);

/* @name as the image at @path means it; the caller frees. NULL: see @err. */
char *qcow2_resolve(const char *path, const char *name, struct tide_error *err);
/* The same for a data file. */
char *qcow2_find_data(const char *path, const char *name,
		      struct tide_error *err);

/*
 * qcow2_names_look: tell @each what of the names of the image at @path, whose
 * header is @h, leads back to it. Of images below only headers are read; what
 * is not there, or no image, ends the search without a word. -ENOMEM.
 */
typedef void qcow2_names_fn(void *opaque, uint64_t header_offset,
			    const char *name, const char *why);
int qcow2_names_look(const char *path, const struct qcow2_header *h,
		     qcow2_names_fn *each, void *opaque,
		     struct tide_error *err);

#endif
