/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST "manifest.json"
#define PENDING "pending.json"
#define LOCK "lock"
#define VERSION 1

static int system_error(const struct backup_folder *f, const char *name,
			const char *what, struct tide_error *err)
{
	int code = errno ? errno : EIO;

	return tide_error_set(err, -code, "backup", TIDE_NO_OFFSET,
			      "%s/%s: %s: %s", f->path, name, what,
			      strerror(code));
}

static int damaged(const struct backup_folder *f, const char *why,
		   struct tide_error *err)
{
	return tide_error_set(err, -EBADMSG, "backup", TIDE_NO_OFFSET,
			      "%s/" MANIFEST " is damaged: %s", f->path, why);
}

static int no_memory(const struct backup_folder *f, struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
			      "no memory to work on %s", f->path);
}

char *folder_file(const struct backup_folder *f, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", f->path, name) < 0 ? NULL : path;
}

int folder_sync(const struct backup_folder *f, struct tide_error *err)
{
	return fsync(f->fd) ? system_error(f, "", "syncing the folder", err) :
			      0;
}

/* --- JSON files, whole or not there -------------------------------------- */

static int write_all(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		text += n;
		left -= (size_t)n;
	}
	return fsync(fd);
}

static int put_json(const struct backup_folder *f, const char *name,
		    const json_t *object, struct tide_error *err)
{
	char *text = json_dumps(object, JSON_INDENT(1) | JSON_SORT_KEYS);
	int fd, ret = 0;

	if (!text)
		return no_memory(f, err);
	errno = 0;
	fd = openat(f->fd, "new.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		    0600);
	if (fd < 0 || write_all(fd, text))
		ret = system_error(f, name, "writing", err);
	if (fd >= 0 && close(fd) && !ret)
		ret = system_error(f, name, "writing", err);
	if (!ret && renameat(f->fd, "new.json", f->fd, name))
		ret = system_error(f, name, "renaming", err);
	if (!ret)
		ret = folder_sync(f, err);
	free(text);
	return ret;
}

/* *out NULL: it is not there. */
static int get_json(const struct backup_folder *f, const char *name,
		    json_t **out, struct tide_error *err)
{
	json_error_t why;
	FILE *file;
	int fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC);

	*out = NULL;
	if (fd < 0 && errno == ENOENT)
		return 0;
	file = fd < 0 ? NULL : fdopen(fd, "r");
	if (!file)
		return system_error(f, name, "opening", err);
	*out = json_loadf(file, JSON_REJECT_DUPLICATES, &why);
	fclose(file);
	if (*out)
		return 0;
	return tide_error_set(err, -EBADMSG, "backup", TIDE_NO_OFFSET,
			      "%s/%s is damaged: line %d: %s", f->path, name,
			      why.line, why.text);
}

static int sum_of(const json_t *body, char sum[CHUNK_HEX])
{
	char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
	struct chunk_digest d;

	if (!text)
		return -ENOMEM;
	d = chunk_digest_of(text, strlen(text));
	chunk_digest_text(&d, sum);
	free(text);
	return 0;
}

/* --- points --------------------------------------------------------------- */

static json_t *point_json(const struct backup_point *p)
{
	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, "
		"s:s, s:b}", "number", (json_int_t)p->number, "parent",
		(json_int_t)p->parent, "size_bytes",
		(json_int_t)p->size_bytes, "created", (json_int_t)p->created_s,
		"data_bytes", (json_int_t)p->data_bytes, "zero_bytes",
		(json_int_t)p->zero_bytes, "stored_bytes",
		(json_int_t)p->stored_bytes, "checkpoint", p->checkpoint,
		"disk", p->disk, "image", p->image, "digests", p->digests,
		"digests_xxh3_128", p->sum, "writer", p->writer, "instant",
		p->instant);
}

static bool get_number(const json_t *o, const char *key, uint64_t *to)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*to = (uint64_t)json_integer_value(v);
	return true;
}

static bool get_text(const json_t *o, const char *key, char *to, size_t room)
{
	const char *v = json_string_value(json_object_get(o, key));

	if (!v || strlen(v) >= room)
		return false;
	strcpy(to, v);
	return true;
}

/* A plain name: what is opened and removed by it is in the folder. */
static bool is_plain(const char *name)
{
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && (*c != '.' || c == name))
			return false;
	return *name != 0;
}

static bool get_point(const json_t *o, struct backup_point *p)
{
	memset(p, 0, sizeof(*p));
	p->instant = json_is_true(json_object_get(o, "instant"));
	return get_number(o, "number", &p->number) && p->number &&
	       get_number(o, "parent", &p->parent) && p->parent < p->number &&
	       get_number(o, "size_bytes", &p->size_bytes) &&
	       get_number(o, "created", &p->created_s) &&
	       get_number(o, "data_bytes", &p->data_bytes) &&
	       get_number(o, "zero_bytes", &p->zero_bytes) &&
	       get_number(o, "stored_bytes", &p->stored_bytes) &&
	       get_text(o, "checkpoint", p->checkpoint,
			sizeof(p->checkpoint)) &&
	       get_text(o, "disk", p->disk, sizeof(p->disk)) &&
	       get_text(o, "image", p->image, sizeof(p->image)) &&
	       get_text(o, "digests", p->digests, sizeof(p->digests)) &&
	       get_text(o, "digests_xxh3_128", p->sum, sizeof(p->sum)) &&
	       get_text(o, "writer", p->writer, sizeof(p->writer)) &&
	       is_plain(p->image) && is_plain(p->digests);
}

struct backup_point *folder_find(const struct backup_folder *f,
				 uint64_t number)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->points[i].number == number)
			return &f->points[i];
	return NULL;
}

struct backup_point *folder_newest(const struct backup_folder *f)
{
	return f->count ? &f->points[f->count - 1] : NULL;
}

/* Each after the one before it, and its parent among those. */
static int get_points(struct backup_folder *f, const json_t *list,
		      struct tide_error *err)
{
	json_t *o;
	size_t i;

	if (!json_is_array(list))
		return damaged(f, "it has no list of points", err);
	f->points = calloc(json_array_size(list) + 1, sizeof(*f->points));
	if (!f->points)
		return no_memory(f, err);
	json_array_foreach(list, i, o) {
		struct backup_point *p = &f->points[i];

		if (!get_point(o, p) || p->number >= f->next ||
		    (i && p->number <= p[-1].number))
			return damaged(f, "a point says what cannot be", err);
		if (p->parent && !folder_find(f, p->parent))
			return damaged(f, "a point is missing that another "
				       "stands on", err);
		f->count++;
	}
	return 0;
}

static int get_body(struct backup_folder *f, const json_t *all,
		    struct tide_error *err)
{
	const json_t *body = json_object_get(all, "body");
	char want[CHUNK_HEX], got[CHUNK_HEX];
	uint64_t version;

	if (!get_number(all, "version", &version) || !body ||
	    !get_text(all, "xxh3_128", want, sizeof(want)))
		return damaged(f, "it is no manifest", err);
	if (version != VERSION)
		return tide_error_set(err, -ENOTSUP, "backup", TIDE_NO_OFFSET,
				      "%s/" MANIFEST " is of version %llu; this "
				      "tidemark knows version %d", f->path,
				      (unsigned long long)version, VERSION);
	if (sum_of(body, got))
		return no_memory(f, err);
	if (strcmp(want, got))
		return damaged(f, "its sum does not fit what it says", err);
	if (!get_text(body, "backup", f->id, sizeof(f->id)) ||
	    !get_number(body, "next", &f->next))
		return damaged(f, "it does not say whose it is", err);
	return get_points(f, json_object_get(body, "points"), err);
}

/* --- a point in place of another ------------------------------------------ */

/* It was decided: as far as it is not done yet. */
static int carry_out(struct backup_folder *f, const struct backup_point *p,
		     struct tide_error *err)
{
	struct backup_point *old = folder_find(f, p->number);
	char beside[BACKUP_NAME + 8];
	int ret = 0;

	snprintf(beside, sizeof(beside), "%s.new", p->image);
	if (renameat(f->fd, beside, f->fd, p->image) && errno != ENOENT)
		return system_error(f, p->image, "renaming", err);
	ret = folder_sync(f, err);
	if (!ret && old) {
		*old = *p;
		ret = folder_save(f, err);
	}
	return ret ? ret : folder_set_pending(f, NULL, err);
}

int folder_replace(struct backup_folder *f, const struct backup_point *p,
		   struct tide_error *err)
{
	json_t *pending = json_pack("{s:s, s:o}", "does", "replace", "point",
				    point_json(p));
	int ret = pending ? folder_set_pending(f, pending, err) :
			    no_memory(f, err);

	return ret ? ret : carry_out(f, p, err);
}

/* Of a point that is there, under the names it has, and on one that is. */
static bool may_replace(const struct backup_folder *f,
			const struct backup_point *p)
{
	const struct backup_point *old = folder_find(f, p->number);

	return old && !strcmp(old->image, p->image) &&
	       old->size_bytes == p->size_bytes &&
	       (!p->parent || folder_find(f, p->parent));
}

/* What another had decided, and not done. */
static int finish_replace(struct backup_folder *f, struct tide_error *err)
{
	struct backup_point p;
	json_t *pending;
	const char *does;
	int ret = 0;

	if (folder_pending(f, &pending, NULL) || !pending)
		return 0; /* whoever needs it says what is wrong with it */
	does = json_string_value(json_object_get(pending, "does"));
	if (does && !strcmp(does, "replace"))
		ret = get_point(json_object_get(pending, "point"), &p) &&
		      may_replace(f, &p) ?
			      carry_out(f, &p, err) :
			      damaged(f, "pending.json says what cannot be",
				      err);
	json_decref(pending);
	return ret;
}

/* --- the folder ----------------------------------------------------------- */

static int start_new(struct backup_folder *f, struct tide_error *err)
{
	struct chunk_digest id;

	if (getrandom(id.bytes, sizeof(id.bytes), 0) != sizeof(id.bytes))
		return system_error(f, "", "making an identity", err);
	chunk_digest_text(&id, f->id);
	f->next = 1;
	return folder_save(f, err);
}

static int load(struct backup_folder *f, bool make, struct tide_error *err)
{
	json_t *all;
	int ret = get_json(f, MANIFEST, &all, err);

	if (!ret && !all && make)
		return start_new(f, err);
	if (!ret && !all)
		return tide_error_set(err, -ENOENT, "backup", TIDE_NO_OFFSET,
				      "%s is no backup: it has no " MANIFEST,
				      f->path);
	if (!ret)
		ret = get_body(f, all, err);
	json_decref(all);
	/* Without the lock somebody else is at it. */
	if (!ret && f->lock_fd >= 0)
		ret = finish_replace(f, err);
	return ret;
}

/* Nothing of somebody else's is to lie in it when it begins. */
static int check_empty(const struct backup_folder *f, struct tide_error *err)
{
	DIR *d = opendir(f->path);
	struct dirent *e;
	int ret = 0;

	if (!d)
		return system_error(f, "", "reading the folder", err);
	while (!ret && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		    strcmp(e->d_name, LOCK) && strcmp(e->d_name, "new.json"))
			ret = tide_error_set(err, -ENOTEMPTY, "backup",
					     TIDE_NO_OFFSET, "%s is no backup, "
					     "and not empty: '%.100s' lies in "
					     "it; choose another folder",
					     f->path, e->d_name);
	closedir(d);
	return ret;
}

static int open_files(struct backup_folder *f, bool make,
		      struct tide_error *err)
{
	int ret;

	errno = 0;
	if (make && mkdir(f->path, 0700) && errno != EEXIST)
		return system_error(f, "", "making the folder", err);
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->fd < 0)
		return system_error(f, "", "opening the folder", err);
	if (faccessat(f->fd, MANIFEST, F_OK, 0)) {
		ret = make ? check_empty(f, err) : load(f, false, err);
		if (ret)
			return ret;
	}
	f->lock_fd = openat(f->fd, LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (f->lock_fd < 0)
		return system_error(f, LOCK, "opening", err);
	if (flock(f->lock_fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ?
			tide_error_set(err, -EBUSY, "backup", TIDE_NO_OFFSET,
				       "%s: somebody works on it", f->path) :
			system_error(f, LOCK, "locking", err);
	return load(f, make, err);
}

int folder_open(const char *path, bool make, struct backup_folder *f,
		struct tide_error *err)
{
	int ret;

	*f = (struct backup_folder){ .fd = -1, .lock_fd = -1 };
	f->path = strdup(path);
	if (!f->path)
		return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
				      "no memory to open %s", path);
	ret = open_files(f, make, err);
	if (ret)
		folder_close(f);
	return ret;
}

void folder_close(struct backup_folder *f)
{
	if (f->fd >= 0)
		close(f->fd);
	if (f->lock_fd >= 0)
		close(f->lock_fd);
	free(f->points);
	free(f->path);
	*f = (struct backup_folder){ .fd = -1, .lock_fd = -1 };
}

int folder_save(struct backup_folder *f, struct tide_error *err)
{
	json_t *list = json_array(), *body, *all;
	char sum[CHUNK_HEX];
	int ret = 0;

	for (size_t i = 0; list && i < f->count; i++)
		if (json_array_append_new(list, point_json(&f->points[i])))
			ret = -ENOMEM;
	body = json_pack("{s:s, s:I, s:o}", "backup", f->id, "next",
			 (json_int_t)f->next, "points", list);
	if (ret || !body || sum_of(body, sum)) {
		json_decref(body);
		return no_memory(f, err);
	}
	all = json_pack("{s:s, s:i, s:s, s:o}", "format", "tidemark-backup",
			"version", VERSION, "xxh3_128", sum, "body", body);
	ret = all ? put_json(f, MANIFEST, all, err) : no_memory(f, err);
	json_decref(all);
	return ret;
}

int folder_add(struct backup_folder *f, const struct backup_point *p,
	       struct tide_error *err)
{
	struct backup_point *more;
	uint64_t next = f->next;
	int ret;

	more = realloc(f->points, (f->count + 2) * sizeof(*more));
	if (!more)
		return no_memory(f, err);
	f->points = more;
	f->points[f->count++] = *p;
	f->next = p->number + 1;
	ret = folder_save(f, err);
	if (ret) {
		f->count--;
		f->next = next;
	}
	return ret;
}

int folder_pending(const struct backup_folder *f, json_t **out,
		   struct tide_error *err)
{
	return get_json(f, PENDING, out, err);
}

int folder_set_pending(const struct backup_folder *f, json_t *pending,
		       struct tide_error *err)
{
	int ret;

	if (pending) {
		ret = put_json(f, PENDING, pending, err);
		json_decref(pending);
		return ret;
	}
	if (unlinkat(f->fd, PENDING, 0) && errno != ENOENT)
		return system_error(f, PENDING, "removing", err);
	return folder_sync(f, err);
}

/* Is it a file that a run makes, and that no point has? */
static bool is_stray(const struct backup_folder *f, const char *name)
{
	if (!strcmp(name, "new.json"))
		return true;
	if (!isdigit((unsigned char)*name) ||
	    (!strstr(name, ".qcow2") && !strstr(name, ".digests")))
		return false;
	for (size_t i = 0; i < f->count; i++)
		if (!strcmp(name, f->points[i].image) ||
		    !strcmp(name, f->points[i].digests))
			return false;
	return true;
}

int folder_sweep(const struct backup_folder *f, struct tide_error *err)
{
	DIR *d = opendir(f->path);
	struct dirent *e;
	int ret = 0;

	if (!d)
		return system_error(f, "", "reading the folder", err);
	while (!ret && (e = readdir(d)))
		if (is_stray(f, e->d_name) && unlinkat(f->fd, e->d_name, 0) &&
		    errno != ENOENT)
			ret = system_error(f, e->d_name, "removing", err);
	closedir(d);
	return ret ? ret : folder_sync(f, err);
}
