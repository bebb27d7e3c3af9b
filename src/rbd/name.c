/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbd/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool ceph_is_name(const char *path)
{
	return !strncmp(path, CEPH_SCHEME, strlen(CEPH_SCHEME));
}

static int wrong(const char *path, const char *what, struct tide_error *err)
{
	return tide_error_set(err, -EINVAL, "rbd", TIDE_NO_OFFSET,
			      "%.120s: %s; it is rbd:POOL[/NAMESPACE]/IMAGE"
			      "[@SNAPSHOT][:KEY=VALUE]...", path, what);
}

/*
 * Ends the word at *at where one of @ends stands by itself, and takes the
 * backslashes out of it. Which it was, or 0; *at is behind it.
 */
static char cut(char **at, const char *ends)
{
	char *from = *at, *to = *at, end;

	while (*from && !strchr(ends, *from)) {
		if (*from == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	end = *from;
	*at = end ? from + 1 : from;
	*to = 0;
	return end;
}

/* One KEY=VALUE at *at. NULL: well; else what is wrong. */
static const char *take_option(struct ceph_name *n, char **at, char *end)
{
	const char *key = *at, *value;

	if (cut(at, "=:") != '=' || !*key)
		return "an option has a key and a value";
	value = *at;
	*end = cut(at, ":");
	if (!strcmp(key, "conf")) {
		n->conf = value;
	} else if (!strcmp(key, "id")) {
		n->id = value;
	} else if (n->count == CEPH_MAX_OPTIONS) {
		return "too many options";
	} else {
		n->options[n->count].key = key;
		n->options[n->count++].value = value;
	}
	return NULL;
}

/* POOL[/NAMESPACE]/IMAGE[@SNAPSHOT], up to the options. */
static const char *take_image(struct ceph_name *n, char **at, char *end)
{
	n->pool = *at;
	if (cut(at, "/:") != '/')
		return "which image of which pool";
	n->image = *at;
	*end = cut(at, "/@:");
	if (*end == '/') {
		n->space = n->image;
		n->image = *at;
		*end = cut(at, "@:");
	}
	if (*end == '@') {
		n->snap = *at;
		*end = cut(at, ":");
	}
	if (!*n->pool || !*n->image || (n->snap && !*n->snap))
		return "a name is missing";
	return strchr(n->image, '/') ? "an image's name has no slash" : NULL;
}

int ceph_name_parse(const char *path, struct ceph_name *out,
		    struct tide_error *err)
{
	const char *fault;
	char *at, end = 0;

	memset(out, 0, sizeof(*out));
	if (!ceph_is_name(path))
		return wrong(path, "not in a Ceph cluster", err);
	out->text = at = strdup(path + strlen(CEPH_SCHEME));
	if (!at)
		return tide_error_set(err, -ENOMEM, "rbd", TIDE_NO_OFFSET,
				      "no memory for a name");
	fault = take_image(out, &at, &end);
	while (!fault && end == ':')
		fault = take_option(out, &at, &end);
	if (!fault)
		return 0;
	ceph_name_free(out);
	return wrong(path, fault, err);
}

void ceph_name_free(struct ceph_name *n)
{
	free(n->text);
	memset(n, 0, sizeof(*n));
}
