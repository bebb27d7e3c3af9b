/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/vm/options.h"

#include <errno.h>
#include <string.h>

static int bad(struct tide_error *err, const char *option, const char *value)
{
	return tide_error_set(err, -EINVAL, "options", TIDE_NO_OFFSET,
			      "--%s=%s: there is no such %s; see --help",
			      option, value, option);
}

int vm_options_host(const struct cli_parsed *p, struct vm_config *config,
		    struct tide_error *err)
{
	const char *accel = cli_text(p, "accel");
	const char *source = cli_text(p, "source");

	if (!strcmp(accel, "auto"))
		config->accel = vm_accel_here();
	else if (!strcmp(accel, "kvm"))
		config->accel = VM_ACCEL_KVM;
	else if (!strcmp(accel, "process"))
		config->accel = VM_ACCEL_PROCESS;
	else
		return bad(err, "accel", accel);
	if (!strcmp(source, "auto"))
		config->source = config->accel == VM_ACCEL_KVM
				     ? TIDE_SOURCE_LOG_MANUAL
				     : TIDE_SOURCE_UFFD;
	else if (tide_source_kind_parse(source, &config->source))
		return bad(err, "source", source);
	config->disk_path = cli_text(p, "disk");
	return 0;
}

int vm_options_guest(const struct cli_parsed *p, struct vm_config *config,
		     struct tide_error *err)
{
	const char *pattern = cli_text(p, "pattern");

	if (vm_pattern_parse(pattern, &config->pattern))
		return bad(err, "pattern", pattern);
	config->memory_bytes = cli_number(p, "memory");
	config->slots = (unsigned int)cli_number(p, "slots");
	config->hole = cli_flag(p, "hole");
	config->vcpus = (unsigned int)cli_number(p, "vcpus");
	config->rate_pages_per_s = cli_number(p, "rate");
	config->footprint_bytes = cli_number(p, "footprint");
	config->seed = cli_number(p, "seed");
	return 0;
}
