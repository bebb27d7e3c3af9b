/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark snapshot restore, merge, prune. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/snapshot/common.h"

#define PIECE 256u	/* pages at once */

static int write_all(int fd, const unsigned char *at, size_t n,
		     uint64_t offset, const char *path, struct tide_error *err)
{
	while (n) {
		ssize_t put = pwrite(fd, at, n, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return tide_error_set(err, put ? -errno : -EIO,
					      "snapshot", offset, "%s: %s",
					      path, strerror(errno));
		at += put;
		offset += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

/* Every page is read, and with it its checksum; zeroes stay holes. */
static int write_memory(struct snap_chain *c, const struct output_file *o,
			struct tide_error *err)
{
	uint64_t pages = snap_chain_header(c)->pages, page = 0;
	unsigned char *bytes = malloc(PIECE * SNAP_PAGE);
	int fd = fileno(o->file), rc = 0;

	if (!bytes)
		return tide_error_set(err, -ENOMEM, "snapshot",
				      TIDE_NO_OFFSET, "no memory");
	if (ftruncate(fd, (off_t)(pages * SNAP_PAGE)) < 0)
		rc = tide_error_set(err, -errno, "snapshot", TIDE_NO_OFFSET,
				    "%s: %s", o->path, strerror(errno));
	while (!rc && page < pages) {
		uint64_t n = snap_chain_zeroes(c, page);

		if (!n) {
			n = pages - page < PIECE ? pages - page : PIECE;
			rc = snap_chain_read(c, page, n, bytes, err);
			if (!rc)
				rc = write_all(fd, bytes, n * SNAP_PAGE,
					       page * SNAP_PAGE, o->path,
					       err);
		}
		page += n;
	}
	free(bytes);
	return rc;
}

static int write_devices(struct snap_chain *c, const struct output_file *o,
			 struct tide_error *err)
{
	void *bytes;
	size_t n;
	int rc = snap_chain_devices(c, &bytes, &n, err);

	if (rc)
		return rc;
	if (!n)
		rc = tide_error_set(err, -ENOENT, "snapshot", TIDE_NO_OFFSET,
				    "it was made without devices; leave "
				    "--devices out");
	else
		rc = write_all(fileno(o->file), bytes, n, 0, o->path, err);
	free(bytes);
	return rc;
}

static int put_file(struct snap_chain *c, const char *path, bool force,
		    int (*put)(struct snap_chain *c,
			       const struct output_file *o,
			       struct tide_error *err),
		    struct tide_error *err)
{
	struct output_file o;
	int rc = output_open(&o, path, force, err);

	if (rc)
		return rc;
	rc = put(c, &o, err);
	if (rc) {
		output_drop(&o);
		return rc;
	}
	return output_close(&o, err);
}

static int run_restore(const struct cli_parsed *p)
{
	const char *memory = cli_text(p, "memory");
	const char *devices = cli_text(p, "devices");
	bool force = cli_flag(p, "force");
	struct snap_chain c;
	struct tide_error err;
	struct cli_json j;
	int rc;

	if (p->argc != 2 || !memory)
		return cli_fail(p->command, CLI_USAGE,
				"it takes DIR NAME --memory=FILE");
	rc = snap_chain_open(&c, p->argv[0], p->argv[1], &err);
	if (rc)
		return snapshot_failed(p->command, &err);
	if (devices)
		rc = put_file(&c, devices, force, write_devices, &err);
	if (!rc) {
		rc = put_file(&c, memory, force, write_memory, &err);
		if (rc && devices)
			unlink(devices);
	}
	if (!rc && cli_flag(p, "json")) {
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_text(&j, "name", p->argv[1]);
		cli_json_number(&j, "memory_bytes",
				snap_chain_header(&c)->pages * SNAP_PAGE);
		cli_json_number(&j, "devices_bytes",
				c.file[0].footer.devices_bytes);
		cli_json_close(&j);
		rc = cli_json_end(&j, p->command);
	} else if (!rc) {
		printf("%s: %" PRIu64 " MiB, each page's checksum good\n",
		       memory, snap_chain_header(&c)->pages * SNAP_PAGE >> 20);
	}
	snap_chain_close(&c);
	return rc < 0 ? snapshot_failed(p->command, &err) : rc;
}

static int run_merge(const struct cli_parsed *p)
{
	struct tide_error err;
	int lock, rc;

	if (p->argc != 2)
		return cli_fail(p->command, CLI_USAGE, "it takes DIR NAME");
	lock = snap_folder_lock(p->argv[0], &err);
	if (lock < 0)
		return snapshot_failed(p->command, &err);
	rc = snap_folder_fold(p->argv[0], p->argv[1], &err);
	close(lock);
	return rc ? snapshot_failed(p->command, &err) : CLI_OK;
}

static int run_prune(const struct cli_parsed *p)
{
	struct tide_error err;
	uint64_t removed;
	int lock, rc;

	if (p->argc != 1 || !cli_text(p, "keep"))
		return cli_fail(p->command, CLI_USAGE,
				"it takes DIR --keep=N");
	lock = snap_folder_lock(p->argv[0], &err);
	if (lock < 0)
		return snapshot_failed(p->command, &err);
	rc = snap_folder_prune(p->argv[0], cli_number(p, "keep"), &removed,
			       &err);
	close(lock);
	if (rc)
		return snapshot_failed(p->command, &err);
	printf("%" PRIu64 " removed\n", removed);
	return CLI_OK;
}

static const struct cli_option restore_options[] = {
	{ "memory", "FILE", CLI_TEXT, NULL,
	  "the memory, all areas one after the other" },
	{ "devices", "FILE", CLI_TEXT, NULL, "what the VMM gave of its devices" },
	OPT_FORCE,
	OPT_JSON,
	OPT_END,
};
static const struct cli_option merge_options[] = { OPT_END };
static const struct cli_option prune_options[] = {
	{ "keep", "N", CLI_COUNT, NULL, "so many stay, the newest", 1,
	  1000000 },
	OPT_END,
};

const struct cli_command cli_snapshot_restore = {
	.name = "snapshot restore",
	.summary = "Write the memory and the devices of a snapshot into files",
	.words = "DIR NAME",
	.options = restore_options,
	.run = run_restore,
};

const struct cli_command cli_snapshot_merge = {
	.name = "snapshot merge",
	.summary = "Make a snapshot stand on its own, with all its pages",
	.words = "DIR NAME",
	.options = merge_options,
	.run = run_merge,
};

const struct cli_command cli_snapshot_prune = {
	.name = "snapshot prune",
	.summary = "Remove the oldest snapshots of a folder",
	.words = "DIR",
	.options = prune_options,
	.run = run_prune,
};
