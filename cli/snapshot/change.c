/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark snapshot restore, merge, prune. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/snapshot/common.h"
#include "cli/snapshot/files.h"

static int write_devices(struct snap_chain *c, const struct output_file *o,
			 struct tide_error *err)
{
	void *bytes;
	size_t n;
	int ret = snap_chain_devices(c, &bytes, &n, err);

	if (ret)
		return ret;
	if (!n)
		ret = tide_error_set(err, -ENOENT, "snapshot", TIDE_NO_OFFSET,
				     "it was made without devices; leave "
				     "--devices out");
	else
		ret = snapshot_write_all(fileno(o->file), bytes, n, 0, o->path, err);
	free(bytes);
	return ret;
}

static int write_memory(struct snap_chain *c, const struct output_file *o,
			struct tide_error *err)
{
	return snapshot_write_memory(c, o, 0, err);
}

static int put_file(struct snap_chain *c, const char *path, bool force,
		    int (*put)(struct snap_chain *c,
			       const struct output_file *o,
			       struct tide_error *err),
		    struct tide_error *err)
{
	struct output_file o;
	int ret = output_open(&o, path, force, err);

	if (ret)
		return ret;
	ret = put(c, &o, err);
	if (ret) {
		output_drop(&o);
		return ret;
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
	int ret;

	if (cli_text(p, "cloud-hypervisor"))
		return snapshot_restore_cloud(p);
	if (p->argc != 2 || !memory == !cli_flag(p, "lazy"))
		return cli_fail(p->command, CLI_USAGE, "it takes DIR NAME, and "
				"--memory=FILE or --lazy");
	if (cli_flag(p, "paused"))
		return cli_fail(p->command, CLI_USAGE,
				"--paused is of --cloud-hypervisor");
	if (cli_flag(p, "lazy"))
		return snapshot_restore_lazily(p);
	ret = snap_chain_open(&c, p->argv[0], p->argv[1], &err);
	if (ret)
		return snapshot_failed(p->command, &err);
	if (devices)
		ret = put_file(&c, devices, force, write_devices, &err);
	if (!ret) {
		ret = put_file(&c, memory, force, write_memory, &err);
		if (ret && devices)
			unlink(devices);
	}
	if (!ret && cli_flag(p, "json")) {
		cli_json_begin(&j, stdout);
		cli_json_object(&j, NULL);
		cli_json_text(&j, "name", p->argv[1]);
		cli_json_number(&j, "memory_bytes",
				snap_chain_header(&c)->pages * SNAP_PAGE);
		cli_json_number(&j, "devices_bytes",
				c.file[0].footer.devices_bytes);
		cli_json_close(&j);
		ret = cli_json_end(&j, p->command);
	} else if (!ret) {
		printf("%s: %" PRIu64 " MiB, each page's checksum good\n",
		       memory, snap_chain_header(&c)->pages * SNAP_PAGE >> 20);
	}
	snap_chain_close(&c);
	return ret < 0 ? snapshot_failed(p->command, &err) : ret;
}

static int run_merge(const struct cli_parsed *p)
{
	struct tide_error err;
	int lock, ret;

	if (p->argc != 2)
		return cli_fail(p->command, CLI_USAGE, "it takes DIR NAME");
	lock = snap_folder_lock(p->argv[0], &err);
	if (lock < 0)
		return snapshot_failed(p->command, &err);
	ret = snap_folder_fold(p->argv[0], p->argv[1], &err);
	close(lock);
	return ret ? snapshot_failed(p->command, &err) : CLI_OK;
}

static int run_prune(const struct cli_parsed *p)
{
	struct tide_error err;
	uint64_t removed;
	int lock, ret;

	if (p->argc != 1 || !cli_text(p, "keep"))
		return cli_fail(p->command, CLI_USAGE,
				"it takes DIR --keep=N");
	lock = snap_folder_lock(p->argv[0], &err);
	if (lock < 0)
		return snapshot_failed(p->command, &err);
	ret = snap_folder_prune(p->argv[0], cli_number(p, "keep"), &removed,
				&err);
	close(lock);
	if (ret)
		return snapshot_failed(p->command, &err);
	printf("%" PRIu64 " removed\n", removed);
	return CLI_OK;
}

static const struct cli_option restore_options[] = {
	{ "memory", "FILE", CLI_TEXT, NULL,
	  "the memory, all areas one after the other" },
	{ "devices", "FILE", CLI_TEXT, NULL, "what the VMM gave of its devices" },
	{ "lazy", NULL, CLI_FLAG, NULL,
	  "into a QEMU that waits (-incoming defer), which runs before its "
	  "memory is there" },
	{ "pid", "N", CLI_COUNT, NULL, "of --lazy: that QEMU", 1, 4194304 },
	{ "qmp", "PATH", CLI_TEXT, NULL, "and its monitor's socket" },
	{ "cloud-hypervisor", "PATH", CLI_TEXT, NULL,
	  "into a Cloud Hypervisor that waits at this socket "
	  "(receive-migration; of --lazy with memory_mode=postcopy)" },
	{ "paused", NULL, CLI_FLAG, NULL,
	  "of --cloud-hypervisor: it does not run yet" },
	{ "order", "FILE", CLI_TEXT, NULL,
	  "of --lazy: pages to bring in first, as an earlier run touched them; "
	  "written if it is not there" },
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
