/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded: what a power cut would leave of one folder.
 *
 * CUT_SHADOW gets what is durable: at each fsync of a file its content
 * (f.INODE), at each fsync of CUT_FOLDER the names in it (names: lines of an
 * inode and a name). Nothing else is promised: what was not synced may be there
 * or not, in any order, which is for the caller to make up. At the CUT_AT-th
 * call of those that sync, name or remove, the process ends; before the call,
 * or, with CUT_AFTER set, after it.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int calls;

static void step(const char *when)
{
	const char *at = getenv("CUT_AT");
	const char *late = getenv("CUT_AFTER");

	if (!late == !when) /* counted once, on the side that was asked for */
		return;
	if (at && __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == atoi(at))
		raise(SIGKILL);
}

/* A file of the shadow that is whole or not there. */
static void shadow_name(char to[512], const char *name, const char *suffix)
{
	snprintf(to, 512, "%s/%s%s", getenv("CUT_SHADOW"), name, suffix);
}

static void publish(const char *name)
{
	char made[512], whole[512];

	shadow_name(made, name, ".new");
	shadow_name(whole, name, "");
	if (renameat2(AT_FDCWD, made, AT_FDCWD, whole, 0))
		abort();
}

static void keep_content(int fd, const struct stat *st)
{
	static char buf[1 << 16];
	char name[64], path[512];
	ssize_t n;
	off_t at = 0;
	int to;

	snprintf(name, sizeof(name), "f.%llu", (unsigned long long)st->st_ino);
	shadow_name(path, name, ".new");
	to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	/* Whoever syncs may only write: read by another descriptor. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDONLY);
	if (to < 0 || fd < 0 || ftruncate(to, st->st_size))
		abort();
	while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
		if (pwrite(to, buf, (size_t)n, at) != n)
			abort();
		at += n;
	}
	close(fd);
	close(to);
	publish(name);
}

static void keep_names(void)
{
	char path[512];
	struct dirent *e;
	FILE *to;
	DIR *d = opendir(getenv("CUT_FOLDER"));

	shadow_name(path, "names", ".new");
	to = fopen(path, "w");
	if (!d || !to)
		abort();
	while ((e = readdir(d)))
		fprintf(to, "%llu %s\n", (unsigned long long)e->d_ino,
			e->d_name);
	fclose(to);
	closedir(d);
	publish("names");
}

static void keep(int fd)
{
	struct stat st, folder;

	if (!getenv("CUT_SHADOW") || fstat(fd, &st) ||
	    stat(getenv("CUT_FOLDER"), &folder))
		return;
	pthread_mutex_lock(&lock);
	if (S_ISREG(st.st_mode) && st.st_dev == folder.st_dev)
		keep_content(fd, &st);
	else if (st.st_ino == folder.st_ino && st.st_dev == folder.st_dev)
		keep_names();
	pthread_mutex_unlock(&lock);
}

static int synced(int fd, int ret)
{
	if (!ret)
		keep(fd);
	step("after");
	return ret;
}

#define REAL(name, parameters)                                          \
	((int(*) parameters)dlsym(RTLD_NEXT, #name))

int fsync(int fd)
{
	step(NULL);
	return synced(fd, REAL(fsync, (int))(fd));
}

int fdatasync(int fd)
{
	step(NULL);
	return synced(fd, REAL(fdatasync, (int))(fd));
}

#define WRAP(name, parameters, arguments)                               \
	int name parameters                                             \
	{                                                               \
		int ret;                                                \
									\
		step(NULL);                                             \
		ret = REAL(name, parameters) arguments;                 \
		step("after");                                          \
		return ret;                                             \
	}

WRAP(unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(renameat, (int fd, const char *path, int to_fd, const char *to),
     (fd, path, to_fd, to))
WRAP(rename, (const char *path, const char *to), (path, to))
WRAP(link, (const char *path, const char *to), (path, to))
