/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/serve_open.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/serve_instant.h"
#include "cli/serve_since.h"
#include "nbd/server.h"
#include "rbd/name.h"

static void say(const struct serve_opening *s, enum serve_level level,
		const char *event, const char *export, const char *text)
{
	if (level > SERVE_INFO || !cli_flag(s->p, "quiet"))
		serve_log(s->log, &(struct serve_line){
			.level = level, .event = event, .export = export,
			.text = text });
}

static int failed(const struct serve_opening *s, const struct tide_error *err)
{
	return cli_fail(s->p->command, CLI_FAILED, "%s", err->text);
}

/* Where the name of an image of Ceph ends. */
static size_t image_length(const char *image)
{
	size_t n = strcspn(image, "/@:");

	/* What stood before the slash was a namespace, or the pool. */
	return image[n] == '/' ? n + 1 + image_length(image + n + 1) : n;
}

/*
 * NAME=DISK; without a name, or with a path before the sign, the file's or the
 * image's. NULL: the name is longer than a file's can be.
 */
static const char *split_name(const char *word, char name[256])
{
	const char *sign = strchr(word, '='), *slash = strchr(word, '/');
	const char *path = word, *from;
	size_t length;

	if (ceph_is_name(word)) {
		length = image_length(word + strlen(CEPH_SCHEME));
		from = memrchr(word, '/', strlen(CEPH_SCHEME) + length);
		from = from ? from + 1 : word + strlen(CEPH_SCHEME);
		length -= (size_t)(from - word) - strlen(CEPH_SCHEME);
	} else if (sign && (!slash || sign < slash)) {
		path = sign + 1;
		from = word;
		length = (size_t)(sign - word);
	} else {
		from = strrchr(word, '/');
		from = from ? from + 1 : word;
		length = strlen(from);
	}
	if (length > 255)
		return NULL;
	memcpy(name, from, length);
	name[length] = 0;
	return path;
}

/* A power of two's logarithm; -1: it is none. */
static int shift_of(uint64_t bytes)
{
	return bytes & (bytes - 1) ? -1 : __builtin_ctzll(bytes);
}

/* From the options; false: they do not fit together. */
static bool tracking_options(const struct serve_opening *s,
			     struct cbt_options *o)
{
	int shift = shift_of(cli_number(s->p, "granularity"));
	int region = shift_of(cli_number(s->p, "region"));
	const char *mode = cli_text(s->p, "durability");

	if (shift < 0 || region < 0 ||
	    (strcmp(mode, "process") && strcmp(mode, "power")))
		return false;
	*o = (struct cbt_options){
		.store_path = cli_text(s->p, "store"),
		.live_folder = cli_text(s->p, "live-folder"),
		.durability = *mode == 'p' && mode[1] == 'r' ? CBT_PROCESS
							     : CBT_POWER,
		.shift = (uint32_t)shift,
		.region_shift = (uint32_t)region,
	};
	return true;
}

/*
 * A server that was killed may still hold its locks for a moment: the kernel
 * lets go of them when the last of its requests is over.
 */
#define TRIES 100
static const struct timespec nap = { .tv_nsec = 20000000 };

static int track_patiently(struct serve_disk *d, const struct cbt_options *o)
{
	int ret = serve_track(d, o);

	for (int i = 0; ret == -EBUSY && i < TRIES; i++) {
		nanosleep(&nap, NULL);
		ret = serve_track(d, o);
	}
	return ret;
}

/* A folder has a store for each disk, by its name. */
static int name_store(const struct serve_opening *s,
		      const struct serve_disk *d, struct cbt_options *o,
		      char *path, size_t room)
{
	struct stat st;

	if (!o->store_path)
		return 0;
	if (!stat(o->store_path, &st) && S_ISDIR(st.st_mode)) {
		if (snprintf(path, room, "%s/%s.tidemark", o->store_path,
			     d->name) >= (int)room)
			return cli_fail(s->p->command, CLI_USAGE,
					"--store: the path is too long");
		o->store_path = path;
		return 0;
	}
	if (s->p->argc == 1)
		return 0;
	return cli_fail(s->p->command, CLI_USAGE, "--store is a folder, or "
			"there is one disk");
}

/* The disk is served in any case; what is wrong is said, and in status. */
static int track(const struct serve_opening *s, struct serve_disk *d)
{
	struct cbt_options o;
	char text[600], path[4096];
	int code;

	if (!strcmp(cli_text(s->p, "durability"), "none") ||
	    !d->disk->writable) {
		snprintf(d->untracked, sizeof(d->untracked), "%s",
			 d->disk->writable ? "durability is none"
					   : "it is served for reading only");
		return 0;
	}
	if (!tracking_options(s, &o))
		return cli_fail(s->p->command, CLI_USAGE,
				"--durability is process, power or none; "
				"--granularity and --region are powers of two");
	code = name_store(s, d, &o, path, sizeof(path));
	if (code)
		return code;
	if (track_patiently(d, &o)) {
		snprintf(text, sizeof(text), "it is served UNTRACKED: %s",
			 d->untracked);
		say(s, SERVE_ERROR, "untracked", d->name, text);
	} else if (*cbt_note(d->cbt)) {
		say(s, SERVE_WARNING, "found", d->name, cbt_note(d->cbt));
	}
	if (*d->note)
		say(s, SERVE_WARNING, "found", d->name, d->note);
	return 0;
}

static int open_patiently(const char *path, const struct tide_disk_options *o,
			  struct tide_disk **disk, struct tide_error *err)
{
	int ret = tide_disk_open(path, o, disk, err);

	for (int i = 0; ret == -EBUSY && i < TRIES; i++) {
		nanosleep(&nap, NULL);
		ret = tide_disk_open(path, o, disk, err);
	}
	return ret;
}

int serve_open(const struct serve_opening *s, const char *word)
{
	const struct tide_disk_options o = {
		.format = cli_text(s->p, "format"),
		.writable = !cli_flag(s->p, "read-only"),
		.direct = cli_flag(s->p, "direct"),
		.trusted_folder = cli_text(s->p, "allow-folder"),
	};
	struct serve_disk *d = &s->disks->list[s->disks->count];
	struct tide_error err;
	const char *path = split_name(word, d->name);
	int code;

	if (!path)
		return cli_fail(s->p->command, CLI_USAGE,
				"%.40s...: a name has at most 255 bytes", word);
	if (s->disks->count == SERVE_MAX_DISKS)
		return cli_fail(s->p->command, CLI_USAGE,
				"at most %d disks at once", SERVE_MAX_DISKS);
	if (open_patiently(path, &o, &d->disk, &err))
		return failed(s, &err);
	pthread_mutex_init(&d->lock, NULL);
	s->disks->count++;
	if (!o.format && o.writable && !strcmp(d->disk->ops->name, "file") &&
	    !cli_flag(s->p, "quiet"))
		say(s, SERVE_WARNING, "format", d->name,
		    "it is raw by its first bytes, which a guest may write: "
		    "name the --format");
	code = track(s, d);
	if (code)
		return code;
	if (nbd_exports_add(nbd_server_exports(s->disks->server), d->name,
			    d->disk, !o.writable, &d->export, &err))
		return failed(s, &err);
	if (serve_since_offer(d, path, &err))
		return failed(s, &err);
	if (d->cbt && cli_text(s->p, "control") &&
	    serve_instant_tell(d, cli_text(s->p, "control"), &err))
		return failed(s, &err);
	return 0;
}

void serve_offer_all(struct serve_disks *disks)
{
	struct cbt *tracked[SERVE_MAX_DISKS];
	size_t count = 0;

	for (int i = 0; i < disks->count; i++)
		if (disks->list[i].cbt)
			tracked[count++] = disks->list[i].cbt;
	cbt_finish_groups(tracked, count);
	for (int i = 0; i < disks->count; i++)
		serve_offer(&disks->list[i]);
}
