/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/commands.h"

#include <stddef.h>
#include <string.h>

const struct cli_command *const cli_commands[] = {
	&cli_demo,
	&cli_sources,
	&cli_vm_run,
	&cli_vm_receive,
	&cli_vm_migrate,
	&cli_vm_status,
	&cli_vm_verify,
	&cli_vm_resume,
	&cli_vm_stop,
	&cli_qcow2_create,
	&cli_qcow2_info,
	&cli_qcow2_map,
	&cli_qcow2_check,
	&cli_qcow2_repair,
	&cli_qcow2_guard,
	&cli_top,
	&cli_snapshot_create,
	&cli_snapshot_list,
	&cli_snapshot_show,
	&cli_snapshot_diff,
	&cli_snapshot_verify,
	&cli_snapshot_restore,
	&cli_snapshot_merge,
	&cli_snapshot_prune,
	&cli_snapshot_serve,
	&cli_snapshot_export,
	&cli_serve,
	&cli_ctl,
	&cli_checkpoint_create,
	&cli_checkpoint_begin,
	&cli_checkpoint_commit,
	&cli_checkpoint_abort,
	&cli_checkpoint_delete,
	&cli_checkpoint_list,
	&cli_bitmap_add,
	&cli_bitmap_remove,
	&cli_bitmap_clear,
	&cli_bitmap_enable,
	&cli_bitmap_disable,
	&cli_bitmap_rename,
	&cli_bitmap_merge,
	&cli_bitmap_export,
	&cli_bitmap_import,
	&cli_bitmap_export_stream,
	&cli_bitmap_import_stream,
	&cli_bitmap_estimate,
	&cli_bitmap_list,
	&cli_bitmap_info,
	&cli_diff,
	&cli_mirror,
	&cli_backup_list,
	&cli_backup_verify,
	&cli_backup_prune,
	&cli_backup_mount,
	&cli_backup_export_diff,
	&cli_backup_import_diff,
	&cli_backup,
	&cli_restore,
	&cli_scan,
	&cli_trace_info,
	&cli_trace_replay,
	&cli_trace_record,
	&cli_bench,
	&cli_completion,
	NULL,
};

const struct cli_group cli_groups[] = {
	{ "vm", "Run a guest of the reference VMM, move it, look after it" },
	{ "qcow2", "Look into qcow2 images, check, repair and guard them" },
	{ "checkpoint", "Instants of a served disk: make, list, forget them" },
	{ "bitmap", "Dirty bitmaps of a served disk" },
	{ "snapshot", "Snapshot running VMs, and bring them back" },
	{ "backup", "Back up disks, look after what was backed up" },
	{ "trace", "Record, look into and play traces of dirty pages" },
	{ NULL, NULL },
};

bool cli_in_group(const struct cli_command *command,
		  const struct cli_group *group)
{
	size_t n = strlen(group->name);

	return !strncmp(command->name, group->name, n) &&
	       command->name[n] == ' ';
}
