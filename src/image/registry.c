/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drivers that embedders registered. This is the one place in the library with
 * state of the whole process: a caller that opens by name has nothing else to
 * find a driver by. Entries are only ever added, under the lock; an entry that
 * was returned stays where it is.
 */
#include "image/registry.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/sized.h"

#define MAX_DRIVERS 16u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tide_disk_driver drivers[MAX_DRIVERS];
static uint32_t driver_count;

/* What the library opens itself: nobody else's. */
static const char *const own[] = { "raw", "qcow2", "file" };

static bool is_name(const char *name)
{
	if (*name < 'a' || *name > 'z')
		return false;
	return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789+-.")] ==
	       0;
}

/* Under the lock. */
static bool is_taken(const char *name)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (!strcmp(own[i], name))
			return true;
	for (uint32_t i = 0; i < driver_count; i++)
		if (!strcmp(drivers[i].name, name) ||
		    (drivers[i].scheme && !strcmp(drivers[i].scheme, name)))
			return true;
	return false;
}

/* Under the lock. */
static int add(const struct tide_disk_driver *d, struct tide_error *err)
{
	if (is_taken(d->name) || (d->scheme && is_taken(d->scheme)))
		return tide_error_set(err, -EEXIST, "disk", TIDE_NO_OFFSET,
				      "there is a driver of the name or scheme "
				      "of '%.20s'", d->name);
	if (driver_count == MAX_DRIVERS)
		return tide_error_set(err, -ENOSPC, "disk", TIDE_NO_OFFSET,
				      "%u drivers are registered, and no more "
				      "can be", MAX_DRIVERS);
	drivers[driver_count++] = *d;
	return 0;
}

int tide_disk_register(const struct tide_disk_driver *driver,
		       struct tide_error *err)
{
	struct tide_disk_driver d = { 0 };
	int ret;

	if (!tide__sized_take(&d, sizeof(d), driver, driver->size) || !d.open ||
	    !d.name || !is_name(d.name) || (d.scheme && !is_name(d.scheme)))
		return tide_error_set(err, -EINVAL, "disk", TIDE_NO_OFFSET,
				      "a driver has a name and a scheme of "
				      "small letters, and opens");
	pthread_mutex_lock(&lock);
	ret = add(&d, err);
	pthread_mutex_unlock(&lock);
	return ret;
}

const struct tide_disk_driver *tide__driver_named(const char *name)
{
	const struct tide_disk_driver *found = NULL;

	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < driver_count && !found; i++)
		if (!strcmp(drivers[i].name, name))
			found = &drivers[i];
	pthread_mutex_unlock(&lock);
	return found;
}

const struct tide_disk_driver *tide__driver_of(const char *path)
{
	const struct tide_disk_driver *found = NULL;
	size_t n = strcspn(path, ":/");

	if (path[n] != ':')
		return NULL;
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < driver_count && !found; i++)
		if (drivers[i].scheme && strlen(drivers[i].scheme) == n &&
		    !memcmp(drivers[i].scheme, path, n))
			found = &drivers[i];
	pthread_mutex_unlock(&lock);
	return found;
}
