/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidemark snapshot export: its memory as others read it. A Firecracker's
 * memory file is plain memory, area after area; its state file only Firecracker
 * writes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/snapshot/common.h"
#include "cli/snapshot/files.h"
#include "snapshot/elf_core.h"

static int put_raw(struct snap_chain *c, const struct output_file *o,
		   struct tide_error *err)
{
	return snapshot_write_memory(c, o, 0, err);
}

static int put_elf(struct snap_chain *c, const struct output_file *o,
		   struct tide_error *err)
{
	size_t n;
	void *head = snap_elf_head(snap_chain_header(c), snap_chain_areas(c),
				   &n);
	int ret;

	if (!head)
		return tide_error_set(err, -ENOMEM, "snapshot",
				      TIDE_NO_OFFSET, "no memory");
	ret = snapshot_write_memory(c, o, n, err);
	if (!ret)
		ret = snapshot_write_all(fileno(o->file), head, n, 0, o->path,
					 err);
	free(head);
	return ret;
}

static int put_qemu(struct snap_chain *c, const struct output_file *o,
		    struct tide_error *err)
{
	(void)c;
	(void)o;
	return tide_error_set(err, -EOPNOTSUPP, "snapshot", TIDE_NO_OFFSET,
			      "QEMU's file with mapped memory (its version 9) "
			      "is not written; each QEMU takes what 'snapshot "
			      "restore --memory=FILE --devices=FILE' gives");
}

static const struct {
	const char *name;
	int (*put)(struct snap_chain *c, const struct output_file *o,
		   struct tide_error *err);
} formats[] = {
	{ "raw", put_raw },
	{ "elf", put_elf },
	{ "firecracker", put_raw },
	{ "qemu", put_qemu },
};

static int export_as(size_t format, struct snap_chain *c, const char *to,
		     bool force, struct tide_error *err)
{
	struct output_file o;
	int ret = output_open(&o, to, force, err);

	if (ret)
		return ret;
	ret = formats[format].put(c, &o, err);
	if (ret) {
		output_drop(&o);
		return ret;
	}
	return output_close(&o, err);
}

static int run(const struct cli_parsed *p)
{
	const char *to = cli_text(p, "to"), *as = cli_text(p, "format");
	size_t n = sizeof(formats) / sizeof(*formats), i = 0;
	struct tide_error err;
	struct snap_chain c;
	int ret;

	while (i < n && strcmp(formats[i].name, as))
		i++;
	if (p->argc != 2 || !to || i == n)
		return cli_fail(p->command, CLI_USAGE, "it takes DIR NAME "
				"--to=FILE, and --format=raw, elf, firecracker "
				"or qemu");
	ret = snap_chain_open(&c, p->argv[0], p->argv[1], &err);
	if (ret)
		return snapshot_failed(p->command, &err);
	ret = export_as(i, &c, to, cli_flag(p, "force"), &err);
	snap_chain_close(&c);
	return ret ? snapshot_failed(p->command, &err) : CLI_OK;
}

static const struct cli_option options[] = {
	{ "to", "FILE", CLI_TEXT, NULL, "the file to write" },
	{ "format", "NAME", CLI_TEXT, "raw",
	  "raw, firecracker (its memory file), elf (a core file, for gdb) or "
	  "qemu" },
	OPT_FORCE,
	OPT_END,
};

const struct cli_command cli_snapshot_export = {
	.name = "snapshot export",
	.summary = "Write the memory of a snapshot as other tools read it",
	.words = "DIR NAME",
	.options = options,
	.run = run,
};
