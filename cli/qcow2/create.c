/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark qcow2 create: a new image. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk/disk.h"
#include "qcow2/driver/create.h"
#include "cli/options.h"
#include "cli/output.h"

/* log2 of a power of two, or 99. */
static uint32_t log2_of(uint64_t value)
{
	if (!value || value & (value - 1))
		return 99;
	return (uint32_t)__builtin_ctzll(value);
}

/* The size of the disk: given, or that of the backing file. */
static int choose_size(const struct cli_parsed *p,
		       struct qcow2_create_options *o)
{
	struct tide_disk_options below = { .no_backing = true,
					   .format = o->backing_format };
	struct tide_error err;
	struct tide_disk *d;
	char path[4096];
	const char *slash;

	if (p->argc == 2) {
		if (cli_parse_size(p->argv[1], &o->size_bytes))
			return CLI_OK;
		return cli_fail(p->command, CLI_USAGE,
				"%s is no size: 4096, 64K, 10G", p->argv[1]);
	}
	if (!o->backing_name)
		return cli_fail(p->command, CLI_USAGE,
				"a size is needed where there is no backing "
				"file");
	slash = strrchr(p->argv[0], '/');
	snprintf(path, sizeof(path), "%.*s%s%s",
		 slash && o->backing_name[0] != '/' ?
			 (int)(slash - p->argv[0]) :
			 0,
		 p->argv[0], slash && o->backing_name[0] != '/' ? "/" : "",
		 o->backing_name);
	if (tide_disk_open(path, &below, &d, &err) < 0)
		return cli_fail(p->command, CLI_FAILED, "%s", err.text);
	o->size_bytes = tide_disk_size(d);
	tide_disk_close(d, NULL);
	return CLI_OK;
}

/*
 * In the place of the image that is at @path: made beside it, and not if
 * somebody has it open, whose writes would go nowhere.
 */
static int replace(const char *path, const struct qcow2_create_options *o,
		   struct tide_error *err)
{
	struct tide_disk_options writable = { .writable = true };
	struct tide_disk *old;
	char *beside;
	int ret = tide_disk_open_file(path, &writable, &old, err);

	if (ret < 0)
		return ret;
	if (asprintf(&beside, "%s.%d.tmp", path, (int)getpid()) < 0) {
		ret = tide_error_set(err, -ENOMEM, "output", TIDE_NO_OFFSET,
				     "no memory");
	} else {
		ret = qcow2_create(beside, o, err);
		if (ret == 0 && rename(beside, path) < 0) {
			ret = tide_error_set(err, -errno, "output",
					     TIDE_NO_OFFSET, "%s: %s", path,
					     strerror(errno));
			unlink(beside);
		}
		free(beside);
	}
	tide_disk_close(old, NULL);
	return ret;
}

static int create(const char *path, const struct qcow2_create_options *o,
		  bool force, struct tide_error *err)
{
	int ret = output_check(path, force, err);

	if (ret < 0)
		return ret;
	return force && access(path, F_OK) == 0 ? replace(path, o, err) :
						  qcow2_create(path, o, err);
}

static int run(const struct cli_parsed *p)
{
	struct qcow2_create_options o = {
		.cluster_bits = log2_of(cli_number(p, "cluster-size")),
		.version = (uint32_t)cli_number(p, "version"),
		.refcount_order = log2_of(cli_number(p, "refcount-bits")),
		.extended_l2 = cli_flag(p, "extended-l2"),
		.zstd = cli_flag(p, "zstd"),
		.lazy_refcounts = cli_flag(p, "lazy-refcounts"),
		.backing_name = cli_text(p, "backing"),
		.backing_format = cli_text(p, "backing-format"),
		.data_file = cli_text(p, "data-file"),
	};
	struct tide_error err;
	int code;

	if (p->argc < 1 || p->argc > 2)
		return cli_fail(p->command, CLI_USAGE,
				"a file and a size are needed; see --help");
	if (o.backing_name && !o.backing_format)
		return cli_fail(p->command, CLI_USAGE,
				"--backing-format=raw or qcow2 is needed: a "
				"guest could write the header of another "
				"format into a raw file");
	code = choose_size(p, &o);
	if (code != CLI_OK)
		return code;
	code = create(p->argv[0], &o, cli_flag(p, "force"), &err);
	if (code < 0)
		return cli_fail(p->command,
				code == -EINVAL ? CLI_USAGE : CLI_FAILED, "%s",
				err.text);
	if (cli_flag(p, "json"))
		printf("{ \"created\": true, \"size_bytes\": %llu }\n",
		       (unsigned long long)o.size_bytes);
	return CLI_OK;
}

static const struct cli_option options[] = {
	{ "cluster-size", "SIZE", CLI_SIZE, "64K", "512 bytes to 2M", 512,
	  2u << 20 },
	{ "version", "N", CLI_COUNT, "3", "2 or 3", 2, 3 },
	{ "refcount-bits", "N", CLI_COUNT, "16",
	  "bits of a refcount: 1, 2, 4 ... 64" },
	{ "extended-l2", NULL, CLI_FLAG, NULL,
	  "32 subclusters in each cluster" },
	{ "lazy-refcounts", NULL, CLI_FLAG, NULL,
	  "let writers put off refcounts, to be counted anew after a crash" },
	{ "zstd", NULL, CLI_FLAG, NULL,
	  "clusters that are compressed later are so with zstd" },
	{ "backing", "FILE", CLI_TEXT, NULL,
	  "what shows through where nothing was written" },
	{ "backing-format", "NAME", CLI_TEXT, NULL, "raw or qcow2" },
	{ "data-file", "FILE", CLI_TEXT, NULL,
	  "keep the guest's data in this file, created if need be" },
	OPT_FORCE,
	{ "json", NULL, CLI_FLAG, NULL, "print one JSON object" },
	{ NULL, NULL, CLI_FLAG, NULL, NULL },
};

const struct cli_command cli_qcow2_create = {
	.name = "qcow2 create",
	.summary = "Create an empty image",
	.words = "FILE [SIZE]",
	.options = options,
	.run = run,
};
