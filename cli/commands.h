/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of subcommands: the one place that knows which exist.
 * Parser, --help, completion and the manual test all read it.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include <stdbool.h>

/* Exit codes, the same for every subcommand and documented in tidemark(1). */
enum cli_exit {
	CLI_OK = 0,	/* done, and everything asked for was verified */
	CLI_FAILED = 1,		/* could not be done; the reason is on stderr */
	CLI_USAGE = 2,		/* the command line is wrong */
	CLI_UNVERIFIED = 3,	/* done, but a verification failed */
	CLI_REFUSED = 4, /* refused by the other side or by a self-test */
	CLI_NOT_CONVERGING = 5,	/* migration would not converge */
	CLI_UNKNOWN = 6,	/* no answer to the last word of a move */
	CLI_GUEST_DEAD = 7,	/* vm run: the guest died (its vCPUs failed) */
	CLI_MISSED = 8,		/* changes that the tracker did not report */
};

struct cli_option;
struct cli_parsed;

struct cli_command {
	const char *name;	/* "demo", or "vm run" for a nested one */
	const char *summary;	/* one sentence, no full stop */
	const char *words;	/* further arguments, for --help; NULL: none */
	const struct cli_option *options;	/* ends with name NULL */
	int (*run)(const struct cli_parsed *parsed);
};

extern const struct cli_command *const cli_commands[];	/* ends with NULL */

/* The first word of nested commands. */
struct cli_group {
	const char *name;
	const char *summary;
};

extern const struct cli_group cli_groups[];	/* ends with name NULL */

bool cli_in_group(const struct cli_command *command,
		  const struct cli_group *group);

extern const struct cli_command cli_demo, cli_sources, cli_vm_run,
    cli_vm_receive, cli_vm_migrate, cli_vm_status, cli_vm_stop, cli_vm_resume,
    cli_vm_verify, cli_bench, cli_completion,
    cli_scan, cli_serve, cli_trace_info, cli_trace_replay, cli_trace_record;
extern const struct cli_command cli_ctl, cli_diff, cli_mirror,
	cli_checkpoint_create, cli_checkpoint_delete, cli_checkpoint_list,
	cli_bitmap_add, cli_bitmap_remove, cli_bitmap_clear, cli_bitmap_enable,
	cli_bitmap_disable, cli_bitmap_rename, cli_bitmap_merge,
	cli_bitmap_list, cli_bitmap_info, cli_bitmap_export, cli_bitmap_import,
	cli_bitmap_export_stream, cli_bitmap_import_stream, cli_bitmap_estimate;
extern const struct cli_command cli_qcow2_info, cli_qcow2_check,
    cli_qcow2_map, cli_qcow2_repair, cli_qcow2_guard, cli_qcow2_create;

extern const struct cli_command cli_top;
extern const struct cli_command cli_snapshot_create, cli_snapshot_list,
    cli_snapshot_show, cli_snapshot_diff, cli_snapshot_verify,
    cli_snapshot_restore, cli_snapshot_merge, cli_snapshot_prune,
    cli_snapshot_serve, cli_snapshot_export;
extern const struct cli_command cli_backup, cli_backup_list, cli_backup_verify,
    cli_backup_prune, cli_backup_mount, cli_backup_export_diff,
    cli_backup_import_diff,
    cli_restore;

extern const struct cli_command cli_checkpoint_begin, cli_checkpoint_commit,
    cli_checkpoint_abort;

#endif
