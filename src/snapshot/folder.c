/* SPDX-License-Identifier: BSD-2-Clause */
#include "snapshot/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/chain.h"
#include "snapshot/note.h"
#include "snapshot/write.h"

static int fail(const char *path, int ret, struct tide_error *err)
{
	return tide_error_set(err, ret, "snapshot", TIDE_NO_OFFSET, "%s: %s",
			      path, strerror(-ret));
}

bool snap_name_is_good(const char *name)
{
	size_t n = strlen(name);

	return n && n <= 200 && name[0] != '.' && !strchr(name, '/');
}

/* Its head only: whether the rest is good, who opens it will see. */
static void look(struct snap_entry *e, int folder, const char *file)
{
	unsigned char head[SNAP_HEADER];
	struct stat st;
	int fd = openat(folder, file, O_RDONLY | O_CLOEXEC);

	tide_error_clear(&e->err);
	if (fd < 0 || fstat(fd, &st) < 0) {
		fail(file, -errno, &e->err);
	} else {
		e->bytes = (uint64_t)st.st_size;
		if (pread(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head))
			tide_error_set(&e->err, -EBADMSG, "snapshot", 0,
				       "it ends too early");
		else
			snap_get_header(head, &e->header, &e->err);
	}
	if (fd >= 0)
		close(fd);
}

static int add(struct snap_folder *f, int folder, const char *file)
{
	size_t n = strlen(file) - strlen(SNAP_SUFFIX);
	void *more = realloc(f->entry, (f->count + 1) * sizeof(*f->entry));
	struct snap_entry *e;

	if (!more)
		return -ENOMEM;
	f->entry = more;
	e = &f->entry[f->count];
	memset(e, 0, sizeof(*e));
	e->name = strndup(file, n);
	if (!e->name)
		return -ENOMEM;
	f->count++;
	look(e, folder, file);
	return 0;
}

static int by_age(const void *a, const void *b)
{
	const struct snap_header *x = &((const struct snap_entry *)a)->header;
	const struct snap_header *y = &((const struct snap_entry *)b)->header;

	if (x->sequence != y->sequence)
		return x->sequence < y->sequence ? -1 : 1;
	if (x->created_ns != y->created_ns)
		return x->created_ns < y->created_ns ? -1 : 1;
	return strcmp(((const struct snap_entry *)a)->name,
		      ((const struct snap_entry *)b)->name);
}

static bool is_snapshot(const char *file)
{
	size_t n = strlen(file), s = strlen(SNAP_SUFFIX);

	return file[0] != '.' && n > s && !strcmp(file + n - s, SNAP_SUFFIX);
}

int snap_folder_read(struct snap_folder *f, const char *path,
		     struct tide_error *err)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int ret = 0;

	*f = (struct snap_folder){ .path = strdup(path) };
	if (!d)
		ret = fail(path, -errno, err);
	else if (!f->path)
		ret = fail(path, -ENOMEM, err);
	while (!ret && (e = readdir(d)))
		if (is_snapshot(e->d_name) && add(f, dirfd(d), e->d_name))
			ret = fail(path, -ENOMEM, err);
	if (d)
		closedir(d);
	if (ret)
		snap_folder_free(f);
	else if (f->count)
		qsort(f->entry, f->count, sizeof(*f->entry), by_age);
	return ret;
}

void snap_folder_free(struct snap_folder *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->entry[i].name);
	free(f->entry);
	free(f->path);
	*f = (struct snap_folder){ 0 };
}

const struct snap_entry *snap_folder_named(const struct snap_folder *f,
					   const char *name)
{
	for (size_t i = 0; i < f->count; i++)
		if (!strcmp(f->entry[i].name, name))
			return &f->entry[i];
	return NULL;
}

const struct snap_entry *snap_folder_with(const struct snap_folder *f,
					  const struct snap_id *id)
{
	for (size_t i = 0; i < f->count; i++)
		if (!f->entry[i].err.code &&
		    snap_id_same(&f->entry[i].header.id, id))
			return &f->entry[i];
	return NULL;
}

int snap_folder_lock(const char *path, struct tide_error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;

	if (fd < 0)
		return fail(path, -errno, err);
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(fd);
	return tide_error_set(err, ret, "snapshot", TIDE_NO_OFFSET,
			      ret == -EBUSY ? "%s: another process works on "
			      "this folder" : "%s: it cannot be locked", path);
}

/* Whole chunks as they are stored; of the others the pages that count. */
static int copy_extent(struct snap_writer *w, struct snap_chain *c,
		       const struct snap_extent *e, struct tide_error *err)
{
	unsigned char bytes[SNAP_CHUNK_PAGES * SNAP_PAGE];
	const struct snap_file *f = &c->file[e->file];
	const struct snap_chunk *chunk = &f->chunk[e->chunk];
	int ret;

	if (chunk->kind == SNAP_ZEROES)
		return snap_writer_zeroes(w, e->page, e->pages, err);
	if (!e->skip && e->pages == chunk->pages)
		return snap_writer_copy(w, e->page, f, e->chunk, err);
	ret = snap_chain_read(c, e->page, e->pages, bytes, err);
	return ret ? ret : snap_writer_pages(w, e->page, e->pages, bytes, err);
}

static int copy_devices(struct snap_writer *w, struct snap_chain *c,
			struct tide_error *err)
{
	void *bytes = NULL;
	size_t n = 0;
	int ret = snap_chain_devices(c, &bytes, &n, err);

	if (!ret)
		ret = snap_writer_devices(w, bytes, n, err);
	free(bytes);
	return ret;
}

int snap_folder_fold(const char *path, const char *name,
		     struct tide_error *err)
{
	struct snap_writer w;
	struct snap_header h;
	struct snap_chain c;
	int ret = snap_chain_open(&c, path, name, err);

	if (ret)
		return ret;
	h = *snap_chain_header(&c);
	h.parent = (struct snap_id){ { 0 } };
	ret = snap_writer_open(&w, path, name, true, &h, snap_chain_areas(&c),
			       err);
	for (size_t i = 0; !ret && i < c.merged.count; i++) {
		ret = copy_extent(&w, &c, &c.merged.extent[i], err);
		if (ret)
			snap_writer_drop(&w);
	}
	if (!ret) {
		ret = snap_writer_round(&w, err);
		if (!ret)
			ret = copy_devices(&w, &c, err);
		if (ret)
			snap_writer_drop(&w);
		else
			ret = snap_writer_commit(&w, true, err);
	}
	snap_chain_close(&c);
	return ret;
}

/* Those that stay must not need one that goes. */
static int free_of_older(const struct snap_folder *f, size_t first,
			 struct tide_error *err)
{
	int ret = 0;

	for (size_t i = first; !ret && i < f->count; i++) {
		const struct snap_entry *e = &f->entry[i], *parent;

		if (e->err.code || snap_id_is_zero(&e->header.parent))
			continue;
		parent = snap_folder_with(f, &e->header.parent);
		if (parent && parent >= &f->entry[first])
			continue;
		ret = snap_folder_fold(f->path, e->name, err);
	}
	return ret;
}

int snap_folder_prune(const char *path, uint64_t keep, uint64_t *removed,
		      struct tide_error *err)
{
	struct snap_folder f;
	size_t first;
	int ret = snap_folder_read(&f, path, err);

	*removed = 0;
	if (ret)
		return ret;
	first = f.count > keep ? f.count - keep : 0;
	ret = free_of_older(&f, first, err);
	/* Children before their parents: what is left can always be read. */
	for (size_t i = first; !ret && i-- > 0;) {
		char *file;

		if (asprintf(&file, "%s/%s" SNAP_SUFFIX, path,
			     f.entry[i].name) < 0)
			ret = fail(path, -ENOMEM, err);
		else if (unlink(file) < 0)
			ret = fail(file, -errno, err);
		else
			++*removed;
		free(file);
		if (!ret && asprintf(&file, "%s/%s" SNAP_NOTE_SUFFIX, path,
				     f.entry[i].name) >= 0) {
			unlink(file);
			free(file);
		}
	}
	snap_folder_free(&f);
	return ret;
}
