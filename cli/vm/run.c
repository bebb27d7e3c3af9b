/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark vm run: start a guest and serve its control socket. */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/vm/daemon.h"
#include "cli/vm/options.h"
#include "cli/vm/restore.h"

static int configure(const struct cli_parsed *p, struct vm_config *config)
{
	struct tide_error err;

	if (!cli_text(p, "control"))
		return cli_fail(p->command, CLI_USAGE,
				"--control is needed; see --help");
	if (!cli_text(p, "snapshot") &&
	    (cli_flag(p, "lazy") || cli_text(p, "order") ||
	     cli_text(p, "memory-file")))
		return cli_fail(p->command, CLI_USAGE, "--lazy, --order and "
				"--memory-file are of --snapshot");
	if (cli_text(p, "memory-file") && cli_flag(p, "lazy"))
		return cli_fail(p->command, CLI_USAGE, "the memory is of "
				"--memory-file or comes by --lazy");
	vm_config_defaults(config);
	if (vm_options_host(p, config, &err) ||
	    vm_options_guest(p, config, &err))
		return cli_fail(p->command, CLI_USAGE, "%s", err.text);
	config->serial_path = cli_text(p, "serial");
	config->addresses_path = cli_text(p, "addresses");
	return CLI_OK;
}

static int serve(const struct cli_parsed *p, struct vm *vm)
{
	struct tide_error err;
	struct daemon d;
	int code;

	daemon_init(&d, vm, DAEMON_RUNNING);
	code = daemon_serve(&d, cli_text(p, "control"), &err) ?
		       cli_fail(p->command, CLI_FAILED, "%s", err.text) :
		       CLI_OK;
	if (code == CLI_OK && vm_failed(vm, &err))
		code = cli_fail(p->command, CLI_GUEST_DEAD,
				"the guest died: %s", err.text);
	return code;
}

static int run(const struct cli_parsed *p)
{
	uint64_t start = tide__now_ns();
	struct vm_restore *restore = NULL;
	struct vm_config config;
	struct tide_error err;
	struct vm *vm = NULL;
	int code = configure(p, &config);

	if (code != CLI_OK)
		return code;
	if (cli_text(p, "snapshot"))
		code = vm_restore_open(&restore, &vm, p, &config);
	else if (vm_create(&vm, &config, &err))
		code = cli_fail(p->command, CLI_FAILED, "%s: %s", err.origin,
				err.text);
	if (code == CLI_OK && vm_resume(vm, &err))
		code = cli_fail(p->command, CLI_FAILED, "%s: %s", err.origin,
				err.text);
	if (code == CLI_OK && restore) {
		printf("runs after %.1f ms\n",
		       (double)(tide__now_ns() - start) / 1e6);
		fflush(stdout);
	}
	if (code == CLI_OK)
		code = serve(p, vm);
	vm_destroy(vm);
	vm_restore_end(restore);
	return code;
}

static const struct cli_option options[] = {
	OPT_CONTROL,
	{ "serial", "PATH", CLI_TEXT, NULL,
	  "file for the guest's serial output; else standard error" },
	{ "addresses", "DIR", CLI_TEXT, NULL,
	  "log the guest addresses of exits, DMA and harvests there" },
	{ "snapshot", "DIR/NAME", CLI_TEXT, NULL,
	  "go on where tidemark snapshot create --vm left a guest; what the "
	  "guest is like comes from there" },
	{ "lazy", NULL, CLI_FLAG, NULL,
	  "of --snapshot: it runs before its memory is there" },
	{ "order", "FILE", CLI_TEXT, NULL,
	  "of --lazy: pages to bring in first, as an earlier run touched them; "
	  "written if it is not there" },
	{ "memory-file", "FILE", CLI_TEXT, NULL,
	  "of --snapshot: its memory, as snapshot restore --memory wrote it; "
	  "guests share what they do not change" },
	OPT_HOST, OPT_DISK, OPT_GUEST, OPT_END,
};

const struct cli_command cli_vm_run = {
	.name = "vm run",
	.summary = "Run a guest of the reference VMM",
	.options = options,
	.run = run,
};
