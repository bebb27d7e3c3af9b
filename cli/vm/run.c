/* SPDX-License-Identifier: BSD-2-Clause */
/* tidemark vm run: start a guest and serve its control socket. */
#include <stdio.h>
#include <unistd.h>

#include "cli/vm/daemon.h"
#include "cli/vm/options.h"

static int run(const struct cli_parsed *p)
{
	const char *control = cli_text(p, "control");
	struct vm_config config;
	struct tide_error err;
	struct daemon d;
	struct vm *vm;
	int code;

	if (!control)
		return cli_fail(p->command, CLI_USAGE,
				"--control is needed; see --help");
	vm_config_defaults(&config);
	if (vm_options_host(p, &config, &err) ||
	    vm_options_guest(p, &config, &err))
		return cli_fail(p->command, CLI_USAGE, "%s", err.text);
	config.serial_path = cli_text(p, "serial");
	config.addresses_path = cli_text(p, "addresses");
	if (vm_create(&vm, &config, &err) || vm_resume(vm, &err))
		return cli_fail(p->command, CLI_FAILED, "%s: %s", err.origin,
				err.text);
	daemon_init(&d, vm, DAEMON_RUNNING);
	code = daemon_serve(&d, control, &err) ?
		       cli_fail(p->command, CLI_FAILED, "%s", err.text) :
		       CLI_OK;
	if (code == CLI_OK && vm_failed(vm, &err))
		code = cli_fail(p->command, CLI_GUEST_DEAD,
				"the guest died: %s", err.text);
	vm_destroy(vm);
	return code;
}

static const struct cli_option options[] = {
	OPT_CONTROL,
	{ "serial", "PATH", CLI_TEXT, NULL,
	  "file for the guest's serial output; else standard error" },
	{ "addresses", "DIR", CLI_TEXT, NULL,
	  "log the guest addresses of exits, DMA and harvests there" },
	OPT_HOST, OPT_DISK, OPT_GUEST, OPT_END,
};

const struct cli_command cli_vm_run = {
	.name = "vm run",
	.summary = "Run a guest of the reference VMM",
	.options = options,
	.run = run,
};
